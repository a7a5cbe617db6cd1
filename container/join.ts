/**
 * `--join ADDRESS`: dials every proxy behind an address, resolves it again every second, and redials a lost or silent
 * link. Workers share one address, so we cannot choose which one accepts: if we reach the same worker twice we hang up
 * and redial until every worker is joined. Knows neither frames nor slots.
 */

import { isIP, type Socket } from 'node:net'
import type { Logger } from '../protocol/log/logger.ts'
import { printAddress, type TcpAddress, type UnixAddress } from '../protocol/net/address.ts'
import { backoff } from '../protocol/net/backoff.ts'
import type { Clock, Timer } from '../protocol/net/clock.ts'
import {
  CONNECT_TIMEOUT,
  Dialling,
  dial,
  HELLO_EXPECTED,
  HELLO_PATIENCE,
  type Resolve,
  systemResolve,
} from '../protocol/net/dial.ts'
import { afterSilence } from '../protocol/net/silence-timer.ts'
import { isTimeout, LastReason, type Phase, whyUnreachable } from '../protocol/net/unreachable.ts'
import { WORKERS_MAX } from '../protocol/options/common-options.ts'

/** Who is at the other end of a link: one of the workers, from 0, of a proxy. */
export interface ProxyWorker {
  readonly id: string
  readonly worker: number
  readonly workers: number
}

/** A served connection, as far as a joiner asks about it. */
export interface JoinedLink {
  readonly state: 'connecting' | 'ready' | 'draining' | 'closed'
  /** Who is at the other end, once that is known. */
  readonly peer?: ProxyWorker | undefined
  drain(reason?: string): void
  /** A new connection to the proxy was refused or timed out. */
  unreachable(): void
}

export interface LinkEvents {
  /** The proxy has taken us. */
  onReady(): void
  /** The link has become silent, or the proxy answers again. */
  onTrust(trusted: boolean): void
  /** Once. */
  onClosed(error?: Error): void
}

export interface JoinOptions {
  readonly clock: Clock
  readonly log: Logger
  /** In [0, 1). */
  readonly random: () => number
  /** Serves on an established connection. @param handshakeTimeout milliseconds for the proxy's handshake */
  readonly serve: (
    socket: Socket,
    proxy: UnixAddress | TcpAddress,
    events: LinkEvents,
    handshakeTimeout: number,
  ) => JoinedLink
  /** Connect timeout, milliseconds. */
  readonly connectTimeout?: number | undefined
  /** All IPv4 and IPv6 addresses of a name; rejects when it cannot be resolved. */
  readonly resolve?: Resolve | undefined
  readonly dial?: ((address: UnixAddress | TcpAddress) => Socket) | undefined
}

/** How often the name is asked for, and the links are looked at, ms. */
const INTERVAL = 1_000
/** Between two tries, ms: a proxy that restarts is joined again within a second, and one that stays away costs a dial a second. */
const WAIT = { first: 50, most: 900 }
/** Until a second address of a proxy that is joined already is tried again, ms: it may be another one's by then. */
const TWIN_WAIT = 30_000
/** Tries that met a worker which is joined already, before the wait for another one grows. */
const TRIES_ALIKE = 5
/** A link that was ready for so long was a good one: after it the waits begin anew. */
const GOOD_LINK = 1_000

/** One `--join` address: its proxies, as they come and go. */
export class Joiner {
  readonly #address: UnixAddress | TcpAddress
  readonly #options: JoinOptions
  readonly #places: Map<string, Place> = new Map()
  #timer: Timer | undefined
  #stopped = false
  readonly #unresolved: LastReason = new LastReason()

  constructor(address: UnixAddress | TcpAddress, options: JoinOptions) {
    this.#address = address
    this.#options = options
  }

  start(): void {
    void this.#look()
  }

