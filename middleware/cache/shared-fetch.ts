/**
 * One call of the application whose response several clients may get. The call runs in an exchange of its own: it lives
 * as long as any reader needs it, not as long as the client that started it, and `exchange.ts` keeps every rule of the
 * contract.
 */

// `fetcher.ts` decides by the head what happens to the response. Readers get each chunk at once, and the application is
// asked for no more than the fastest reader wants.

import type { Application, Environ, Headers } from '../../protocol/contract/application.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import { Exchange, type ExchangeHost } from '../../protocol/contract/exchange.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import type { ResponseSink } from '../../protocol/contract/response.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import type { Clock, Timer } from '../../protocol/net/clock.ts'
import { Deadlines } from '../../protocol/net/clock.ts'
import { observeFailures } from '../shared/observe-failures.ts'
import type { BodyCollector } from './body-collector.ts'
import { FetchReader } from './fetch-reader.ts'
import type { RequestSnapshot, StoredHead } from './policy.ts'
import type { StoredResponse } from './store.ts'

/** What happens to a response, decided by its head. */
export type Decision =
  /** The response itself is used. `head` is set if it is to be stored and shared. */
  | { readonly kind: 'response'; readonly status: string; readonly headers: Headers; head: StoredHead | undefined }
  /**
   * A stored response is used: revalidated (`failedStatus` 0), or instead of a failure with `failedStatus`.
   * `extraHeaders` are for the client that started the fetch alone.
   */
  | {
      readonly kind: 'stored'
      readonly response: StoredResponse
      readonly extraHeaders: Headers
      readonly failedStatus: number
    }
  /** The response answers no client: each request calls the application itself. */
  | { readonly kind: 'unshared' }

interface FetchPlan {
  readonly uri: string
  readonly keySuffix: string
  readonly snapshot: RequestSnapshot
  /** The stored response that is being revalidated. */
  readonly stale: StoredResponse | undefined
  /** Whether other requests may wait for the response. */
  readonly open: boolean
  /** Whether the fetch continues without any reader. */
  readonly background: boolean
  /** `environ.gantry` of the request that started the fetch. */
  readonly gantry: Environ['gantry']
  readonly errors: Environ['wsgi.errors'] | undefined
}

export interface FetchHost {
  readonly clock: Clock
  readonly log: Logger
  /** How long the fetch may continue without readers, ms. */
  readonly timeout: number
  /** Called once, with the first head that will not be replaced. */
  decide(fetch: SharedFetch, status: string, headers: Headers): Decision
  /**
   * Returns the collector of the body; undefined if the body cannot be stored. @param length in bytes, -1 if unknown
   */
  collect(length: number): BodyCollector | undefined
  /** The body is complete. Called before the readers are notified. @returns the stored response */
  complete(fetch: SharedFetch, head: StoredHead, body: Uint8Array): StoredResponse
  /** No more requests can join. Called once. */
  ended(fetch: SharedFetch): void
}

/** How often a fetch without readers checks for a drain and for its timeout, ms: as often as deadlines are checked. */
const CHECK_INTERVAL = 250

export class SharedFetch implements ResponseSink {
  readonly plan: FetchPlan
  decision: Decision | undefined
  /** The stored response, once the body is complete. */
  response: StoredResponse | undefined
  /**
   * What the application threw before its head. The initiator throws it again, so that its server logs and shows it as
   * usual.
   */
  thrown: unknown
  /** The first error of the application itself: for an `HttpError` the exchange logs only the code and the message. */
  #raised: unknown
  /**
   * An unsafe request was answered after the fetch started: the response may be older than that change (RFC 9111 §4.4).
   */
  invalidated = false
  readonly #host: FetchHost
  readonly #exchange: Exchange
  readonly #readers: Set<FetchReader> = new Set()
  readonly #settled: PromiseWithResolvers<void> = Promise.withResolvers()
  #isSettled = false
  #collector: BodyCollector | undefined
  /** Chunks of a body that is not collected and that the initiator has not read yet. */
  readonly #queue: Uint8Array[] = []
  #isEnded = false
  #error: Error | undefined
  #continuesForStore: boolean
  #change: PromiseWithResolvers<void> | undefined
  #timer: Timer | undefined
  #deadline = Number.POSITIVE_INFINITY

