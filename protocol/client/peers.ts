/**
 * Sets of trusted peers: address ranges, as an option names them. Each listener decides what a trusted peer may do
 * (name clients in forwarded fields, send uwsgi variables).
 */

import { BlockList, isIP } from 'node:net'

const NAMED_RANGES: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  // RFC 1918, RFC 4193 (unique local), RFC 3927 and RFC 4291 §2.5.6 (link-local).
  private: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16', 'fc00::/7', 'fe80::/10'],
  all: ['0.0.0.0/0', '::/0'],
  none: [],
}

/** The names of ranges. `unix` is every peer on a Unix socket. */
const RANGE_NAMES: readonly string[] = [...Object.keys(NAMED_RANGES), 'unix']

/** The address of a peer on a Unix socket, as in the `REMOTE_ADDR` of nginx. */
export const UNIX_PEER = 'unix:'

/**
 * A set of trusted peers. `has` takes about a microsecond: call it once for each connection.
 *
 * @example
 * ```ts
 * import { TrustedPeers } from 'gantry/protocol'
 *
 * const peers = new TrustedPeers(['loopback', '10.0.0.0/8'])
 * console.log(peers.has('10.1.2.3')) // true
 * console.log(peers.has('192.0.2.1')) // false
 * ```
 */
export class TrustedPeers {
  readonly #list: BlockList = new BlockList()
  readonly #ranges: readonly string[]
  readonly #unix: boolean

  /**
   * @param ranges IP addresses, CIDR ranges, `loopback`, `private`, `unix`, `all` (Unix sockets too) or `none`
   * @throws RangeError if a range is invalid
   */
  constructor(ranges: readonly string[]) {
    this.#ranges = ranges
    this.#unix = ranges.includes('unix') || ranges.includes('all')
    for (const range of ranges) {
      if (range === 'unix') continue
      for (const one of NAMED_RANGES[range] ?? [range]) this.#add(one)
    }
  }

  /**
   * Whether a peer is trusted.
   *
   * @param address an IP address as in `socket.remoteAddress`, or `UNIX_PEER`. Any other value is not trusted: a
   *   destroyed socket has the address undefined, and must not count as a Unix peer.
   */
  has(address: string | undefined): boolean {
    if (address === undefined) return false
    if (address === UNIX_PEER) return this.#unix
    const zone = address.indexOf('%')
    const bare = zone < 0 ? address : address.slice(0, zone)
    // A dual-stack listener sees IPv4 peers as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2), but ranges are written as IPv4.
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
        `${JSON.stringify(range)} is not a range of peers: expected an IP address, a CIDR range such as 10.0.0.0/8, or one of ${RANGE_NAMES.join(', ')}`,
      )
    }
    this.#list.addSubnet(address, prefix, family === 4 ? 'ipv4' : 'ipv6')
  }
}

const loopback: TrustedPeers = new TrustedPeers(['loopback'])

/** Whether the host of an address is this machine: `localhost`, or an address of the loopback interface. */
export function isLoopbackHost(host: string): boolean {
  // A name such as 127.0.0.1%x is resolved, and can be any address.
  return isIP(host) === 0 ? host.toLowerCase() === 'localhost' : loopback.has(host)
}
