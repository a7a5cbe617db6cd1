/**
 * The key under which the requests of one client are counted, made from its resolved address (`REMOTE_ADDR`).
 * `resolve-client.ts` resolves the address.
 */

import { isIP } from 'node:net'
import { UNIX_PEER } from './peers.ts'

/** The key of every client without an address. A client gains nothing if it changes such a value. */
const UNKNOWN = 'unknown'

/** Prefixes whose last 32 bits are an IPv4 address: mapped (RFC 4291 §2.5.5.2) and translated (RFC 6052 §2.1). */
const IPV4_PREFIXES: ReadonlySet<string> = new Set(['0:0:0:0:0:ffff', '64:ff9b:0:0:0:0'])

/**
 * The key under which a client's requests are counted together. An IPv4 address is a key of its own. An IPv6 /64 is one
 * key: a host can use every address of its /64 (RFC 4862), and providers assign no less.
 *
 * The key of `2001:db8::1:2:3:4` is `2001:db8:0:0::/64`.
 *
 * @param address the value of `REMOTE_ADDR`: an IP address, `unix:`, or any other text
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

/** The zone is part of the key: `fe80::/64` is a different network on each interface. */
function ipv6Key(address: string): string {
  const [bare = '', zone] = address.split('%', 2)
  const groups = groupsOf(bare)
  if (IPV4_PREFIXES.has(text(groups.slice(0, 6)))) {
    const [high = 0, low = 0] = groups.slice(6)
    return `${high >> 8}.${high & 0xff}.${low >> 8}.${low & 0xff}`
  }
  return `${text(groups.slice(0, 4))}::/64${zone === undefined ? '' : `%${zone}`}`
}

/** The eight groups of a valid IPv6 address. */
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
