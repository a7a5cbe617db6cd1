/**
 * One request in a pool: it waits, is sent, may be sent again, and ends exactly once, with a response or a failure.
 * Keeps the request's phase and its deadline. `choose.ts` decides on the member, and `replay.ts` on another attempt.
 */

import type { Body, Environ, StartResponse } from '../protocol/contract/application.ts'
import { httpError } from '../protocol/contract/coded-errors.ts'
import type { Context } from '../protocol/contract/context.ts'
import { AbortError, type HttpError } from '../protocol/contract/errors.ts'
import { IDEMPOTENT_METHODS } from '../protocol/contract/methods.ts'
import type { UpstreamUse } from '../protocol/contract/upstream-use.ts'
import { ReplayableBody } from '../protocol/frames/caller.ts'
import type { Clock, Deadlines, Expirable } from '../protocol/net/clock.ts'
import type { AwaitedBody, BodyWait } from './body-wait.ts'
import type { Choice } from './choose.ts'
import type { Member } from './member.ts'
import { type Failure, isFailure, judge, RETRY_AFTER } from './replay.ts'
import { PooledSlotRequest, type SlotRequestHost } from './slot-request.ts'
import { reasonOf, TimedBody } from './timed-body.ts'
import type { Attempt } from './upstream.ts'

/** What a request needs from its pool. */
export interface RequestHost extends SlotRequestHost {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly queueTimeout: number
  readonly retries: number
  readonly timeout: number
  readonly idleTimeout: number
  readonly bodies: BodyWait
  choose(request: PooledRequest): Choice<Member>
  enqueue(request: PooledRequest): void
  dequeue(request: PooledRequest): void
  /** @param answer what the client gets; undefined if the request is sent again */
  attemptFailed(request: PooledRequest, member: Member, failure: Failure, answer: HttpError | undefined): void
  /** The request may have run on `lost`, and is now sent to `member`. */
  retried(request: PooledRequest, lost: string, member: Member): void
  /** Allows the request to retry members that refused it, after a pause that grows with `attempts`. */
  retryAfterRefusal(request: PooledRequest, attempts: number): void
}

/**
 * - `idle`: between attempts
 * - `arriving`: waits for its body before the first attempt
 * - `queued`: waits for a member
 * - `sent`: a member has it
 * - `begun`: the client has received the response's head
 * - `over`: it has a response or has failed; what a member still sends is dropped
 */
type Phase = 'idle' | 'arriving' | 'queued' | 'sent' | 'begun' | 'over'

/**
 * How many times within the timeout the progress of an upload is checked: a 504 is at most a quarter of the timeout
 * late. The alternative, to move the deadline at each chunk, would cost CPU at each chunk.
 */
const LOOKS = 4

export class PooledRequest extends PooledSlotRequest implements Expirable {
  deadline: number = Number.POSITIVE_INFINITY
  place = -1
  /** Members that refused it since it was last allowed to try all members. */
  avoid: Set<Member> | undefined = undefined

  readonly #host: RequestHost
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  readonly #body: ReplayableBody
  readonly #resolve: (body: Body) => void
  readonly #reject: (error: unknown) => void
  #phase: Phase = 'idle'
  #awaited: AwaitedBody | undefined
  #attempt: Attempt | undefined
  #member: Member | undefined
  #attempts = 0
  #losses = 0
  /** The name of the member that was lost while it ran this request; undefined after the request is sent again. */
  #lostOn: string | undefined
  /** Milliseconds spent in the queue before the current wait. */
  #waited = 0
  #since = 0
  #taken = 0
  #listening = false
  #upgraded = false
  /** For the access log; undefined if there is no access log. */
  readonly #use: UpstreamUse | undefined

