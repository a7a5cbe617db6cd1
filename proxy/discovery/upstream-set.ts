/**
 * The upstream addresses of a proxy as members of its pool: discovers the containers behind each address, and keeps one
 * dialer for each container while it is discovered.
 */

import type { Application } from '../../protocol/contract/application.ts'
import { type Address, printAddress } from '../../protocol/net/address.ts'
import { ApplicationUpstream } from '../upstreams/application.ts'
import { Dialer, type DialOptions } from './dialer.ts'
import { discover } from './discovery.ts'
import type { DialAddress, DiscoveryOptions, Stop } from './report.ts'
import { SocketFile } from './socket-file.ts'

export interface UpstreamSetOptions extends DialOptions, DiscoveryOptions {
  /** Makes an application of the HTTP server at a URL. */
  readonly http: (url: string) => Application & { close(): void | Promise<void> }
}

export class UpstreamSet {
  readonly #options: UpstreamSetOptions
  readonly #stops: Stop[] = []
  readonly #dialers: Map<string, Dialer> = new Map()
  /** The last report of each source. Two sources may report the same address. */
  readonly #found: Map<Address, ReadonlyMap<string, DialAddress>> = new Map()
  #stopped = false

  constructor(addresses: readonly Address[], options: UpstreamSetOptions) {
    this.#options = options
    for (const address of addresses) {
      if (address.kind === 'http') this.#addServer(address.url)
      else this.#stops.push(discover(address, (found) => this.#report(address, found), options))
    }
  }

  /** The addresses that have a dialer. */
  get addresses(): string[] {
    return [...this.#dialers.keys()]
  }

  /** A request waits for a container: dials the unreachable ones now. */
  dialNow(): void {
    for (const dialer of this.#dialers.values()) dialer.dialNow()
  }

  /** No request needs another link: ends discovery and dialling, and keeps the current links. */
  stopDialling(reason: string): void {
    this.#stopped = true
    for (const stop of this.#stops.splice(0)) stop()
    for (const dialer of this.#dialers.values()) dialer.stopDialling(reason)
  }

  /** Ends discovery and dialling; links finish their requests and close. */
  stop(reason: string): void {
    this.stopDialling(reason)
    for (const dialer of this.#dialers.values()) dialer.stop(reason)
    this.#dialers.clear()
  }

  #addServer(url: string): void {
    const { http, pool, clock, log, random } = this.#options
    const application = http(url)
    pool.add(
      new ApplicationUpstream(url, application, {
        clock,
        log,
        random,
        onClosed: () => {
          Promise.resolve(application.close()).catch(() => {})
        },
      }),
    )
  }

  #report(source: Address, addresses: readonly DialAddress[]): void {
    if (this.#stopped) return
    this.#found.set(source, new Map(addresses.map((address) => [printAddress(address), address])))
    const wanted = new Map<string, DialAddress>()
    /** Addresses of sources that do not report changes of the socket file. */
    const unwatched = new Set<string>()
    for (const [from, found] of this.#found) {
      for (const [name, address] of found) {
        wanted.set(name, address)
        if (from.kind !== 'unix-directory') unwatched.add(name)
      }
    }
    for (const [name, dialer] of this.#dialers) {
      if (wanted.has(name)) continue
      this.#dialers.delete(name)
      dialer.stop('its address was removed')
    }
    for (const [name, address] of wanted) {
      const dialer = this.#dialers.get(name)
      // A known address was reported again: something about it has changed.
      if (dialer) dialer.changed()
      else {
        const file = address.kind === 'unix' && !unwatched.has(name) ? new SocketFile(address.path) : undefined
        this.#dialers.set(name, new Dialer(address, this.#options, file))
      }
    }
  }
}
