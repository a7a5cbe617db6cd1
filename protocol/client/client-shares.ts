/**
 * The client of a request or connection, for the fair distribution of slots and connections: the key of its address
 * (`client-key.ts`). Requests from a proxy that hides its clients have no client.
 */

import { isIP } from 'node:net'
import { clientKey } from './client-key.ts'
import type { TrustedPeers } from './peers.ts'

/** A string is the key of a client; an object is a single request or connection whose client is not known. */
export type ClientKey = string | object

/** The number of cached addresses: most clients send several requests. */
const REMEMBERED = 1_000

/** Finds and caches the share of a request or connection by its address. */
export class ClientShares {
  readonly #trustedPeers: Pick<TrustedPeers, 'has'>
  readonly #known: Map<string, string | undefined> = new Map()

  /**
   * @param trustedPeers the trusted proxies. If the resolved address is that of a proxy, the proxy hides its clients,
   *   which must not be counted as one client.
   */
  constructor(trustedPeers: Pick<TrustedPeers, 'has'>) {
    this.#trustedPeers = trustedPeers
  }

  /**
   * The share of `address`, as `REMOTE_ADDR` has it.
   *
   * @param alone the request or connection itself; it is the share if the client is not known
   */
  of(address: string, alone: object): ClientKey {
    let share = this.#known.get(address)
    if (share === undefined && !this.#known.has(address)) {
      share = isIP(address) !== 0 && !this.#trustedPeers.has(address) ? clientKey(address) : undefined
      if (this.#known.size >= REMEMBERED) this.#known.clear()
      this.#known.set(address, share)
    }
    return share ?? alone
  }
}
