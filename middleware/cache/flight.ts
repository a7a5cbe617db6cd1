/**
 * One call of the application whose response several clients may get: run in an exchange of its own, so that it lives as long as
 * anybody waits for it and not as long as the client that came first, and so that every rule of the contract is kept by `exchange.ts`.
 *
 * What becomes of the response is decided by who made it (`desk.ts`), once, by its head. Its chunks are handed on as readers ask for
 * them: nothing more is taken from the application than the fastest of them wants, and nothing is held back. It knows no URI and no
 * freshness.
 */

import type { Application, Environ, Headers } from '../../protocol/contract/application.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import { Exchange, type ExchangeHost } from '../../protocol/contract/exchange.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import type { ResponseSink } from '../../protocol/contract/response.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import type { Clock, Timer } from '../../protocol/net/clock.ts'
import { Deadlines } from '../../protocol/net/clock.ts'
import { watched } from '../filter/watched-application.ts'
import type { Gather } from './gather.ts'
import type { Entry } from './store.ts'
import type { Asked, StoredHead } from './stored.ts'

/** What a response's head has decided. */
export type Verdict =
  /** The response itself; `head` when it is to be stored and others may have it. */
  | { readonly kind: 'response'; readonly status: string; readonly headers: Headers; head: StoredHead | undefined }
  /** A stored one answers: renewed, or in place of a failure. `extra` are fields for the first client alone. */
  | { readonly kind: 'stored'; readonly entry: Entry; readonly extra: Headers; readonly failed: number }
  /** Nothing of it may answer anybody: each asks the application. */
  | { readonly kind: 'alone' }

export interface FlightPlan {
  readonly uri: string
  readonly rest: string
  readonly asked: Asked
  /** The stored response that is being renewed. */
  readonly stale: Entry | undefined
  /** Whether others may wait for it. */
  readonly open: boolean
  /** Whether it goes on with nobody waiting. */
  readonly background: boolean
  /** `environ.gantry` of who began it. */
  readonly gantry: Environ['gantry']
  readonly errors: Environ['wsgi.errors'] | undefined
}

export interface FlightHost {
  readonly clock: Clock
  readonly log: Logger
  /** Milliseconds for which it may go on for nobody. */
  readonly timeout: number
  /** Called once, with the first head that will not be replaced. */
  decide(flight: Flight, status: string, headers: Headers): Verdict
  /** Where to gather the body. */
  gather(length: number): Gather | undefined
  /** The body is complete. Called before anybody is told. @returns what was made of it */
  complete(flight: Flight, head: StoredHead, body: Uint8Array): Entry
  /** No more can join. Called once. */
  over(flight: Flight): void
}

/** How often one that goes on for nobody looks whether the process drains, ms: as often as deadlines are looked at. */
const LOOK = 250

export class Flight implements ResponseSink {
  readonly plan: FlightPlan
  verdict: Verdict | undefined
  /** What was stored of it, once it is. */
  entry: Entry | undefined
  /** What the application threw before its head, for who began it to throw on: its server logs and shows that as it does others. */
  thrown: unknown
  /** What the application itself has failed with: of an `HttpError` the exchange logs no more than what it says. */
  #raised: unknown
  /** An unsafe request has been answered since it began: it may be of before (RFC 9111 §4.4). */
  doomed = false
  readonly #host: FlightHost
  readonly #exchange: Exchange
  readonly #readers: Set<Reader> = new Set()
  readonly #settled: PromiseWithResolvers<void> = Promise.withResolvers()
  #settledNow = false
  #gather: Gather | undefined
  /** What the first reader has not taken of a body that is not gathered. */
  readonly #queue: Uint8Array[] = []
  #over = false
  #error: Error | undefined
  #keep: boolean
  #change: PromiseWithResolvers<void> | undefined
  #timer: Timer | undefined
  #deadline = Number.POSITIVE_INFINITY

  constructor(application: Application, environ: Environ, plan: FlightPlan, host: FlightHost) {
    this.plan = plan
    this.#host = host
    this.#keep = plan.background
    const { clock, log } = host
    const exchangeHost: ExchangeHost = {
      clock,
      log: {
        debug: (fields, message) => this.#keeps(fields) || log.debug(fields, message),
        info: (fields, message) => log.info(fields, message),
        warn: (fields, message) => this.#keeps(fields) || log.warn(fields, message),
        error: (fields, message) => this.#keeps(fields) || log.error(fields, message),
      },
      deadlines: new Deadlines(clock),
      get draining() {
        return plan.gantry.draining
      },
      settled: () => this.#settle(),
    }
    const input = new RequestInput(null)
    const told: Application = (own, startResponse) =>
      watched(application, own, startResponse, (error) => {
        this.#raised ??= error
      })
    this.#exchange = new Exchange(told, environ, input, this, exchangeHost, plan.gantry.requestId)
    if (plan.errors) environ['wsgi.errors'] = plan.errors
  }