  constructor(
    host: RequestHost,
    arrival: number,
    environ: Environ,
    startResponse: StartResponse,
    resolve: (body: Body) => void,
    reject: (error: unknown) => void,
  ) {
    const body = new ReplayableBody(environ['wsgi.input'], IDEMPOTENT_METHODS.has(environ.REQUEST_METHOD))
    super(host, arrival, environ, body)
    this.#host = host
    this.#environ = environ
    this.#startResponse = startResponse
    this.#body = body
    this.#resolve = resolve
    this.#reject = reject
    this.#use = (environ.gantry as Partial<Context>).upstreamUse
  }

  get attempts(): number {
    return this.#attempts
  }

  /** Of FairlyWaiting. */
  override get returned(): boolean {
    return this.#attempts > 0
  }

  get requestId(): string {
    return this.#environ.gantry.requestId
  }

  // ---- attempts --------------------------------------------------------------------------------------------------

  /** Waits for the body, or assigns the request (`assign`). */
  begin(): void {
    // Most requests have no body, or it has arrived with the head.
    const awaited = this.client?.arriving
      ? this.#host.bodies.begin(this.#environ, () => this.#bodyArrived())
      : undefined
    if (awaited === undefined) {
      this.assign()
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
    this.assign()
  }

  #stopArriving(): void {
    if (this.#awaited === undefined) return
    this.#phase = 'idle'
    this.#awaited.stop()
    this.#awaited = undefined
    this.#stopListening()
  }

  /** Sends the request to a member, queues it, or refuses it. */
  assign(): void {
    // Reading the signal creates it. A request that is sent to its first member immediately saves that.
    if (this.#attempts > 0 && this.#abortedAlready()) return
    const choice = this.#host.choose(this)
    if (choice === 'wait') this.#wait()
    else if (choice === 'refuse') this.refuse()
    else this.sendTo(choice)
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

  /** Sends the request to a member with a free slot, before this call returns. */
  sendTo(member: Member): void {
    this.#leaveQueue()
    this.#phase = 'sent'
    this.#attempts++
    this.#member = member
    this.#since = this.#host.clock.now()
    this.#use?.sent(member.named, this.#host.clock, this.#since)
    this.hold(member)
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
      // Without an upload one check is enough, at the end of the timeout.
      this.#taken = this.#body.taken
      this.deadline = this.#since + (this.#body.sent ? this.#host.timeout : this.#host.timeout / LOOKS)
      this.#host.deadlines.add(this)
    }
    attempt.response.then(
      (body) => {
        if (this.#attempt === attempt) this.#answered(body, attempt)
        // Nobody reads this body: the client got a 504, or has disconnected.
        else discard(body)
      },
      (error) => {
        if (this.#attempt === attempt) this.#failed(error)
      },
    )
  }

  /** The deadline has passed, in the queue or before the response's head. */
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
    // Only time spent waiting for the container counts: not while the client has to send more, and the time starts
    // again whenever the container has accepted more of an upload.
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

  /** The pool closes: a waiting request fails. A running one is left to its member. */
  refuseWaiting(reason: string): void {
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

  /** Whether the client has disconnected between two steps: then the request fails and is not sent. */
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
    // An array is complete, and an upgraded connection may be silent for any time.
    const untimed = Array.isArray(body) || this.#upgraded || attempt.timed
    this.#resolve(untimed ? body : new TimedBody(body, attempt, this.#host))
  }

  #failed(error: unknown): void {
    const member = this.#member!
    this.#attempt = undefined
    this.#member = undefined
    this.released()
    // Another member cannot help if `startResponse` or the client's body threw, or the client has disconnected.
    if (!isFailure(error) || error.code === 'ABORTED') {
      this.#fail(reasonOf(error))
      return
    }
    if (error.ran !== 'no') this.#losses++
    // Time until a refusal counts as time in the queue.
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
      // Other members come first. Without another member the request waits: the refusal had a reason.
      this.avoid ??= new Set()
      this.avoid.add(member)
      this.#host.retryAfterRefusal(this, this.#attempts)
    }
    this.assign()
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
  // A failure of `close()` is ignored: no request is left that could report it.
  Promise.resolve(body.close?.()).catch(() => {})
}
