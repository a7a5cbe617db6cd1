/**
 * Names the clients that slots and connections are shared among, by address. The addresses of an IPv6 /64 are one
 * client, since one subscriber or host has a whole /64 (RFC 6177). Who is served next is decided elsewhere.
 */

import { isIP } from 'node:net'
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
      share = this.#trustedPeers.has(address) ? undefined : clientOf(address)
      if (this.#known.size >= REMEMBERED) this.#known.clear()
      this.#known.set(address, share)
    }
    return share ?? alone
  }
}

/**
 * The client that an address belongs to: itself, or the /64 of an IPv6 address; undefined for what is no IP address.
 */
export function clientOf(address: string): string | undefined {
  const zone = address.indexOf('%')
  const bare = zone < 0 ? address : address.slice(0, zone)
  const family = isIP(bare)
  if (family !== 6) return family === 4 ? bare : undefined
  // What a dual-stack socket calls an IPv4 client.
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1]
  return mapped ?? `${networkOf(bare)}::/64`
}

/**
 * The first four of the eight groups. Those that `::` stands for are zero; an IPv4 address at the end is two groups.
 */
function networkOf(address: string): string {
  const [left = '', right] = address.split('::')
  const head = left === '' ? [] : left.split(':')
  const tail = right === undefined || right === '' ? [] : right.split(':')
  const groups = head.length + tail.length + (address.includes('.') ? 1 : 0)
  if (right !== undefined) for (let missing = 8 - groups; missing > 0; missing--) head.push('0')
  return [...head, ...tail]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')
}