  constructor(application: Application, environ: Environ, plan: FetchPlan, host: FetchHost) {
    this.plan = plan
    this.#host = host
    this.#continuesForStore = plan.background
    const { clock, log } = host
    const exchangeHost: ExchangeHost = {
      clock,
      log: {
        debug: (fields, message) => this.#leavesToInitiator(fields) || log.debug(fields, message),
        info: (fields, message) => log.info(fields, message),
        warn: (fields, message) => this.#leavesToInitiator(fields) || log.warn(fields, message),
        error: (fields, message) => this.#leavesToInitiator(fields) || log.error(fields, message),
      },
      deadlines: new Deadlines(clock),
      get draining() {
        return plan.gantry.draining
      },
      settled: () => this.#settle(),
    }
    const input = new RequestInput(null)
    const observed: Application = (own, startResponse) =>
      observeFailures(application, own, startResponse, (error) => {
        this.#raised ??= error
      })
    this.#exchange = new Exchange(observed, environ, input, this, exchangeHost, plan.gantry.requestId)
    if (plan.errors) environ['wsgi.errors'] = plan.errors
  }

  run(): void {
    this.#startTimer()
    this.#exchange.run()
  }

  /** Whether no more bytes will arrive: the response is complete, or the fetch failed. */
  get isEnded(): boolean {
    return this.#isEnded
  }

  /** Whether the fetch continues without the request that started it. */
  get isNeeded(): boolean {
    return !this.#isEnded && (this.#continuesForStore || this.#readers.size > 0)
  }

  get hasFailed(): boolean {
    return this.#error !== undefined
  }

  /** Whether the whole body is certain to be collected: only then can readers be at different positions. */
  get isShareable(): boolean {
    return this.#collector?.hasKnownLength ?? false
  }

  /** Whether the application is done. */
  get settled(): boolean {
    return this.#isSettled
  }

  get whenSettled(): Promise<void> {
    return this.#settled.promise
  }

  /** Whether the head arrived without any byte of the body. */
  get isHeadOnly(): boolean {
    return !this.#isEnded && this.#queue.length === 0 && (this.#collector?.length ?? 0) === 0
  }

