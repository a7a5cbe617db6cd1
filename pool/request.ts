/**
 * One request in a pool: it waits, is sent, may be sent again, and is answered or fails, exactly once. Keeps the request's
 * phase and its one deadline, and frees everything when it is over. `choose.ts` and `replay.ts` decide.
 */

import type { ClientShares, Share } from '../protocol/client/client-shares.ts'
import type { Body, Environ, StartResponse } from '../protocol/contract/application.ts'
import type { Behind, ClientView } from '../protocol/contract/client-view.ts'
import type { Context } from '../protocol/contract/context.ts'
import { httpError } from '../protocol/contract/coded-errors.ts'
import { AbortError, type HttpError } from '../protocol/contract/errors.ts'
import type { UpstreamUse } from '../protocol/contract/upstream-use.ts'
import { ReplayableBody, type SlotUser } from '../protocol/frames/caller.ts'
import type { Clock, Deadlines, Expirable } from '../protocol/net/clock.ts'
import type { AwaitedBody, BodyBuffers } from './body-buffers.ts'
import type { Choice } from './choose.ts'
import type { FairSlots, SlotRequest } from './fair-slots.ts'
import type { Member } from './member.ts'
import type { Waiting } from './queue.ts'
import { type Failure, idempotent, isFailure, judge, RETRY_AFTER } from './replay.ts'
import type { Seen } from './slow-watch.ts'
import { reasonOf, TimedBody } from './timed-body.ts'
import type { Attempt } from './upstream.ts'

/** What a request needs from its pool. */
export interface RequestHost {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly queueTimeout: number
  readonly retries: number
  readonly timeout: number
  readonly idleTimeout: number
  readonly bodies: BodyBuffers
  readonly shares: ClientShares
  readonly slots: FairSlots<PooledRequest>
  choose(request: PooledRequest): Choice<Member>
  enqueue(request: PooledRequest): void
  dequeue(request: PooledRequest): void
  /** `answer` is what the client will get; undefined when the request goes on. */
  attemptFailed(request: PooledRequest, member: Member, failure: Failure, answer: HttpError | undefined): void
  /** The request may have run on `lost`, and is now sent to `member`. */
  retried(request: PooledRequest, lost: string, member: Member): void
  /** Lets the request retry members that refused it, after a pause that grows with `attempts`. */
  retryAfterRefusal(request: PooledRequest, attempts: number): void
}

/**
 * `idle`: between attempts. `arriving`: waits for its body before its first attempt. `queued`: waits for a member.
 * `sent`: a member has it. `begun`: the client was given a head. `over`: answered or failed; whatever still arrives is
 * dropped.
 */
type Phase = 'idle' | 'arriving' | 'queued' | 'sent' | 'begun' | 'over'

/**
 * How often an upload's progress is looked at: a quarter of the timeout, so that a 504 comes at most a quarter late. Looking costs
 * nothing between the looks, while a deadline moved at each chunk would.
 */
const LOOKS = 4

export class PooledRequest implements SlotRequest, Expirable, SlotUser {
  readonly arrival: number
  next: Waiting | undefined = undefined
  previous: Waiting | undefined = undefined
  queued = false
  deadline: number = Number.POSITIVE_INFINITY
  place = -1
  /** Members that refused it since it was last let try them all. */
  avoid: Set<Member> | undefined = undefined
  slot = -1
  seen: Seen | undefined = undefined

  readonly #host: RequestHost
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  readonly #body: ReplayableBody
  readonly #resolve: (body: Body) => void
  readonly #reject: (error: unknown) => void
  #phase: Phase = 'idle'
  #awaited: AwaitedBody | undefined
  #share: Share | undefined
  #attempt: Attempt | undefined
  #member: Member | undefined
  /** The member whose slot it holds, also while its response is sent. */
  #holds: Member | undefined
  #attempts = 0
  #losses = 0
  /** The member that was lost while it ran this request; undefined once the request is sent again. */
  #lostOn: string | undefined
  /** Milliseconds spent in the queue before the present stay. */
  #waited = 0
  #since = 0
  #taken = 0
  #listening = false
  #upgraded = false
  /** For the access log; undefined without one. */
  readonly #use: UpstreamUse | undefined

  constructor(
    host: RequestHost,
    arrival: number,
    environ: Environ,
    startResponse: StartResponse,
    resolve: (body: Body) => void,
    reject: (error: unknown) => void,
  ) {
    this.#host = host
    this.arrival = arrival
    this.#environ = environ
    this.#startResponse = startResponse
    this.#body = new ReplayableBody(environ['wsgi.input'], idempotent.has(environ.REQUEST_METHOD))
    this.#resolve = resolve
    this.#reject = reject
    this.#use = (environ.gantry as Partial<Context>).upstreamUse
  }

  get attempts(): number {
    return this.#attempts
  }

