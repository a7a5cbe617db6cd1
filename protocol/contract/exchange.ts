/**
 * Calls an application for one request, with every rule of PEP 3333 and docs/contract.md for gateways (as handlers.py
 * of wsgiref). The response is *finished* when the sink has all of it; the exchange is *settled*, and its slot free,
 * when the application is done too: its body is closed and its promises are settled.
 */

import type { Duplex } from 'node:stream'
import { ErrorLines } from '../log/error-lines.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock, Deadlines, Timer } from '../net/clock.ts'
import { yieldToEventLoop } from '../net/event-loop.ts'
import { WebSocketStream } from '../websocket/going-away.ts'
import type { Application, Body, Environ, Headers, Outcome, Write } from './application.ts'
import { ApplicationBody } from './application-body.ts'
import type { ClientView } from './client-view.ts'
import { localError } from './coded-errors.ts'
import type { Context, ContextControl } from './context.ts'
import type { OtherCode } from './error-codes.ts'
import { AbortError, HttpError } from './errors.ts'
import type { RequestInput } from './input.ts'
import { notStarted, type ResponseSink, ResponseWriter } from './response.ts'
import { checkFields, shown } from './response-head.ts'
import { statusPage } from './status-page.ts'
import { messageOf } from './thrown.ts'

/** The parts of a server that its exchanges share. */
export interface ExchangeHost {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger
  /** Whether this process is draining. */
  readonly draining: boolean
  /** Whether this process is about to stop: each response is then the last of its connection. Default: `draining`. */
  readonly leaving?: boolean | undefined
  /** Called exactly once for each exchange, when the application is done with it and its slot is free. */
  settled(exchange: Exchange): void
}

/**
 * How long an exchange waits for a pending `next()` after an abort before it closes the body, ms (docs/contract.md).
 */
export const CLOSE_GRACE = 5_000
/** A response is aborted if `write` gets more bytes than this while the sink is full, bytes (docs/contract.md). */
export const WRITE_OVERRUN: number = 1024 * 1024
/** A synchronous body yields to other requests after this many bytes (docs/contract.md). */
const YIELD_AFTER = 64 * 1024

const resolved: Promise<void> = Promise.resolve()
const ignore = (): void => {}

/**
 * One call of an application. A gateway creates an exchange for each request, calls `run`, and then `resume` and
 * `abort` as its connection requires.
 */
export class Exchange implements ContextControl {
  readonly environ: Environ
  readonly input: RequestInput
  readonly #application: Application
  readonly #sink: ResponseSink
  readonly #response: ResponseWriter
  readonly #host: ExchangeHost
  readonly #context: Context
  readonly #errors: ErrorLines
  readonly #began: number

  #finished = false
  #settled = false
  #aborted: AbortError | undefined
  /** The status with which the gateway answered an aborted request; 0 if it did not answer. */
  #answered = 0
  #tooLongLogged = false

  readonly #body: ApplicationBody = new ApplicationBody()
  #iterating = false
  #graceTimer: Timer | undefined

  #room: PromiseWithResolvers<void> | undefined
  #overrun = 0
  #trailers: (() => Headers | Promise<Headers>) | undefined
  #upgraded: Duplex | undefined
  /** Bytes written to the connection before the upgrade. */
  #writtenBefore = 0
  #webSocket: WebSocketStream | undefined

  /** @param requestId the id from a trusted peer; by default the id is made on first use */
  constructor(
    application: Application,
    environ: Environ,
    input: RequestInput,
    sink: ResponseSink,
    host: ExchangeHost,
    requestId?: string,
  ) {
    this.#application = application
    this.environ = environ
    this.input = input
    this.#sink = sink
    this.#response = new ResponseWriter(sink, environ.REQUEST_METHOD === 'HEAD')
    this.#host = host
    this.#began = host.clock.now()
    this.#context = environ.gantry as Context
    this.#context.bind(this, requestId)
    this.#errors = new ErrorLines(host.log, this.#context)
    environ['wsgi.input'] = input
    environ['wsgi.errors'] = this.#errors
  }

  /** Whether the sink has the final head. */
  get responded(): boolean {
    return this.#response.responded
  }

  /** Whether the sink has the whole response, or the response was aborted. */
  get finished(): boolean {
    return this.#finished
  }

  /** Whether the application took over the connection after a 101. */
  get upgraded(): boolean {
    return this.#upgraded !== undefined
  }

  get aborted(): AbortError | undefined {
    return this.#aborted
  }

  get draining(): boolean {
    return this.#host.draining
  }

  get leaving(): boolean {
    return this.#host.leaving ?? this.#host.draining
  }

  /** The context of this request; middleware may have replaced `environ.gantry` for its application. */
  get context(): Context {
    return this.#context
  }

  get client(): ClientView | undefined {
    return this.#sink.client
  }