  run(): void {
    this.#watch()
    this.#exchange.run()
  }

  /** Whether there will be no more bytes: it is complete, or it failed. */
  get over(): boolean {
    return this.#over
  }

  /** Whether it goes on without who began it. */
  get wanted(): boolean {
    return !this.#over && (this.#keep || this.#readers.size > 0)
  }

  get failed(): boolean {
    return this.#error !== undefined
  }

  /** The whole body is sure to be gathered: readers may be at different places of it. */
  get shareable(): boolean {
    return this.#gather?.certain ?? false
  }

  /** Whether the application is done with it. */
  get settled(): boolean {
    return this.#settledNow
  }

  get whenSettled(): Promise<void> {
    return this.#settled.promise
  }

  /** The head came without anything of the body: it is to leave at once. */
  get bare(): boolean {
    return !this.#over && this.#queue.length === 0 && (this.#gather?.length ?? 0) === 0
  }

  /** The whole body, when it is there before anybody has read of it; undefined when it is to be read. */
  get atOnce(): Uint8Array[] | undefined {
    if (!this.#over || this.#error) return undefined
    if (!this.entry) return this.#queue
    return this.entry.body.length === 0 ? [] : [this.entry.body]
  }

  /** Something has changed since: a verdict, bytes, the end. */
  changed(): Promise<void> {
    this.#change ??= Promise.withResolvers<void>()
    return this.#change.promise
  }

  /** @param first whether it is who began it, and so gets the response whatever it turns out to be */
  join(first: boolean): Reader {
    const reader = new Reader(this, first)
    this.#readers.add(reader)
    this.#unwatch()
    return reader
  }

  /** A reader wants no more. The application is told, if it was the last. */
  leave(reader: Reader, reason: AbortError | undefined): void {
    if (!this.#readers.delete(reader)) return
    reader.left = true
    this.#notify()
    if (this.#over) return
    // What is not gathered is for the first alone: others who wait learn that from the verdict, and need nothing of it.
    const shared = this.verdict === undefined || this.#gather !== undefined
    if (this.#readers.size > 0 && (shared || this.#attended)) return
    if (this.#keep) {
      this.#watch()
      this.#exchange.resume()
    } else this.#stop(reason ?? new AbortError('CLIENT_GONE', 'no client waits for the response'))
  }

  /** It is to be stored, though nobody may be reading. */
  keep(): void {
    this.#keep = true
  }

  /** The next bytes for `reader`; undefined at the end, or where only the first goes on getting them. @throws HttpError when the response was cut short */
  async next(reader: Reader): Promise<Uint8Array | undefined> {
    for (;;) {
      if (reader.left) return undefined
      if (this.#gather) {
        if (reader.position < this.#gather.length) {
          const chunk = this.#gather.from(reader.position)
          reader.position = this.#gather.length
          return chunk
        }
      } else if (!reader.first) return undefined
      else if (this.#queue.length > 0) return this.#queue.shift()
      if (this.#error) throw this.#error
      if (this.#over) return undefined
      const changed = this.changed()
      this.#exchange.resume()
      await changed
    }
  }

  // ---- the exchange's sink ---------------------------------------------------------------------------------------

  inform(_status: string, headers: Headers): void {
    if (!this.plan.background) this.plan.gantry.earlyHints(headers)
  }

  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    const verdict = this.#host.decide(this, status, headers)
    this.verdict = verdict
    if (verdict.kind !== 'response') {
      // Its body is nobody's. Not from within the exchange's own call.
      queueMicrotask(() => this.#stop(new AbortError('CLIENT_GONE', 'the response is not needed')))
    } else {
      if (verdict.head) this.#gather = this.#host.gather(length)
      if (!this.#gather) this.#forgo(verdict)
    }
    return this.data(chunk, end)
  }

  data(chunk: Uint8Array | undefined, end: boolean): boolean {
    if (chunk && this.verdict?.kind === 'response' && !this.#over) this.#add(chunk, this.verdict)
    if (end) this.end(undefined)
    else this.#notify()
    // One chunk at a time, when somebody asks for it; or as they come, when nobody reads and it is to be stored.
    return this.#readers.size === 0 || this.verdict?.kind !== 'response'
  }

  end(trailers: Headers | undefined): void {
    const verdict = this.verdict
    if (this.#over) return
    if (trailers && trailers.length > 0 && verdict?.kind === 'response') {
      // A stored response would lack them.
      this.#abandon(verdict)
      this.plan.gantry.trailers(() => trailers)
    }
    if (verdict?.kind === 'response' && verdict.head && this.#gather) {
      this.entry = this.#host.complete(this, verdict.head, this.#gather.finish())
    }
    this.#finish(undefined)
  }

  flush(): void {}

  abort(error: AbortError): void {
    this.#fail(error)
  }

  upgrade(): never {
    throw new TypeError('a cached request is no upgrade')
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  /** Whether what the exchange would log is for who began it to throw on: also an answer that is meant as one (`HttpError`). */
  #keeps(fields: object): boolean {
    const error = (fields as { err?: unknown }).err ?? this.#raised
    if (error === undefined || this.verdict || !this.#attended) return false
    this.thrown = error
    return true
  }

  #add(chunk: Uint8Array, verdict: Verdict & { kind: 'response' }): void {
    if (this.#gather) {
      if (this.#gather.add(chunk)) return
      this.#abandon(verdict)
    }
    this.#queue.push(chunk)
  }

  /** It is not stored after all; its one reader gets what there is, and the rest as it comes. */
  #abandon(verdict: Verdict & { kind: 'response' }): void {
    const gather = this.#gather
    if (!gather) return
    this.#gather = undefined
    gather.drop()
    for (const reader of this.#readers) {
      if (!reader.first) continue
      const rest = gather.from(reader.position)
      if (rest.length > 0) this.#queue.push(rest)
    }
    this.#forgo(verdict)
  }

  /** Who began it is still there. */
  get #attended(): boolean {
    for (const reader of this.#readers) if (reader.first) return true
    return false
  }

  #forgo(verdict: Verdict & { kind: 'response' }): void {
    verdict.head = undefined
    this.#keep = false
    if (!this.#attended) {
      queueMicrotask(() => this.#stop(new AbortError('CLIENT_GONE', 'the response cannot be stored')))
    }
  }

  /** Ends the application's part from here. */
  #stop(reason: AbortError): void {
    this.#exchange.abort(reason)
    this.#fail(reason)
  }

  #fail(error: Error): void {
    if (this.#over) return
    this.verdict ??= { kind: 'alone' }
    this.#gather?.drop()
    this.#finish(
      httpError('CACHE_SOURCE_CUT', 'the response that this request waited for was aborted', {
        cause: error,
      }),
    )
  }

  #finish(error: Error | undefined): void {
    this.#over = true
    this.#error = error
    this.#unwatch()
    this.#host.over(this)
    this.#notify()
  }

  #notify(): void {
    const change = this.#change
    this.#change = undefined
    change?.resolve()
  }

  #settle(): void {
    this.#settledNow = true
    // Never without an end: an exchange that was aborted does not call its sink.
    this.#fail(new AbortError('APPLICATION', 'the application ended without a response'))
    this.#settled.resolve()
  }

  /** While nobody reads: not for ever, and not when the process drains. */
  #watch(): void {
    if (this.#readers.size > 0 || this.#over || this.#timer) return
    if (this.#deadline === Number.POSITIVE_INFINITY) this.#deadline = this.#host.clock.now() + this.#host.timeout
    this.#timer = this.#host.clock.after(LOOK, () => {
      this.#timer = undefined
      if (this.plan.gantry.draining) this.#stop(new AbortError('DRAIN_TIMEOUT', 'the process drains'))
      else if (this.#host.clock.now() >= this.#deadline) {
        this.#stop(
          new AbortError('DEADLINE', 'the application did not complete a background request of the cache in time'),
        )
      } else this.#watch()
    })
  }

  #unwatch(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }
}

/** Somebody who waits for a flight, and reads its body at a pace of its own. */
export class Reader {
  /** Bytes taken of what is gathered. */
  position = 0
  readonly first: boolean
  /** A client's body reads it now, and leaves when that is closed. */
  handed = false
  left = false
  readonly #flight: Flight

  constructor(flight: Flight, first: boolean) {
    this.#flight = flight
    this.first = first
  }

  next(): Promise<Uint8Array | undefined> {
    return this.#flight.next(this)
  }

  leave(reason?: AbortError): void {
    this.#flight.leave(this, reason)
  }
}
