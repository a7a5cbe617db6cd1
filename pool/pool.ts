/**
 * Many upstreams as one Application: each request goes to a member with a free slot, or waits for a slot.
 * `choose.ts` picks a member, `fair-slots.ts` orders the queue, `request.ts` carries a request. The pool opens no
 * sockets and finds no addresses.
 */

import { ClientShares } from '../protocol/client/client-shares.ts'
import { TrustedPeers } from '../protocol/client/peers.ts'
import type { Application, Body, Environ, StartResponse } from '../protocol/contract/application.ts'
import type { HttpError } from '../protocol/contract/errors.ts'
import { type Identity, isSameProcess } from '../protocol/frames/codec/hello.ts'
import { LoggedOnce } from '../protocol/log/logged-once.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { backoff } from '../protocol/net/backoff.ts'
import { type Clock, Deadlines } from '../protocol/net/clock.ts'
import { BodyWait, type BodyWaitHost, type Room } from './body-wait.ts'
import { type Choice, choose, pick } from './choose.ts'
import { FairSlots, SLOT_RULES, type SlotOwner } from './fair-slots.ts'
import { Member, type MemberState } from './member.ts'
import type { PoolCounters, PoolOptions } from './pool-options.ts'
import { type Failure, RETRIES } from './replay.ts'
import { PooledRequest, type RequestHost } from './request.ts'
import type { Upstream } from './upstream.ts'

/** The state of a member is the collection that holds it; one function moves members, logs and counts. */
const states: readonly MemberState[] = ['connecting', 'ready', 'full', 'draining']

/** Backoff before a request retries members that refused it. */
const REFUSED_PAUSE = { first: 20, most: 1_000 }

/** How many slots an idle link requests, so that the first few requests need not wait for a grant. */
const FEWEST_SLOTS = 16

/**
 * A pool of upstreams, with one queue of requests for all of them. `pool(addresses)` makes one and dials its members.
 *
 * @example
 * ```ts
 * import { pool } from 'gantry/proxy'
 *
 * const application = pool(['unix:/run/one.sock', 'unix:/run/two.sock'])
 * const { requests, lost } = application.pool.counters
 * console.log(application.pool.inspect(), requests, lost)
 * ```
 */
export class Pool implements RequestHost, SlotOwner, BodyWaitHost {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly queueTimeout: number
  readonly retries: number
  readonly timeout: number
  readonly idleTimeout: number
  readonly bodies: BodyWait
  readonly shares: ClientShares
  readonly slots: FairSlots<PooledRequest>
  readonly counters: PoolCounters = { requests: 0, replays: 0, lost: 0, joined: 0, left: 0 }

  readonly #log: Logger
  readonly #random: () => number
  readonly #onWanted: (() => void) | undefined
  readonly #queueSize: number
  readonly #members: Record<MemberState, Member[]> = { connecting: [], ready: [], full: [], draining: [], closed: [] }
  /** Ids that two containers have in common: each is logged once. */
  readonly #duplicateIds: LoggedOnce = new LoggedOnce()
  #arrivals = 0
  #dispatching = false
  /** The length of the queue that members know of, rounded up. */
  #waiting = 0
  #closed = false
  #onEmpty: (() => void) | undefined

  constructor(options: PoolOptions) {
    this.clock = options.clock
    this.deadlines = new Deadlines(options.clock)
    this.queueTimeout = options.queueTimeout
    this.retries = options.retries ?? RETRIES
    this.timeout = options.timeout
    this.idleTimeout = options.idleTimeout
    this.#queueSize = options.queueSize
    const rules = options.slots ?? SLOT_RULES
    this.bodies = new BodyWait(this, {
      each: rules.bodyBuffer,
      total: rules.bodyBufferTotal,
      longest: options.queueTimeout,
    })
    this.shares = new ClientShares(options.trustedPeers ?? new TrustedPeers([]))
    this.slots = new FairSlots(this, rules)
    this.#log = options.log
    this.#random = options.random ?? Math.random
    this.#onWanted = options.onWanted
  }

