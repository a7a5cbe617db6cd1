/**
 * The slots of requests that arrive at the container's port: they wait for a slot, clients share the slots, and
 * requests of slow clients are aborted. `slots.ts` grants the slots; requests of proxies wait in the proxies.
 */

import { type AwaitedBody, BodyWait, type BodyWaitHost, type Room } from '../pool/body-wait.ts'
import { FairSlots, type SlotOwner, type SlotRequest, type SlotRules } from '../pool/fair-slots.ts'
import type { Waiting } from '../pool/queue.ts'
import type { Measurement } from '../pool/slow-watch.ts'
import type { ClientKey, ClientShares } from '../protocol/client/client-shares.ts'
import type { Application, Body, Environ, StartResponse } from '../protocol/contract/application.ts'
import type { ClientView, WaitsFor } from '../protocol/contract/client-view.ts'
import { httpError } from '../protocol/contract/coded-errors.ts'
import type { Context } from '../protocol/contract/context.ts'
import type { HttpCode } from '../protocol/contract/error-codes.ts'
import type { HttpError } from '../protocol/contract/errors.ts'
import { runIsolated } from '../protocol/contract/isolated.ts'
import type { Clock, Deadlines, Expirable } from '../protocol/net/clock.ts'
import type { Slots } from './slots.ts'

/** What `DirectSlots` shares out, and by which rules. */
interface DirectSlotsOptions {
  readonly slots: Slots
  readonly shares: ClientShares
  readonly deadlines: Deadlines
  readonly rules: SlotRules
  readonly queueSize: number
  /** Milliseconds. */
  readonly queueTimeout: number
}

/** Grants slots to the requests of the container's port. */
export class DirectSlots implements SlotOwner, BodyWaitHost {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly options: DirectSlotsOptions
  readonly bodies: BodyWait
  readonly line: FairSlots<DirectRequest>
  readonly #slots: Slots
  #arrivals = 0

  constructor(options: DirectSlotsOptions) {
    const { slots, deadlines, rules, queueTimeout } = options
    this.clock = deadlines.clock
    this.deadlines = deadlines
    this.options = options
    this.#slots = slots
    this.bodies = new BodyWait(this, { each: rules.bodyBuffer, total: rules.bodyBufferTotal, longest: queueTimeout })
    this.line = new FairSlots(this, rules)
    slots.onRoom = () => this.#dispatch()
    slots.onScarce = () => this.line.filled()
  }

