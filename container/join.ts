/**
 * `--join ADDRESS`: resolves the address every second and joins every proxy behind it. Workers share one address, so we
 * cannot choose which one accepts: if we reach the same worker twice we hang up and redial until every worker is
 * joined. `worker-link.ts` owns each link.
 */

import { isIP } from 'node:net'
import { printAddress, type TcpAddress, type UnixAddress } from '../protocol/net/address.ts'
import type { Timer } from '../protocol/net/clock.ts'
import { type Resolve, systemResolve } from '../protocol/net/dial.ts'
import { LastReason, whyUnreachable } from '../protocol/net/unreachable.ts'
import { WORKERS_MAX } from '../protocol/options/common-options.ts'
import { type DecideLink, WorkerLink, type WorkerLinkOptions } from './worker-link.ts'

export interface JoinerOptions extends WorkerLinkOptions {
  /** Returns all IPv4 and IPv6 addresses of a name; rejects if the name cannot be resolved. */
  readonly resolve?: Resolve | undefined
}

/** Time between two resolutions of the name, and between two checks of the links, ms. */
const INTERVAL = 1_000

/** One `--join` address and the proxies behind it, which may change. */
export class Joiner {
  readonly #address: UnixAddress | TcpAddress
  readonly #options: JoinerOptions
  readonly #joinAddresses: Map<string, JoinAddress> = new Map()
  #timer: Timer | undefined
  #stopped = false
  readonly #unresolved: LastReason = new LastReason()

  constructor(address: UnixAddress | TcpAddress, options: JoinerOptions) {
    this.#address = address
    this.#options = options
  }

  start(): void {
    void this.#check()
  }

  /** Stops dialling and drains every link: running requests finish. */
  stop(reason: string): void {
    this.#stopped = true
    this.#timer?.cancel()
    for (const joinAddress of this.#joinAddresses.values()) joinAddress.disconnect(reason)
    this.#joinAddresses.clear()
  }

  /** `<Joiner proxy:9000 2 ready, 1 waiting>` */
  inspect(): string {
    const counts = new Map<string, number>()
    for (const { state } of this.#workerLinks()) counts.set(state, (counts.get(state) ?? 0) + 1)
    const states = [...counts].map(([state, count]) => `${count} ${state}`).join(', ')
    return `<Joiner ${printAddress(this.#address)} ${states || 'nobody'}>`
  }

  async #check(): Promise<void> {
    let found: readonly (UnixAddress | TcpAddress)[] | undefined
    try {
      found = await this.#resolve()
      if (this.#unresolved.end() && !this.#stopped)
        this.#options.log.info({ address: this.name }, 'a name to join is resolved again')
    } catch (error) {
      // The resolver itself may be down: known proxies are kept until it answers.
      const why = whyUnreachable(error, 'resolve', 'dns')
      if (!this.#stopped && this.#unresolved.changes(why))
        this.#options.log.warn({ address: this.name, ...why }, 'a name to join cannot be resolved; trying again')
    }
    if (this.#stopped) return
    if (found) this.#update(found)
    for (const joinAddress of this.#joinAddresses.values()) joinAddress.check()
    this.#timer = this.#options.clock.after(INTERVAL, () => void this.#check())
  }

  get name(): string {
    return printAddress(this.#address)
  }

  *#workerLinks(): Iterable<WorkerLink> {
    for (const { links } of this.#joinAddresses.values()) yield* links
  }

  /**
   * A proxy with two addresses, or several workers at one address, may be reached twice. It would then count this
   * container twice.
   */
  readonly #decide: DecideLink = ({ id, worker, workers }, by) => {
    const joined: Set<number> = new Set()
    for (const link of this.#workerLinks()) {
      if (link !== by && link.proxy?.id === id) joined.add(link.proxy.worker)
    }
    if (!joined.has(worker)) return 'new'
    return joined.size < workers ? 'redial' : 'duplicate'
  }

  async #resolve(): Promise<readonly (UnixAddress | TcpAddress)[]> {
    const address = this.#address
    if (address.kind === 'unix' || isIP(address.host) !== 0) return [address]
    const hosts = await (this.#options.resolve ?? systemResolve)(address.host === '' ? 'localhost' : address.host)
    if (hosts.length === 0) throw Object.assign(new Error(`${address.host} has no addresses`), { code: 'ENODATA' })
    return hosts.map((host) => ({ kind: 'tcp', host, port: address.port }))
  }

  #update(found: readonly (UnixAddress | TcpAddress)[]): void {
    const names = new Set(found.map(printAddress))
    for (const [name, joinAddress] of this.#joinAddresses) {
      if (names.has(name)) continue
      this.#joinAddresses.delete(name)
      joinAddress.disconnect('the name no longer resolves to this address')
    }
    for (const address of found) {
      const name = printAddress(address)
      if (!this.#joinAddresses.has(name))
        this.#joinAddresses.set(name, new JoinAddress(address, this.#options, this.#decide))
    }
  }
}

/** One resolved address, with one link for each worker of the proxy there. */
class JoinAddress {
  readonly links: WorkerLink[] = []
  readonly #address: UnixAddress | TcpAddress
  readonly #options: JoinerOptions
  readonly #decide: DecideLink
  /** The number of workers, as the proxy reached last reported it. */
  #workers = 1
  #isDisconnected = false

  constructor(address: UnixAddress | TcpAddress, options: JoinerOptions, decide: DecideLink) {
    this.#address = address
    this.#options = options
    this.#decide = decide
    this.#add()
  }

  check(): void {
    for (const link of this.links) link.check()
    // A link that is joined to a draining proxy ends with the proxy.
    const idle = this.links.filter(({ proxy }) => proxy === undefined)
    for (const link of idle.slice(0, Math.max(0, this.links.length - this.#workers))) {
      this.links.splice(this.links.indexOf(link), 1)
      link.disconnect('the proxy has fewer workers')
    }
  }

  disconnect(reason: string): void {
    this.#isDisconnected = true
    for (const link of this.links) link.disconnect(reason)
  }

  #add(): void {
    this.links.push(
      new WorkerLink(this.#address, this.#options, (proxy, by) => {
        const decision = this.#decide(proxy, by)
        if (decision === 'duplicate' || this.#isDisconnected) return decision
        this.#workers = Math.min(proxy.workers, WORKERS_MAX)
        while (this.links.length < this.#workers) this.#add()
        return decision
      }),
    )
  }
}