  /** Dials no more, and takes leave of every proxy: what runs is finished. */
  stop(reason: string): void {
    this.#stopped = true
    this.#timer?.cancel()
    for (const place of this.#places.values()) place.leave(reason)
    this.#places.clear()
  }

  /** `<Joiner proxy:9000 2 ready, 1 waiting>` */
  inspect(): string {
    const counts = new Map<string, number>()
    for (const { state } of this.#members()) counts.set(state, (counts.get(state) ?? 0) + 1)
    const states = [...counts].map(([state, count]) => `${count} ${state}`).join(', ')
    return `<Joiner ${printAddress(this.#address)} ${states || 'nobody'}>`
  }

  async #look(): Promise<void> {
    let found: readonly (UnixAddress | TcpAddress)[] | undefined
    try {
      found = await this.#resolve()
      if (this.#unresolved.end() && !this.#stopped)
        this.#options.log.info({ address: this.name }, 'a name to join is resolved again')
    } catch (error) {
      // The resolver may be the one that is gone: who was there is kept until it says otherwise.
      const why = whyUnreachable(error, 'resolve', 'dns')
      if (!this.#stopped && this.#unresolved.changes(why))
        this.#options.log.warn({ address: this.name, ...why }, 'a name to join cannot be resolved; trying on')
    }
    if (this.#stopped) return
    if (found) this.#update(found)
    for (const place of this.#places.values()) place.look()
    this.#timer = this.#options.clock.after(INTERVAL, () => void this.#look())
  }

  get name(): string {
    return printAddress(this.#address)
  }

  *#members(): Iterable<Member> {
    for (const { members } of this.#places.values()) yield* members
  }

  /** One that has two addresses, or several workers at one, may be met twice: it would count this container twice. */
  readonly #meet: Meet = ({ id, worker, workers }, by) => {
    const joined: Set<number> = new Set()
    for (const member of this.#members()) {
      if (member !== by && member.proxy?.id === id) joined.add(member.proxy.worker)
    }
    if (!joined.has(worker)) return 'new'
    return joined.size < workers ? 'another is missing' : 'joined already'
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
    for (const [name, place] of this.#places) {
      if (names.has(name)) continue
      this.#places.delete(name)
      place.leave('the proxy is gone from its name')
    }
    for (const address of found) {
      const name = printAddress(address)
      if (!this.#places.has(name)) this.#places.set(name, new Place(address, this.#options, this.#meet))
    }
  }
}

/** What a worker is to this container when a link of `by` has become ready: one that was not joined, one that was while others were not, or one too many. */
type Meet = (proxy: ProxyWorker, by: Member) => 'new' | 'another is missing' | 'joined already'

/** One address: as many members as the proxy there has workers. */
class Place {
  readonly members: Member[] = []
  readonly #address: UnixAddress | TcpAddress
  readonly #options: JoinOptions
  readonly #meet: Meet
  /** As whoever was met here last has said. */
  #workers = 1
  #left = false

  constructor(address: UnixAddress | TcpAddress, options: JoinOptions, meet: Meet) {
    this.#address = address
    this.#options = options
    this.#meet = meet
    this.#add()
  }

  look(): void {
    for (const member of this.members) member.look()
    // Those that are joined to a proxy which is about to go leave with it.
    const idle = this.members.filter(({ proxy }) => proxy === undefined)
    for (const member of idle.slice(0, Math.max(0, this.members.length - this.#workers))) {
      this.members.splice(this.members.indexOf(member), 1)
      member.leave('the proxy has fewer workers')
    }
  }

  leave(reason: string): void {
    this.#left = true
    for (const member of this.members) member.leave(reason)
  }

  #add(): void {
    this.members.push(
      new Member(this.#address, this.#options, (proxy, by) => {
        const who = this.#meet(proxy, by)
        if (who === 'joined already' || this.#left) return who
        this.#workers = Math.min(proxy.workers, WORKERS_MAX)
        while (this.members.length < this.#workers) this.#add()
        return who
      }),
    )
  }
}

/** One link with one worker of a proxy, or the search for it. */
class Member {
  readonly #address: UnixAddress | TcpAddress
  readonly #options: JoinOptions
  readonly #meet: Meet
  /** The present link: its handshake is complete. It may be silent. */
  #link: JoinedLink | undefined
  /** The attempt to replace the link: at most one of these three is set, and none while the link answers. */
  #timer: Timer | undefined
  #dialling: Dialling | undefined
  #next: JoinedLink | undefined
  /** Fires when the proxy should have completed its handshake. */
  #expected: Timer | undefined
  /** Whether the proxy answers on the present link. */
  #trusted = false
  #failures = 0
  /** Consecutive connections that were accepted but whose handshake did not complete. */
  #unanswered = 0
  /** How often a worker was met that is joined already, while another was not. */
  #alike = 0
  #readyAt: number | undefined
  /** The reason that was logged last, why the proxy is not reached. */
  readonly #reason: LastReason = new LastReason()
  /** It has worked once. */
  #joined = false
  #left = false

  constructor(address: UnixAddress | TcpAddress, options: JoinOptions, meet: Meet) {
    this.#address = address
    this.#options = options
    this.#meet = meet
    this.#dial()
  }

  /** The proxy at the other end of the present link, while it answers. */
  get proxy(): ProxyWorker | undefined {
    return this.#link?.state === 'ready' && this.#trusted ? this.#link.peer : undefined
  }

  get state(): string {
    const link = this.#link ?? this.#next
    if (link) return link.state
    return this.#dialling ? 'dialling' : 'waiting'
  }

  /** A proxy that drains takes nothing more on this link; the one that follows it at its address may be there already. */
  look(): void {
    if (this.#link?.state !== 'draining') return
    this.#link = undefined
    if (!this.#seeking) this.#again(undefined)
  }

  leave(reason: string): void {
    this.#left = true
    this.#leaveNext(reason)
    this.#link?.drain(reason)
  }

  /** Cancels the attempt to replace the present link. */
  #leaveNext(reason: string): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#dialling?.cancel()
    this.#dialling = undefined
    const next = this.#next
    this.#next = undefined
    this.#expected?.cancel()
    next?.drain(reason)
  }

  #dial(): void {
    const { clock, dial: open, connectTimeout = CONNECT_TIMEOUT } = this.#options
    const socket = open ? open(this.#address) : dial(this.#address, true)
    this.#dialling = new Dialling(socket, clock, connectTimeout, {
      connected: (made) => {
        this.#dialling = undefined
        this.#serve(made)
      },
      failed: (error, verdict) => {
        this.#dialling = undefined
        // Closes the present link if it is silent; a link on which bytes arrive stays.
        if (verdict === 'gone') this.#link?.unreachable()
        this.#again(error, 'connect')
      },
    })
  }

  #serve(socket: Socket): void {
    const patience = backoff(this.#unanswered + 1, HELLO_PATIENCE, this.#options.random)
    const link = this.#options.serve(
      socket,
      this.#address,
      {
        onReady: () => this.#ready(link),
        onTrust: (trusted) => this.#trust(link, trusted),
        onClosed: (error) => this.#lost(link, error),
      },
      patience,
    )
    this.#next = link
    this.#expected = afterSilence(this.#options.clock, HELLO_EXPECTED, () => {
      const late = { phase: 'handshake', reason: 'timeout', code: 'TIMEOUT' } as const
      if (this.#link || !this.#reason.changes(late)) return
      this.#options.log.warn(
        { proxy: printAddress(this.#address), ...late },
        'a connection was accepted and not answered; waiting: is it a proxy’s --join-listen?',
      )
    })
  }

  #ready(link: JoinedLink): void {
    if (this.#next !== link) return
    this.#next = undefined
    this.#expected?.cancel()
    this.#unanswered = 0
    if (!this.#keeps(link)) return
    const before = this.#link
    this.#link = link
    this.#trusted = true
    this.#readyAt = this.#options.clock.now()
    // Not closed but drained: `liveness.ts` decides whether its requests are lost.
    before?.drain('the proxy did not answer on this link; another link replaces it')
  }

  /** Whether the link reaches a worker that was not joined yet. If not, drains the link and dials again. */
  #keeps(link: JoinedLink): boolean {
    const { log, random } = this.#options
    const who = link.peer ? this.#meet(link.peer, this) : 'new'
    if (who === 'another is missing') {
      link.drain('this worker is joined already; redialling to reach another worker')
      this.#dialIn(backoff(1 + Math.floor(this.#alike++ / TRIES_ALIKE), WAIT, random))
      return false
    }
    this.#alike = 0
    if (this.#reason.end())
      log.info({ proxy: printAddress(this.#address) }, this.#joined ? 'a proxy is joined again' : 'a proxy is joined')
    this.#joined = true
    if (who === 'new') return true
    link.drain('the proxy is joined already, at another of its addresses')
    this.#dialIn(TWIN_WAIT)
    return false
  }

  /** The present link has become silent, or the proxy answers on it again. */
  #trust(link: JoinedLink, trusted: boolean): void {
    if (this.#link !== link || this.#left) return
    this.#trusted = trusted
    if (!trusted) {
      if (!this.#seeking) this.#dial()
      return
    }
    this.#leaveNext('the proxy answers on the previous link again')
    this.#failures = 0
    // Another member may have joined this worker in the meantime.
    if (!this.#keeps(link)) this.#link = undefined
  }

  /** Whether an attempt to replace the link is in progress or scheduled. */
  get #seeking(): boolean {
    return this.#timer !== undefined || this.#dialling !== undefined || this.#next !== undefined
  }

  #lost(link: JoinedLink, error: Error | undefined): void {
    // A link that drained was replaced already.
    if (this.#next !== link && this.#link !== link) return
    if (this.#next === link) {
      this.#next = undefined
      this.#expected?.cancel()
      if (isTimeout(error)) this.#unanswered++
    } else this.#link = undefined
    if (!this.#seeking) this.#again(error)
  }

  #again(error: Error | undefined, phase: Phase = 'handshake'): void {
    if (this.#left) return
    const { clock, log, random } = this.#options
    const why = error && whyUnreachable(error, phase)
    if (why && this.#reason.changes(why))
      log.warn({ proxy: printAddress(this.#address), ...why }, 'a proxy cannot be joined; trying on')
    const good = this.#readyAt !== undefined && clock.now() - this.#readyAt >= GOOD_LINK
    this.#readyAt = undefined
    this.#failures = good ? 1 : this.#failures + 1
    this.#dialIn(backoff(this.#failures, WAIT, random))
  }

  #dialIn(milliseconds: number): void {
    this.#timer?.cancel()
    this.#timer = this.#options.clock.after(milliseconds, () => {
      this.#timer = undefined
      this.#dial()
    })
  }
}
