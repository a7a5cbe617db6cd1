/**
 * The key of a client, under which its requests are counted together: made from its resolved address (`REMOTE_ADDR`).
 * `resolve-client.ts` decides before whether a peer may name that address.
 */

import { isIP } from 'node:net'
import { UNIX_PEER } from './peers.ts'

/**
 * The key of everything that is not an address: all such clients are one, so that a client gains nothing by new names.
 */
const UNKNOWN = 'unknown'

/** Prefixes whose last 32 bits are an IPv4 address: mapped (RFC 4291 §2.5.5.2) and translated (RFC 6052 §2.1). */
const IPV4_PREFIXES: ReadonlySet<string> = new Set(['0:0:0:0:0:ffff', '64:ff9b:0:0:0:0'])

/**
 * The key under which a client's requests are counted together. An IPv4 address is a key of its own. An IPv6 /64 is one
 * key: a host can use every address of its /64 (RFC 4862), and providers assign no less.
 *
 * @param address the value of `REMOTE_ADDR`: an IP address, `unix:`, or any other text
 * @example clientKey('2001:db8::1:2:3:4') // '2001:db8:0:0::/64'
 */
export function clientKey(address: string | undefined): string {
  if (address === undefined || address === '') return UNKNOWN
  switch (isIP(address)) {
    case 4:
      return address
    case 6:
      return ipv6Key(address)
    default:
      return address === UNIX_PEER ? UNIX_PEER : UNKNOWN
  }
}

/** Keeps the zone: `fe80::/64` is another network on each link. */
function ipv6Key(address: string): string {
  const [bare = '', zone] = address.split('%', 2)
  const groups = groupsOf(bare)
  if (IPV4_PREFIXES.has(text(groups.slice(0, 6)))) {
    const [high = 0, low = 0] = groups.slice(6)
    return `${high >> 8}.${high & 0xff}.${low >> 8}.${low & 0xff}`
  }
  return `${text(groups.slice(0, 4))}::/64${zone === undefined ? '' : `%${zone}`}`
}

/** The eight groups of an address that `isIP` has accepted. */
function groupsOf(address: string): number[] {
  const [head = '', tail] = address.split('::', 2)
  const front = parts(head)
  const back = tail === undefined ? [] : parts(tail)
  return [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back]
}

function parts(side: string): number[] {
  if (side === '') return []
  return side.split(':').flatMap((part) => {
    if (!part.includes('.')) return [Number.parseInt(part, 16)]
    const [a = 0, b = 0, c = 0, d = 0] = part.split('.').map(Number)
    return [(a << 8) | b, (c << 8) | d]
  })
}

function text(groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(':')
}