  /** Of FairlyWaiting. */
  get returned(): boolean {
    return this.#attempts > 0
  }

  get requestId(): string {
    return this.#environ.gantry.requestId
  }

  // ---- the slot --------------------------------------------------------------------------------------------------

  /** SlotUser: the slot is free. */
  released(): void {
    this.#holds = undefined
    this.#host.slots.ended(this)
  }

  get share(): Share {
    this.#share ??= this.#host.shares.of(this.#environ.REMOTE_ADDR, this)
    return this.#share
  }

  get #client(): ClientView | undefined {
    return (this.#environ.gantry as Partial<Context>).client
  }

  get behind(): Behind {
    // If the member is silent, drains, or was granted fewer slots, the end of this request frees no slot.
    if (this.#holds === undefined || !this.#holds.refills) return 'nothing'
    const behind = this.#client?.behind ?? 'nothing'
    // The application has not read all bytes that it was given: it does not wait for the client.
    return behind === 'upload' && !this.#body.caughtUp ? 'nothing' : behind
  }

  moved(behind: Behind): number {
    return (behind === 'upload' ? this.#client?.delivered : this.#client?.accepted) ?? 0
  }

  endSlow(reason: AbortError): void {
    this.#client?.endSlow(reason)
  }

  // ---- attempts --------------------------------------------------------------------------------------------------

  /** Starts: waits for its body, or goes to a member or into the queue, or is refused at once. */
  begin(): void {
    // Most requests have no body, or it has arrived with the head.
    const awaited = this.#client?.arriving
      ? this.#host.bodies.begin(this.#environ, () => this.#bodyArrived())
      : undefined
    if (awaited === undefined) {
      this.seek()
      return
    }
    if (this.#abortedAlready()) {
      awaited.stop()
      return
    }
    this.#phase = 'arriving'
    this.#awaited = awaited
    this.#listen()
  }

  #bodyArrived(): void {
    if (this.#phase !== 'arriving') return
    this.#stopArriving()
    this.seek()
  }

  #stopArriving(): void {
    if (this.#awaited === undefined) return
    this.#phase = 'idle'
    this.#awaited.stop()
    this.#awaited = undefined
    this.#stopListening()
  }

  /** Goes to a member or into the queue, or is refused at once. */
  seek(): void {
    // The signal is made when it is first asked for: a request that goes straight to its first member does not ask.
    if (this.#attempts > 0 && this.#abortedAlready()) return
    const choice = this.#host.choose(this)
    if (choice === 'wait') this.#wait()
    else if (choice === 'refuse') this.refuse()
    else this.take(choice)
  }

  /** The queue is full: answers 503. */
  refuse(): void {
    this.#fail(
      httpError(
        'QUEUE_FULL',
        'no container has a free slot, and the queue is full (--queue-size); add containers or raise --slots',
        {
          headers: [['Retry-After', RETRY_AFTER]],
        },
      ),
    )
  }

  /** A member with room has been found: the request is on its way before this returns. */
  take(member: Member): void {
    this.#leaveQueue()
    this.#phase = 'sent'
    this.#attempts++
    this.#member = member
    this.#since = this.#host.clock.now()
    this.#use?.sent(member.named, this.#host.clock, this.#since)
    this.#holds = member
    this.#host.slots.started(this)
    if (this.#lostOn !== undefined) {
      this.#host.retried(this, this.#lostOn, member)
      this.#lostOn = undefined
    }
    const attempt = member.upstream.call(this.#environ, this.#start, this.#body, this)
    this.#attempt = attempt
    if (attempt.timed) {
      this.deadline = Number.POSITIVE_INFINITY
      this.#host.deadlines.delete(this)
    } else {
      // Without an upload one look is enough, when the time is over.
      this.#taken = this.#body.taken
      this.deadline = this.#since + (this.#body.sent ? this.#host.timeout : this.#host.timeout / LOOKS)
      this.#host.deadlines.add(this)
    }
    attempt.response.then(
      (body) => {
        if (this.#attempt === attempt) this.#answered(body, attempt)
        // Nobody will read it: a 504 was given, or the client is gone.
        else discard(body)
      },
      (error) => {
        if (this.#attempt === attempt) this.#failed(error)
      },
    )
  }

  /** The one deadline passed: in the queue, or before the response's head. */
  expire(): void {
    if (this.#phase === 'queued') {
      this.#fail(
        httpError(
          'QUEUE_TIMEOUT',
          `no container had a free slot within ${this.#host.queueTimeout / 1000} s (--queue-timeout)`,
          { headers: [['Retry-After', RETRY_AFTER]] },
        ),
      )
      return
    }
    if (this.#phase !== 'sent') return
    const now = this.#host.clock.now()
    // Time counts only while it is the container we wait for: not while its client still has to send, and from new
    // each time the container has taken some more of an upload.
    if (this.#body.waiting || this.#body.taken !== this.#taken) {
      this.#taken = this.#body.taken
      this.#since = now
    }
    const left = this.#since + this.#host.timeout - now
    if (left > 0) {
      this.deadline = now + Math.min(left, this.#host.timeout / LOOKS)
      return
    }
    const attempt = this.#attempt
    this.#fail(
      httpError(
        'UPSTREAM_TIMEOUT',
        `${this.#member?.upstream.name} did not begin its response within ${this.#host.timeout / 1000} s (--timeout)`,
      ),
    )
    attempt?.abort(new AbortError('DEADLINE', 'the response did not begin in time (--timeout)'))
  }

  /** The pool closes: what waits is turned away. What runs is its member's matter. */
  turnAway(reason: string): void {
    if (this.#phase !== 'queued') return
    this.#fail(httpError('CLOSING', reason, { headers: [['Retry-After', RETRY_AFTER]] }))
  }

  #wait(): void {
    if (this.#abortedAlready()) return
    this.#phase = 'queued'
    this.#since = this.#host.clock.now()
    this.deadline = this.#since + Math.max(0, this.#host.queueTimeout - this.#waited)
    this.#host.deadlines.add(this)
    this.#listen()
    this.#host.enqueue(this)
  }

  #listen(): void {
    this.#listening = true
    this.#environ.gantry.signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  #leaveQueue(): void {
    if (this.#phase !== 'queued') return
    this.#phase = 'idle'
    const stay = this.#host.clock.now() - this.#since
    this.#waited += stay
    this.#use?.waited(stay)
    this.#host.dequeue(this)
    this.#stopListening()
  }

  #stopListening(): void {
    if (!this.#listening) return
    this.#listening = false
    this.#environ.gantry.signal.removeEventListener('abort', this.#onAbort)
  }

  readonly #onAbort = (): void => {
    this.#fail(this.#environ.gantry.signal.reason)
  }

  /** A client that left between two steps: nothing is sent for it any more. */
  #abortedAlready(): boolean {
    const { signal } = this.#environ.gantry
    if (!signal.aborted) return false
    this.#fail(signal.reason)
    return true
  }

  readonly #start: StartResponse = (status, headers, excInfo) => {
    if (this.#phase === 'over') throw new AbortError('DEADLINE', 'the request was aborted before its response began')
    this.#phase = 'begun'
    this.#use?.answered()
    this.deadline = Number.POSITIVE_INFINITY
    this.#host.deadlines.delete(this)
    if (status.startsWith('101')) this.#upgraded = true
    return excInfo === undefined ? this.#startResponse(status, headers) : this.#startResponse(status, headers, excInfo)
  }

  #answered(body: Body, attempt: Attempt): void {
    this.#over()
    // An array is whole already, and an upgraded connection may be silent for as long as its ends like.
    const untimed = Array.isArray(body) || this.#upgraded || attempt.timed
    this.#resolve(untimed ? body : new TimedBody(body, attempt, this.#host))
  }

  #failed(error: unknown): void {
    const member = this.#member!
    this.#attempt = undefined
    this.#member = undefined
    this.released()
    // What `startResponse` or the client's body threw, and a client that left, no other member can mend.
    if (!isFailure(error) || error.code === 'ABORTED') {
      this.#fail(reasonOf(error))
      return
    }
    if (error.ran !== 'no') this.#losses++
    // Time spent on being refused is time spent waiting for a container.
    else this.#waited += this.#host.clock.now() - this.#since
    const facts = {
      method: this.#environ.REQUEST_METHOD,
      responded: this.#phase === 'begun',
      whole: this.#body.whole,
      attempts: this.#attempts,
      losses: this.#losses,
      retries: this.#host.retries,
    }
    const refusal = judge(error, facts, member.upstream.name)
    this.#host.attemptFailed(this, member, error, refusal)
    if (refusal) {
      this.#fail(refusal)
      return
    }
    this.#phase = 'idle'
    this.deadline = Number.POSITIVE_INFINITY
    if (error.ran !== 'no') this.#lostOn = member.upstream.name
    else {
      // Others first; if there are none, it waits a little, since it was refused for a reason.
      this.avoid ??= new Set()
      this.avoid.add(member)
      this.#host.retryAfterRefusal(this, this.#attempts)
    }
    this.seek()
  }

  #fail(error: unknown): void {
    if (this.#phase === 'over') return
    this.#stopArriving()
    this.#leaveQueue()
    this.#over()
    this.#reject(error)
  }

  #over(): void {
    this.#phase = 'over'
    this.#attempt = undefined
    this.#member = undefined
    this.avoid = undefined
    this.deadline = Number.POSITIVE_INFINITY
    this.#host.deadlines.delete(this)
  }
}

function discard(body: Body): void {
  // Its failure has nobody to be told to.
  Promise.resolve(body.close?.()).catch(() => {})
}