  /**
   * The pool as an application: its promise rejects if a request fails before its response.
   *
   * @throws HttpError 503 if too many requests wait or no slot becomes free in time; 504 if the response's head does
   *   not arrive in time; 502 if the container is lost and the request may have run
   */
  readonly application: Application = (environ: Environ, startResponse: StartResponse): Promise<Body> => {
    this.counters.requests++
    return new Promise((resolve, reject) => {
      new PooledRequest(this, ++this.#arrivals, environ, startResponse, resolve, reject).begin()
    })
  }

  /** Adds a member. The pool forgets the member when its upstream closes. */
  add(upstream: Upstream): Member {
    const member = new Member(upstream)
    this.#members.connecting.push(member)
    upstream.onChange = () => this.#changed(member)
    this.#changed(member)
    return member
  }

  /** How many members are in `state`; for `closed`, how many have been closed after they were ready. */
  count(state: MemberState): number {
    return state === 'closed' ? this.counters.left : this.#members[state].length
  }

  /** How many requests wait for a slot. */
  get queued(): number {
    return this.slots.queued
  }

  /** How many requests the members run. */
  get inFlight(): number {
    let sum = 0
    for (const state of states) for (const member of this.#members[state]) sum += member.inFlight
    return sum
  }

  /** All members that are not closed. */
  get members(): Member[] {
    return states.flatMap((state) => this.#members[state])
  }

  /** Refuses the waiting requests, lets running requests finish, and closes every member. */
  close(reason: string): void {
    this.#closed = true
    for (let request = this.slots.next(); request; request = this.slots.next()) request.refuseWaiting(reason)
    for (const member of this.members) member.upstream.close(reason)
  }

  /** Like `close`, but aborts running requests. */
  destroy(reason: string): void {
    this.close(reason)
    for (const member of this.members) member.upstream.destroy(reason)
  }

  /** Resolves with true when no member is left, or with false after `timeout` milliseconds. */
  whenEmpty(timeout: number): Promise<boolean> {
    if (this.members.length === 0) return Promise.resolve(true)
    return new Promise((resolve) => {
      const timer = this.clock.after(timeout, () => {
        this.#onEmpty = undefined
        resolve(false)
      })
      this.#onEmpty = () => {
        timer.cancel()
        resolve(true)
      }
    })
  }

  /** `<Pool 2 ready, 1 draining | 7 streams, 0 queued>` */
  inspect(): string {
    const parts = states.filter((state) => this.count(state) > 0).map((state) => `${this.count(state)} ${state}`)
    return `<Pool ${parts.join(', ') || 'empty'} | ${this.inFlight} streams, ${this.queued} queued>`
  }

  // ---- called by requests ----------------------------------------------------------------------------------------

  choose(request: PooledRequest): Choice<Member> {
    if (this.#closed) return 'refuse'
    const choice = this.#choose(request)
    if (choice !== 'refuse') return choice
    const isFull = (): boolean => this.#choose(request) === 'refuse'
    return this.slots.makeRoom(request, isFull) ? this.#choose(request) : choice
  }

  #choose(request: PooledRequest): Choice<Member> {
    return choose(
      {
        members: this.#members.ready,
        avoid: request.avoid,
        queued: this.queued,
        // A request that a member has accepted before is never refused because the queue is full. At most as many
        // requests return to the queue as were in flight when their container was lost.
        queueSize: request.attempts > 0 ? Number.POSITIVE_INFINITY : this.#queueSize,
      },
      this.#random,
    )
  }

  enqueue(request: PooledRequest): void {
    this.slots.enqueue(request)
    this.#updateDemand()
    if (this.queued === 1) this.#onWanted?.()
  }

  dequeue(request: PooledRequest): void {
    this.slots.dequeue(request)
    this.#updateDemand()
  }

  /** Of SlotOwner. */
  get full(): boolean {
    return this.#members.ready.length === 0 && this.#members.full.length > 0
  }

  /** Of BodyWaitHost. */
  room(): Room {
    if (this.queued > 0) return 'none'
    let free = 0
    let all = 0
    for (const { grant, inFlight } of this.#members.ready) {
      free += Math.max(0, grant - inFlight)
      all += grant
    }
    for (const { grant } of this.#members.full) all += grant
    if (all === 0) return 'absent'
    return 2 * free > all ? 'plenty' : free > 0 ? 'some' : 'none'
  }

  attemptFailed(request: PooledRequest, member: Member, failure: Failure, answer: HttpError | undefined): void {
    if (answer !== undefined) {
      // The request's exchange logs the response.
      if (answer.status === 502) this.counters.lost++
      return
    }
    this.counters.replays++
    const { requestId, attempts } = request
    const { code, ran } = failure
    const fields = { requestId, member: member.upstream.name, code, attempts }
    // A request that may have run is logged as a warning when it is sent again, by `retried`.
    if (ran !== 'no') this.#log.debug(fields, 'request is sent again')
    // Once for each request: a container that refuses all requests refuses each of them several times.
    else this.#log[attempts === 1 ? 'info' : 'debug'](fields, 'request is sent again: the container did not run it')
  }

  retried(request: PooledRequest, lost: string, member: Member): void {
    const { requestId, attempts: attempt } = request
    this.#log.warn(
      { requestId, lost, member: member.upstream.name, attempt },
      'request is sent again: its container was lost, and it may have run there',
    )
  }

  retryAfterRefusal(request: PooledRequest, attempts: number): void {
    this.clock.after(backoff(attempts, REFUSED_PAUSE, this.#random), () => {
      request.avoid = undefined
      if (request.queued) this.#dispatch()
    })
  }

  // ---- members ---------------------------------------------------------------------------------------------------

  #changed(member: Member): void {
    if (member.state === 'closed') return
    const { state, inFlight, grant } = member.upstream
    const next: MemberState = state === 'ready' && inFlight >= grant ? 'full' : state
    if (next !== member.state) this.#move(member, next)
    if (next !== 'ready' && next !== 'full') return
    this.#requestSlots(member)
    if (next === 'ready' && this.queued > 0) this.#dispatch()
  }

  /** Requests slots of all members when the length of the queue has changed by a factor of two. */
  #updateDemand(): void {
    const waiting = this.queued === 0 ? 0 : roundUp(this.queued)
    if (waiting === this.#waiting) return
    this.#waiting = waiting
    for (const member of this.#members.full) this.#requestSlots(member)
    for (const member of this.#members.ready) this.#requestSlots(member)
  }

  /**
   * Requests slots of a member before they run out: twice the number of its running requests, and one for each waiting
   * request. Rounding up to a power of two avoids a message for most requests. The number also falls again, so that
   * other proxies get the slots that this one does not use.
   */
  #requestSlots(member: Member): void {
    const slots = roundUp(Math.max(FEWEST_SLOTS, 2 * member.inFlight + this.#waiting))
    if (slots === member.demanded) return
    member.demanded = slots
    member.upstream.demand(slots)
  }

  #move(member: Member, to: MemberState): void {
    const from = member.state
    const collection = this.#members[from]
    collection.splice(collection.indexOf(member), 1)
    member.state = to
    if (to !== 'closed') this.#members[to].push(member)
    if (to === 'full' && this.full) this.slots.filled()
    // A member that never became ready is not logged here: the dialer logs the reason, once.
    const neverReady = from === 'connecting' && to === 'closed'
    if (to === 'closed' && !neverReady) this.counters.left++
    const fields = { member: member.upstream.name, from, to }
    const busy = (from === 'ready' && to === 'full') || (from === 'full' && to === 'ready')
    // In a busy pool, members change between ready and full with every request.
    if (busy || neverReady) this.#log.debug(fields, `container is ${to}`)
    else {
      if (from === 'connecting') {
        this.counters.joined++
        this.#warnOfDuplicateId(member)
      }
      this.#logMove(member, { ...fields, pool: this.inspect() })
    }
    if (to === 'closed' && this.members.length === 0) this.#onEmpty?.()
  }

  #logMove({ upstream }: Member, fields: { from: MemberState; to: MemberState; pool: string }): void {
    const { from, to } = fields
    const { failure, closing } = upstream
    if (from === 'connecting' && upstream.reached === false) {
      this.#log.info(fields, 'server is not connected to yet: the first request connects to it')
      return
    }
    // A process with two connections may close one of them: the process is still reachable.
    if (to === 'closed' && from !== 'draining' && failure && !this.#reaches(upstream.peer))
      this.#log.warn({ ...fields, error: failure.message }, 'container is lost')
    else if (to === 'draining' && closing !== undefined)
      this.#log.info({ ...fields, reason: closing }, 'the proxy drains its connection to the container')
    else this.#log.info(fields, `container is ${to === 'full' ? 'ready' : to}`)
  }

  /**
   * Warns once for each id that two processes share: links distinguish the processes, but readers of the log cannot.
   */
  #warnOfDuplicateId({ upstream: { name, peer } }: Member): void {
    if (!peer?.id || peer.instance === undefined) return
    const twin = [...this.#members.ready, ...this.#members.full].find(({ grant, upstream: { peer: other } }) => {
      // A silent member has no grant: its process may have ended, and this one may replace it.
      if (grant === 0 || other?.instance === undefined || other.instance === peer.instance) return false
      return other.id === peer.id && other.worker === peer.worker
    })
    if (twin && this.#duplicateIds.isFirst(peer.id))
      this.#log.warn(
        { id: peer.id, members: [twin.upstream.name, name] },
        'two containers have the same id, so their log lines cannot be distinguished: give each its own --id',
      )
  }

  /** Whether a ready member is the same process as `peer`. */
  #reaches(peer: Identity | undefined): boolean {
    return [...this.#members.ready, ...this.#members.full].some(({ upstream }) => isSameProcess(upstream.peer, peer))
  }

  /** Gives free slots to waiting requests, in the order of `FairSlots`. */
  #dispatch(): void {
    // Sending a request changes its member, which calls this method again: the loop in progress continues.
    if (this.#dispatching) return
    this.#dispatching = true
    try {
      let passed: Set<PooledRequest> | undefined
      while (this.#members.ready.length > 0) {
        const request = this.slots.next(passed)
        if (request === undefined) return
        const member = pick(this.#members.ready, request.avoid, this.#random)
        if (member !== undefined) request.sendTo(member)
        else if (request.avoid === undefined) return
        // Every free member has refused this request: offer the slot to the next one.
        else (passed ??= new Set()).add(request)
      }
    } finally {
      this.#dispatching = false
    }
  }
}

/** The next power of two. */
function roundUp(count: number): number {
  return count <= 1 ? 1 : 2 ** (32 - Math.clz32(count - 1))
}