  // ---- for the gateway -------------------------------------------------------------------------------------------

  /** Calls the application. Errors of the application are logged, not rethrown. */
  run(): void {
    let result: Body | Promise<Body>
    try {
      result = this.#application(this.environ, (status, headers, excInfo) =>
        this.#startResponse(status, headers, excInfo),
      )
    } catch (error) {
      this.#failed(error)
      return
    }
    if (result instanceof Promise || typeof (result as unknown as Promise<Body> | undefined)?.then === 'function') {
      ;(result as Promise<Body>).then(
        (body) => this.#run(body),
        (error: unknown) => this.#failed(error),
      )
    } else {
      this.#run(result as Body)
    }
  }

  /** Continues after the sink has returned false: the sink can take more. */
  resume(): void {
    if (!this.#response.full) return
    this.#response.full = false
    this.#overrun = 0
    const room = this.#room
    this.#room = undefined
    room?.resolve()
  }

  /**
   * Aborts the request after a disconnect, a deadline or a drain timeout: the signal aborts, pending reads and writes
   * reject, and the sink is not called again. Has no effect if the response is finished.
   *
   * @param answered the status with which the gateway answers instead of the application, for the access log
   */
  abort(error: AbortError, answered: number = 0): void {
    if (this.#finished) return
    this.#answered = answered
    this.#abort(error)
  }

  /**
   * Closes a WebSocket with code 1001 after the drain timeout, unless the application is already closing it.
   *
   * @returns false if there is no WebSocket to close, so that the exchange must be aborted instead
   */
  goAway(): boolean {
    return this.#webSocket?.goAway() ?? false
  }

  // ---- for environ.gantry ----------------------------------------------------------------------------------------

  outcome(): Outcome | undefined {
    if (!this.#finished) return undefined
    return {
      status: this.#response.responded ? this.#response.code : this.#answered,
      bytes: this.#response.sent + (this.#upgraded ? writtenTo(this.#upgraded) - this.#writtenBefore : 0),
      aborted: this.#aborted,
      milliseconds: this.#host.clock.now() - this.#began,
    }
  }

  inform(status: string, headers: Headers): void {
    if (this.#response.responded || this.#finished) return
    this.#sink.inform(status, checkFields(headers, 'early hints'))
  }

  trailers(fields: () => Headers | Promise<Headers>): void {
    this.#trailers = fields
  }

  upgrade(): Duplex {
    if (this.#response.code !== 101 || this.#response.responded || this.#finished) {
      throw localError(
        'NO_UPGRADE',
        "upgrade() was called at the wrong time; call it once, after startResponse('101 …') and before the head is sent",
      )
    }
    const protocol = this.#response.switch()
    this.#upgraded = this.#sink.upgrade()
    this.#writtenBefore = writtenTo(this.#upgraded)
    if (protocol === 'websocket') this.#webSocket = new WebSocketStream(this.#upgraded)
    this.#upgraded.once('close', () => {
      this.#finish(undefined)
      if (this.#body.given) this.#close()
    })
    return this.#upgraded
  }

  giveUp(error: Error): void {
    if (!this.#iterating || !this.#response.full) return
    const room = this.#room
    this.#room = undefined
    // The effect is the same as if the iterator had thrown this error.
    room?.reject(error)
  }

  // ---- startResponse and write -----------------------------------------------------------------------------------

  #startResponse(status: string, headers: Headers, excInfo: unknown): Write {
    if (this.#aborted) throw this.#aborted
    if (excInfo === undefined || excInfo === null) {
      if (this.#response.started) {
        throw localError(
          'START_TWICE',
          `startResponse was called a second time (${shown(status)}) without excInfo; give the error as third argument`,
        )
      }
    } else if (this.#response.responded) {
      // PEP 3333: throw again, so that the application stops. The client must see that the response is incomplete.
      this.#fail(excInfo)
      throw excInfo
    } else {
      // The trailers belonged to the failed response. Their function may wait for a body that is never sent.
      this.#trailers = undefined
    }
    this.#response.start(status, headers, typeof this.environ['HTTP_UPGRADE'] === 'string')
    return (chunk) => this.#write(chunk)
  }

  #write(chunk: Uint8Array): Promise<void> {
    let outcome: Promise<void>
    try {
      if (this.#aborted) throw this.#aborted
      if (this.#body.closed) {
        throw localError('WRITE_AFTER_END', 'write() was called after the end of the response')
      }
      checkChunk(chunk)
      if (this.#response.full && (this.#overrun += chunk.length) > WRITE_OVERRUN) {
        const error = localError(
          'WRITE_OVERRUN',
          `write() was called with ${this.#overrun} bytes while the response was full: await the promise that write() returns`,
        )
        this.#fail(error)
        throw error
      }
      this.#emit(chunk)
      if (!this.#finished) this.#sink.flush()
      if (this.#aborted) throw this.#aborted
      if (this.#response.full) outcome = this.#whenRoom()
      // The response is finished, so there is no backpressure. A loop of writes must still let other requests run.
      else outcome = this.#finished ? yieldToEventLoop() : resolved
    } catch (error) {
      outcome = Promise.reject(error)
    }
    // An application need not await a write: an unobserved rejection must not end the process.
    outcome.catch(ignore)
    return outcome
  }

  #whenRoom(): Promise<void> {
    if (!this.#room) {
      this.#room = Promise.withResolvers<void>()
      this.#room.promise.catch(ignore)
    }
    return this.#room.promise
  }

  // ---- the body --------------------------------------------------------------------------------------------------

  /** Sends the body that the application returned. */
  #run(body: Body): void {
    if (this.#finished && !this.#upgraded) {
      // The response was aborted, has failed, or write() completed it: nothing is left to send.
      this.#body.give(body)
      this.#close()
      return
    }
    const iterable = body as Partial<Iterable<Uint8Array> & AsyncIterable<Uint8Array>> | undefined
    if (
      typeof body !== 'object' ||
      body === null ||
      (typeof iterable?.[Symbol.iterator] !== 'function' && typeof iterable?.[Symbol.asyncIterator] !== 'function')
    ) {
      this.#failed(
        new TypeError(
          `the application returned ${shown(body)}: expected an iterable of Uint8Array; use [Buffer.from(text)]`,
        ),
      )
      return
    }
    this.#body.give(body)
    if (this.#upgraded) {
      if (this.#finished) this.#close()
      return
    }
    if (Array.isArray(body) && this.#sendArray(body)) return
    void this.#iterate()
  }

  /** Sends an array as one chunk. Returns false if the array must be iterated instead. */
  #sendArray(chunks: Uint8Array[]): boolean {
    if (!this.#response.sendArray(chunks, this.#trailers !== undefined)) return false
    this.#sentWhole()
    this.#close()
    return true
  }

  async #iterate(): Promise<void> {
    this.#iterating = true
    const response = this.#response
    // An iterator whose next() threw has ended. If the loop ends for another reason, return() must be called.
    let stepping = false
    try {
      const iterator = this.#body.iterate()
      let unyielded = 0
      for (;;) {
        stepping = true
        const pending = iterator.next()
        const step: IteratorResult<Uint8Array> = 'then' in pending ? await pending : pending
        stepping = false
        if (step.done) {
          this.#body.iterator = undefined
          break
        }
        if (this.#aborted || response.tooLong) break
        const chunk: Uint8Array = step.value
        checkChunk(chunk)
        if (chunk.length === 0) continue
        if (!response.started) throw notStarted()
        this.#emit(chunk)
        // Nothing more can be sent: there is no body, or it is longer than declared. Otherwise the loop runs on, even
        // if the declared length was sent, to see whether the body ends.
        if (response.tooLong || response.bodyless) break
        if (!this.#finished) this.#sink.flush()
        if (response.full && !this.#finished) {
          await this.#whenRoom()
          unyielded = 0
        } else if ((unyielded += chunk.length) >= YIELD_AFTER) {
          unyielded = 0
          await yieldToEventLoop()
        }
        if (this.#aborted) break
      }
    } catch (error) {
      this.#iterating = false
      if (stepping) this.#body.iterator = undefined
      this.#failed(error)
      return
    }
    this.#iterating = false
    if (this.#finished) this.#close()
    else this.#ended()
  }

  #emit(chunk: Uint8Array): void {
    this.#response.emit(chunk)
    this.#sentWhole()
  }

  /** Finishes the response if the sink has all of it. Logs once if the body is longer than declared. */
  #sentWhole(): void {
    if (this.#response.whole) this.#finish(undefined)
    if (!this.#response.tooLong || this.#tooLongLogged) return
    this.#tooLongLogged = true
    this.#host.log.error(
      {
        requestId: this.#context.requestId,
        code: 'BODY_TOO_LONG' satisfies OtherCode,
        declared: this.#response.declared,
      },
      'the application sent more bytes than its Content-Length declares; the extra bytes were dropped',
    )
  }

  /** The iterator has ended: the response ends, after its trailers if there are any. */
  #ended(): void {
    try {
      if (this.#trailers && this.#response.open()) {
        this.#endWithTrailers(this.#trailers)
        return
      }
      this.#response.end(undefined)
    } catch (error) {
      this.#failed(error)
      return
    }
    this.#finish(undefined)
    this.#close()
  }

  #endWithTrailers(fields: () => Headers | Promise<Headers>): void {
    resolved
      .then(fields)
      .then((headers) => {
        if (this.#finished) return
        this.#response.end(checkFields(headers, 'trailers'))
        this.#finish(undefined)
      })
      .then(
        () => this.#close(),
        (error: unknown) => this.#failed(error),
      )
  }

  // ---- failures and the end --------------------------------------------------------------------------------------

  /** The application threw or returned an invalid body: answers and logs that. No other method does. */
  #failed(error: unknown): void {
    this.#fail(error)
    this.#close()
  }

  #fail(error: unknown): void {
    if (this.#aborted) {
      // Pending operations reject with the abort. An application that rethrows it has not failed.
      if (!(error instanceof AbortError) && error !== this.#aborted.cause)
        this.#logFailure(error, 'the application failed after the request was aborted')
      return
    }
    if (this.#response.responded) {
      this.#logFailure(
        error,
        this.#finished
          ? 'the application failed after its response was complete'
          : 'the application failed after its head was sent; the response was aborted',
      )
      if (this.#finished) return
      const aborted = new AbortError('APPLICATION', 'the application failed during its response', { cause: error })
      this.#sink.abort(aborted)
      this.#abort(aborted)
      return
    }
    this.#logFailure(error, 'the application failed')
    const { status, headers } =
      error instanceof HttpError && error.status >= 400 && error.status <= 599 ? error : { status: 500, headers: [] }
    this.#response.reset()
    this.#trailers = undefined
    const page = statusPage(status, { headers })(this.environ, (line, fields) => {
      this.#response.start(line, fields, false)
      return () => resolved
    }) as Uint8Array[]
    // The page is sent whole: nothing that the application still does can reach the client.
    this.#emit(page[0]!)
  }

  #logFailure(error: unknown, message: string): void {
    const { requestId } = this.#context
    if (error instanceof HttpError) {
      // An HttpError is a response: its message says what happened, and its stack adds nothing.
      const { code, status } = error
      const cause = error.cause instanceof Error ? messageOf(error.cause) : undefined
      this.#host.log[status >= 500 ? 'warn' : 'debug']({ requestId, code, status, cause }, error.message)
    } else {
      this.#host.log.error({ requestId, err: error }, message)
    }
  }

  /** Ends the request for the client, aborts the signal and the input, and closes the body. */
  #abort(error: AbortError): void {
    this.#aborted = error
    this.#response.full = false
    this.#finish(error)
    try {
      this.#context.abort(error)
    } catch (failure) {
      this.#host.log.error({ requestId: this.#context.requestId, err: failure }, 'an onAbort callback failed')
    }
    this.input.fail(error)
    const room = this.#room
    this.#room = undefined
    room?.reject(error)
    if (this.#upgraded && !this.#upgraded.destroyed) this.#upgraded.destroy()
    if (!this.#body.given) return
    if (!this.#iterating) {
      this.#close()
    } else {
      this.#graceTimer ??= this.#host.clock.after(CLOSE_GRACE, () => this.#body.close(this.#closeFailed))
    }
  }

  #finish(error: AbortError | undefined): void {
    if (this.#finished) return
    this.#finished = true
    this.#response.full = false
    const room = this.#room
    this.#room = undefined
    if (!error) room?.resolve()
    else if (room) room.reject(error)
    if (this.#context.observed) {
      try {
        this.#context.finished(this.outcome()!)
      } catch (failure) {
        this.#host.log.error({ requestId: this.#context.requestId, err: failure }, 'an onFinished callback failed')
      }
    }
  }

  /** Closes the body unless the grace timer has closed it, and settles the exchange after that. */
  #close(): void {
    if (this.#iterating) return
    this.#graceTimer?.cancel()
    const closing = this.#body.close(this.#closeFailed)
    if (closing) {
      closing.then(
        () => this.#settle(),
        () => this.#settle(),
      )
    } else {
      this.#settle()
    }
  }

  readonly #closeFailed = (error: unknown): void => {
    if (error instanceof AbortError) return
    this.#host.log.error({ requestId: this.#context.requestId, err: error }, "closing the application's body failed")
  }

  #settle(): void {
    if (this.#settled) return
    this.#settled = true
    this.#errors.flush()
    if (!this.input.ended || this.input.buffered > 0) {
      this.input.fail(localError('INPUT_CLOSED', 'wsgi.input was read after the request was over'))
    }
    this.#host.settled(this)
  }
}

/** The bytes written to an upgraded connection; 0 for a stream that does not count them. */
function writtenTo(connection: Duplex): number {
  return (connection as { readonly bytesWritten?: number }).bytesWritten ?? 0
}

function checkChunk(chunk: unknown): asserts chunk is Uint8Array {
  if (!(chunk instanceof Uint8Array)) {
    throw new TypeError(
      `the application returned ${shown(chunk)} as a chunk of its body: expected a Uint8Array; use Buffer.from(text)`,
    )
  }
}
