/**
 * Which peers are believed: ranges of addresses, as an option's text or as a question about one peer.
 * Does not know what is believed of them (forwarded headers, uwsgi variables): that is each listener's matter.
 */

import { BlockList, isIP } from 'node:net'

const words: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  // RFC 1918, RFC 4193 (unique local), RFC 3927 and RFC 4291 §2.5.6 (link-local).
  private: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16', 'fc00::/7', 'fe80::/10'],
  all: ['0.0.0.0/0', '::/0'],
  none: [],
}

/** Words that stand for ranges, for help and messages. `unix` is the peer at the other end of a Unix socket. */
const peerWords: readonly string[] = [...Object.keys(words), 'unix']

/** What a listener calls the peer of a Unix socket, as nginx does in its `REMOTE_ADDR`. */
export const UNIX_PEER = 'unix:'

/** A set of peers. Build it once: `has` costs about a microsecond, so ask it once a connection. */
export class TrustedPeers {
  readonly #list: BlockList = new BlockList()
  readonly #ranges: readonly string[]
  readonly #unix: boolean

  /**
   * @param ranges IP addresses, CIDR ranges, or the words of `peerWords` (`all` means Unix sockets too).
   * @throws RangeError that names the range and what was expected.
   */
  constructor(ranges: readonly string[]) {
    this.#ranges = ranges
    this.#unix = ranges.includes('unix') || ranges.includes('all')
    for (const range of ranges) {
      if (range === 'unix') continue
      for (const one of words[range] ?? [range]) this.#add(one)
    }
  }

  /**
   * Whether a peer is trusted.
   *
   * @param address An IP address as `socket.remoteAddress` gives it, or `UNIX_PEER`. `undefined` and anything else is
   *   nobody's: a socket that was destroyed has no address either, and must not pass for a Unix peer.
   */
  has(address: string | undefined): boolean {
    if (address === undefined) return false
    if (address === UNIX_PEER) return this.#unix
    const zone = address.indexOf('%')
    const bare = zone < 0 ? address : address.slice(0, zone)
    // A dual-stack listener sees IPv4 peers as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2); the ranges people write are IPv4's.
    const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1]
    if (mapped !== undefined) return isIP(mapped) === 4 && this.#list.check(mapped, 'ipv4')
    const family = isIP(bare)
    return family !== 0 && this.#list.check(bare, family === 4 ? 'ipv4' : 'ipv6')
  }

  toString(): string {
    return this.#ranges.length === 0 ? 'none' : this.#ranges.join(',')
  }

  #add(range: string): void {
    const slash = range.indexOf('/')
    const address = slash < 0 ? range : range.slice(0, slash)
    const family = isIP(address)
    const bits = family === 4 ? 32 : 128
    const prefix = slash < 0 ? bits : /^\d{1,3}$/.test(range.slice(slash + 1)) ? Number(range.slice(slash + 1)) : -1
    if (family === 0 || prefix < 0 || prefix > bits) {
      throw new RangeError(
        `${JSON.stringify(range)} is no range of peers: expected an IP address, a CIDR range as 10.0.0.0/8, or one of ${peerWords.join(', ')}`,
      )
    }
    this.#list.addSubnet(address, prefix, family === 4 ? 'ipv4' : 'ipv6')
  }
}