  /** Wraps `application`: each call waits for a slot, and holds it until `release`. */
  gate(application: Application): Application {
    return (environ, startResponse) => {
      const request = new DirectRequest(this, ++this.#arrivals, environ)
      // A request that need not wait begins in the same tick.
      if (!request.awaitsBody() && this.line.queued === 0 && this.#take(request)) {
        return application(environ, startResponse)
      }
      return request.wait(application, startResponse)
    }
  }

  /**
   * Frees the slot of a request that is over, or that has become a raw connection. Has no effect if the request holds
   * no slot.
   */
  release(context: Context): void {
    const request = context.slot as DirectRequest | undefined
    if (request === undefined) return
    context.slot = undefined
    this.line.ended(request)
    this.#slots.release()
    if (this.line.queued > 0) this.#dispatch()
  }

  seek(request: DirectRequest): void {
    if (this.line.queued === 0 && this.#take(request)) {
      request.run()
      return
    }
    if (this.line.queued < this.options.queueSize) this.enqueue(request)
    else if (!this.line.makeRoom(request, () => this.full && this.line.queued >= this.options.queueSize))
      request.refuse()
    // Either the queue has room now, or a slot is free.
    else if (this.line.queued === 0 && this.#take(request)) request.run()
    else this.enqueue(request)
  }

  enqueue(request: DirectRequest): void {
    this.line.enqueue(request)
    this.#slots.wait(this.line.queued)
  }

  dequeue(request: DirectRequest): void {
    if (!request.queued) return
    this.line.dequeue(request)
    this.#slots.wait(this.line.queued)
  }

  get full(): boolean {
    // A link that uses its few slots one after the other leaves one free for moments.
    return this.#slots.running >= this.#slots.size || this.#slots.scarce
  }

  *others(): Iterable<[ClientKey, number]> {
    for (const link of this.#slots.short) yield [link, 1]
  }

  room(): Room {
    if (this.line.queued > 0) return 'none'
    const { size, running } = this.#slots
    const free = size - running
    return 2 * free > size ? 'plenty' : free > 0 ? 'some' : 'none'
  }

  #take(request: DirectRequest): boolean {
    if (!this.#slots.take()) return false
    request.context.slot = request
    this.line.started(request)
    // `full` checks all links: skip it while at most half of the slots are taken here.
    if (2 * this.line.running.length > this.#slots.size && this.full) this.line.filled()
    return true
  }

  #dispatch(): void {
    for (let request = this.line.next(); request; request = this.line.next()) {
      if (!this.#take(request)) return
      this.dequeue(request)
      request.run()
    }
  }
}

/** `arriving`: waits for its body. `queued`: waits for a slot. `over`: it runs, or was refused or aborted. */
type Phase = 'arriving' | 'queued' | 'over'

class DirectRequest implements SlotRequest, Expirable {
  readonly arrival: number
  readonly environ: Environ
  /** The exchange's context: middleware may replace it in the environ of its application. */
  readonly context: Context
  next: Waiting | undefined = undefined
  previous: Waiting | undefined = undefined
  queued = false
  slot = -1
  measured: Measurement | undefined = undefined
  deadline: number = Number.POSITIVE_INFINITY
  place = -1
  readonly #host: DirectSlots
  #awaited: AwaitedBody | undefined
  #share: ClientKey | undefined
  #phase: Phase = 'arriving'
  #start: (() => void) | undefined
  #reject: ((error: unknown) => void) | undefined

  constructor(host: DirectSlots, arrival: number, environ: Environ) {
    this.#host = host
    this.arrival = arrival
    this.environ = environ
    this.context = environ.gantry as Context
  }

  /** Begins to wait for the request's body. Returns whether the request waits. */
  awaitsBody(): boolean {
    if (!this.#client?.arriving) return false
    this.#awaited = this.#host.bodies.begin(this.environ, () => this.seek())
    return this.#awaited !== undefined
  }

  get share(): ClientKey {
    this.#share ??= this.#host.options.shares.of(this.environ.REMOTE_ADDR, this)
    return this.#share
  }

  // ---- waiting ---------------------------------------------------------------------------------------------------

  /** Calls `application` when a slot is free. */
  wait(application: Application, startResponse: StartResponse): Promise<Body> {
    const { promise, resolve, reject } = Promise.withResolvers<Body>()
    this.#start = () => {
      try {
        resolve(application(this.environ, startResponse))
      } catch (error) {
        reject(error)
      }
    }
    this.#reject = reject
    // Has no effect after the request has begun to run.
    this.context.onAbort((reason) => this.#fail(reason))
    if (this.#awaited === undefined) this.seek()
    return promise
  }

  seek(): void {
    if (this.#phase !== 'arriving') return
    this.#phase = 'queued'
    this.deadline = this.#host.clock.now() + this.#host.options.queueTimeout
    this.#host.deadlines.add(this)
    this.#host.seek(this)
  }

  run(): void {
    this.#stopWaiting()
    // Isolated: this may be called in the async context of the request that freed the slot.
    runIsolated(this.#begin, this)
  }

  #begin(): void {
    this.#start?.()
  }

  refuse(): void {
    this.#fail(
      unavailable(
        'QUEUE_FULL',
        'no slot is free, and the queue is full (--queue-size); add containers or raise --slots',
      ),
    )
  }

  expire(): void {
    const seconds = this.#host.options.queueTimeout / 1000
    this.#fail(unavailable('QUEUE_TIMEOUT', `no slot became free within ${seconds} s (--queue-timeout)`))
  }

  #fail(error: unknown): void {
    if (this.#phase === 'over') return
    this.#stopWaiting()
    this.#reject?.(error)
  }

  #stopWaiting(): void {
    this.#phase = 'over'
    this.#awaited?.stop()
    this.deadline = Number.POSITIVE_INFINITY
    this.#host.deadlines.delete(this)
    this.#host.dequeue(this)
  }

  // ---- WatchedRequest -------------------------------------------------------------------------------------------

  get #client(): ClientView | undefined {
    return this.context.client
  }

  get waitsFor(): WaitsFor {
    return this.#client?.waitsFor ?? 'nothing'
  }

  moved(direction: WaitsFor): number {
    return (direction === 'upload' ? this.#client?.delivered : this.#client?.accepted) ?? 0
  }

  abortSlow(reason: Parameters<ClientView['abortSlow']>[0]): void {
    this.#client?.abortSlow(reason)
  }
}

/** The `Retry-After` of a 503, in seconds. */
const RETRY_AFTER = '1'

function unavailable(code: HttpCode, message: string): HttpError {
  return httpError(code, message, { headers: [['Retry-After', RETRY_AFTER]] })
}