  /** The whole body, if it is complete before a reader has read from it; otherwise undefined. */
  get completeChunks(): Uint8Array[] | undefined {
    if (!this.#isEnded || this.#error) return undefined
    if (!this.response) return this.#queue
    return this.response.body.length === 0 ? [] : [this.response.body]
  }

  /** Resolves at the next event: the decision, new bytes, the end, a reader that leaves. */
  nextChange(): Promise<void> {
    this.#change ??= Promise.withResolvers<void>()
    return this.#change.promise
  }

  /**
   * @param isInitiator whether the reader's request started the fetch: it gets the response whatever the decision is
   */
  join(isInitiator: boolean): FetchReader {
    const reader = new FetchReader(this, isInitiator)
    this.#readers.add(reader)
    this.#stopTimer()
    return reader
  }

  /** A reader needs no more bytes. The application's call is aborted if nothing else needs it. */
  leave(reader: FetchReader, reason: AbortError | undefined): void {
    if (!this.#readers.delete(reader)) return
    reader.hasLeft = true
    this.#notify()
    if (this.#isEnded) return
    // A body that is not collected is for the initiator alone: other readers learn that from the decision, and need no
    // bytes.
    const hasOtherUse = this.decision === undefined || this.#collector !== undefined
    if (this.#readers.size > 0 && (hasOtherUse || this.#hasInitiator)) return
    if (this.#continuesForStore) {
      this.#startTimer()
      this.#exchange.resume()
    } else this.#stop(reason ?? new AbortError('CLIENT_GONE', 'no client waits for the response'))
  }

  /** Lets the fetch complete and store its response, even without readers. */
  continueForStore(): void {
    this.#continuesForStore = true
  }

  /**
   * The next bytes for `reader`; undefined at the end, or if only the initiator gets the rest of the body.
   *
   * @throws HttpError if the response was aborted
   */
  async next(reader: FetchReader): Promise<Uint8Array | undefined> {
    for (;;) {
      if (reader.hasLeft) return undefined
      if (this.#collector) {
        if (reader.position < this.#collector.length) {
          const chunk = this.#collector.from(reader.position)
          reader.position = this.#collector.length
          return chunk
        }
      } else if (!reader.isInitiator) return undefined
      else if (this.#queue.length > 0) return this.#queue.shift()
      if (this.#error) throw this.#error
      if (this.#isEnded) return undefined
      const changed = this.nextChange()
      this.#exchange.resume()
      await changed
    }
  }

  // ---- the exchange's sink ---------------------------------------------------------------------------------------

  inform(_status: string, headers: Headers): void {
    if (!this.plan.background) this.plan.gantry.earlyHints(headers)
  }

  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    const decision = this.#host.decide(this, status, headers)
    this.decision = decision
    if (decision.kind !== 'response') {
      // Nothing needs the body. The abort waits for a microtask: this method runs within a call of the exchange.
      queueMicrotask(() => this.#stop(new AbortError('CLIENT_GONE', 'the response is not needed')))
    } else {
      if (decision.head) this.#collector = this.#host.collect(length)
      if (!this.#collector) this.#giveUpStoring(decision)
    }
    return this.data(chunk, end)
  }

  data(chunk: Uint8Array | undefined, end: boolean): boolean {
    if (chunk && this.decision?.kind === 'response' && !this.#isEnded) this.#add(chunk, this.decision)
    if (end) this.end(undefined)
    else this.#notify()
    // With readers, one chunk at a time on request. Without readers, all chunks at once, to be stored.
    return this.#readers.size === 0 || this.decision?.kind !== 'response'
  }

  end(trailers: Headers | undefined): void {
    const decision = this.decision
    if (this.#isEnded) return
    if (trailers && trailers.length > 0 && decision?.kind === 'response') {
      // A stored response would lack the trailers.
      this.#stopCollecting(decision)
      this.plan.gantry.trailers(() => trailers)
    }
    if (decision?.kind === 'response' && decision.head && this.#collector) {
      this.response = this.#host.complete(this, decision.head, this.#collector.finish())
    }
    this.#end(undefined)
  }

  flush(): void {}

  abort(error: AbortError): void {
    this.#fail(error)
  }

  upgrade(): never {
    throw new TypeError('a cached request cannot be upgraded')
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  /** Whether the initiator throws the error that the exchange is about to log; also an intended `HttpError`. */
  #leavesToInitiator(fields: object): boolean {
    const error = (fields as { err?: unknown }).err ?? this.#raised
    if (error === undefined || this.decision || !this.#hasInitiator) return false
    this.thrown = error
    return true
  }

  #add(chunk: Uint8Array, decision: Decision & { kind: 'response' }): void {
    if (this.#collector) {
      if (this.#collector.add(chunk)) return
      this.#stopCollecting(decision)
    }
    this.#queue.push(chunk)
  }

  /** The response is not stored after all. The initiator gets what was collected, and then each chunk as it arrives. */
  #stopCollecting(decision: Decision & { kind: 'response' }): void {
    const collector = this.#collector
    if (!collector) return
    this.#collector = undefined
    collector.release()
    for (const reader of this.#readers) {
      if (!reader.isInitiator) continue
      const rest = collector.from(reader.position)
      if (rest.length > 0) this.#queue.push(rest)
    }
    this.#giveUpStoring(decision)
  }

  /** Whether the request that started the fetch still reads. */
  get #hasInitiator(): boolean {
    for (const reader of this.#readers) if (reader.isInitiator) return true
    return false
  }

  #giveUpStoring(decision: Decision & { kind: 'response' }): void {
    decision.head = undefined
    this.#continuesForStore = false
    if (!this.#hasInitiator) {
      queueMicrotask(() => this.#stop(new AbortError('CLIENT_GONE', 'the response cannot be stored')))
    }
  }

  /** Aborts the call of the application. */
  #stop(reason: AbortError): void {
    this.#exchange.abort(reason)
    this.#fail(reason)
  }

  #fail(error: Error): void {
    if (this.#isEnded) return
    this.decision ??= { kind: 'unshared' }
    this.#collector?.release()
    this.#end(
      httpError('CACHE_SOURCE_CUT', 'a response that other requests share was truncated while the cache received it', {
        cause: error,
      }),
    )
  }

  #end(error: Error | undefined): void {
    this.#isEnded = true
    this.#error = error
    this.#stopTimer()
    this.#host.ended(this)
    this.#notify()
  }

  #notify(): void {
    const change = this.#change
    this.#change = undefined
    change?.resolve()
  }

  #settle(): void {
    this.#isSettled = true
    // An aborted exchange does not call its sink: without this the readers would wait for ever.
    this.#fail(new AbortError('APPLICATION', 'the application ended without a response'))
    this.#settled.resolve()
  }

  /** Limits a fetch without readers: it ends at its timeout, or when the process drains. */
  #startTimer(): void {
    if (this.#readers.size > 0 || this.#isEnded || this.#timer) return
    if (this.#deadline === Number.POSITIVE_INFINITY) this.#deadline = this.#host.clock.now() + this.#host.timeout
    this.#timer = this.#host.clock.after(CHECK_INTERVAL, () => {
      this.#timer = undefined
      if (this.plan.gantry.draining) this.#stop(new AbortError('DRAIN_TIMEOUT', 'the process drains'))
      else if (this.#host.clock.now() >= this.#deadline) {
        this.#stop(
          new AbortError('DEADLINE', 'the application did not complete a background request of the cache in time'),
        )
      } else this.#startTimer()
    })
  }

  #stopTimer(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }
}
