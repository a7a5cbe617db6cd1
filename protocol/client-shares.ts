/**
 * Names the clients that slots and connections are shared among, by address. The addresses of an IPv6 /64 are one
 * client, since one subscriber or host has a whole /64 (RFC 6177). Who is served next is decided elsewhere.
 */

import { isIP } from 'node:net'
import { clientKey } from './client-key.ts'
import type { TrustedPeers } from './peers.ts'

/** The text names a client; an object stands for a single request or connection whose client is not known. */
export type Share = string | object

/** Addresses that are remembered: each belongs to several requests. */
const REMEMBERED = 1_000

export class ClientShares {
  readonly #trustedPeers: Pick<TrustedPeers, 'has'>
  readonly #known: Map<string, string | undefined> = new Map()

  /**
   * @param trustedPeers proxies: an address that is still theirs once the forwarded fields were read names no client,
   *   and all who come through a proxy must not share one slot
   */
  constructor(trustedPeers: Pick<TrustedPeers, 'has'>) {
    this.#trustedPeers = trustedPeers
  }

  /**
   * The share of `address`, as `REMOTE_ADDR` has it.
   *
   * @param alone what stands for the request or connection if its client is not known
   */
  of(address: string, alone: object): Share {
    let share = this.#known.get(address)
    if (share === undefined && !this.#known.has(address)) {
      share = isNamed(address) && !this.#trustedPeers.has(address) ? clientKey(address) : undefined
      if (this.#known.size >= REMEMBERED) this.#known.clear()
      this.#known.set(address, share)
    }
    return share ?? alone
  }
}

/** Whether it is an IP address; that of a link may have a zone. */
function isNamed(address: string): boolean {
  return isIP(address) !== 0
}
