/**
 * Which client a request or connection belongs to, where slots and connections are shared by client: the key of its
 * address (`client-key.ts`). Requests that came through a proxy that hides its clients belong to no client.
 */

import { isIP } from 'node:net'
import { clientKey } from './client-key.ts'
import type { TrustedPeers } from './peers.ts'

/** A text is the key of a client; an object is a single request or connection whose client is not known. */
export type Share = string | object

/** Addresses whose share is remembered: most clients send several requests. */
const REMEMBERED = 1_000

/** Finds the share of a request or connection by its address, and remembers it. */
export class ClientShares {
  readonly #trustedPeers: Pick<TrustedPeers, 'has'>
  readonly #known: Map<string, string | undefined> = new Map()

  /**
   * @param trustedPeers proxies: if the resolved address is still one of theirs, the proxy hides its clients, and they
   *   must not share as one client
   */
  constructor(trustedPeers: Pick<TrustedPeers, 'has'>) {
    this.#trustedPeers = trustedPeers
  }

  /**
   * The share of `address`, as `REMOTE_ADDR` has it.
   *
   * @param alone the request or connection itself: its share if its client is not known
   */
  of(address: string, alone: object): Share {
    let share = this.#known.get(address)
    if (share === undefined && !this.#known.has(address)) {
      share = isIP(address) !== 0 && !this.#trustedPeers.has(address) ? clientKey(address) : undefined
      if (this.#known.size >= REMEMBERED) this.#known.clear()
      this.#known.set(address, share)
    }
    return share ?? alone
  }
}
