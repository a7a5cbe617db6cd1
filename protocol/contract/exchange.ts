/**
 * One call of one application, with all that PEP 3333 and docs/contract.md ask of a gateway around it (the part of wsgiref's
 * handlers.py). Every gateway uses this; none has rules of its own about applications.
 *
 * It knows no wire: bytes leave through a `ResponseSink` and come in through a `RequestInput`, both of the gateway's.
 * Two ends are kept apart: the response is *finished* when the sink has all of it, the exchange is *settled* when the
 * application is done with it too (its body closed, its promises in). A slot is free only then.
 */

import type { Duplex } from 'node:stream'
import { ErrorLines } from '../log/error-lines.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock, Deadlines, Timer } from '../net/clock.ts'
import { WebSocketStream } from '../websocket/going-away.ts'
import type { Application, Body, Environ, Headers, Outcome, Write } from './application.ts'
import type { ClientView } from './client-view.ts'
import type { Context, ContextControl } from './context.ts'
import { localError } from './coded-errors.ts'
import type { OtherCode } from './error-codes.ts'
import { AbortError, HttpError } from './errors.ts'
import type { RequestInput } from './input.ts'
import { OpenBody } from './open-body.ts'
import { notStarted, Response, type ResponseSink } from './response.ts'
import { checkFields, shown } from './response-head.ts'
import { statusPage } from './status-page.ts'
import { messageOf } from './thrown.ts'

/** What the exchanges of one server share. */
export interface ExchangeHost {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger
  /** Whether this process has begun to drain. */
  readonly draining: boolean
  /** Whether this process is to stop, so that each response is the last of its connection. Default: `draining`. */
  readonly leaving?: boolean | undefined
  /** The application is done with `exchange`: its slot is free. Called exactly once for each. */
  settled(exchange: Exchange): void
}

/** How long a pending `next()` is awaited after an abort before the body is closed all the same, ms. This and the next two: docs/contract.md. */
export const CLOSE_GRACE = 5_000
/** Bytes written by `write` that nobody waited for, above which a response is aborted. */
export const WRITE_OVERRUN: number = 1024 * 1024
/** A long synchronous body lets others run this often, bytes. */
const YIELD_AFTER = 64 * 1024

const resolved: Promise<void> = Promise.resolve()
const ignore = (): void => {}
const nextTick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class Exchange implements ContextControl {
  readonly environ: Environ
  readonly input: RequestInput
  readonly #application: Application
  readonly #sink: ResponseSink
  readonly #response: Response
  readonly #host: ExchangeHost
  readonly #context: Context
  readonly #errors: ErrorLines
  readonly #began: number

  #finished = false
  #settled = false
  #aborted: AbortError | undefined
  /** The status of the gateway's own answer to an aborted request; 0: none. */
  #answered = 0
  #tooLongLogged = false

  readonly #body: OpenBody = new OpenBody()
  #iterating = false
  #graceTimer: Timer | undefined

  #room: PromiseWithResolvers<void> | undefined
  #overrun = 0
  #trailers: (() => Headers | Promise<Headers>) | undefined
  #upgraded: Duplex | undefined
  /** Bytes written to the connection before the upgrade. */
  #writtenBefore = 0
  #webSocket: WebSocketStream | undefined

  /** @param requestId from a trusted peer; else one is made when it is first needed */
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
    this.#response = new Response(sink, environ.REQUEST_METHOD === 'HEAD')
    this.#host = host
    this.#began = host.clock.now()
    this.#context = environ.gantry as Context
    this.#context.bind(this, requestId)
    this.#errors = new ErrorLines(host.log, this.#context)
    environ['wsgi.input'] = input
    environ['wsgi.errors'] = this.#errors
  }

  /** Whether the sink was given the final head. */
  get responded(): boolean {
    return this.#response.responded
  }

  /** Whether the sink was given the whole response, or it was aborted. */
  get finished(): boolean {
    return this.#finished
  }

  /** Whether the connection was handed over by a 101. */
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

  /** The request's own context: middleware may have replaced `environ.gantry` for its application. */
  get context(): Context {
    return this.#context
  }

  get client(): ClientView | undefined {
    return this.#sink.client
  }

  // ---- the gateway's side ----------------------------------------------------------------------------------------

  /** Calls the application. Nothing it throws comes out of here. */
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

  /** The sink has room again. */
  resume(): void {
    if (!this.#response.full) return
    this.#response.full = false
    this.#overrun = 0
    const room = this.#room
    this.#room = undefined
    room?.resolve()
  }

  /**
   * The gateway saw the client go, a deadline pass, or a drain time out. The signal aborts, pending reads and writes reject,
   * and the sink is not called again. Without effect once the response is finished.
   *
   * @param answered status with which the gateway answers in the application's place, for the access log
   */
  abort(error: AbortError, answered: number = 0): void {
    if (this.#finished) return
    this.#answered = answered
    this.#cut(error)
  }

  /**
   * After the drain timeout: closes a WebSocket with code 1001, unless the application is closing it already.
   *
   * @returns false if the exchange must be aborted instead
   */
  goAway(): boolean {
    return this.#webSocket?.goAway() ?? false
  }

  // ---- environ.gantry --------------------------------------------------------------------------------------------

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
    // As if its iterator had thrown this.
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
      // PEP 3333: re-raise, so that the application stops; what the client has must not look whole.
      this.#fail(excInfo)
      throw excInfo
    } else {
      // They were the failed response's: whoever gives them may wait for the end of a body that does not come.
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
          `write() was called for ${this.#overrun} bytes beyond the full buffer; await the promise that it returns`,
        )
        this.#fail(error)
        throw error
      }
      this.#emit(chunk)
      if (!this.#finished) this.#sink.flush()
      if (this.#aborted) throw this.#aborted
      if (this.#response.full) outcome = this.#whenRoom()
      // Nothing is sent any more, so that nothing would ever make it wait: a loop that writes on must not hold the others up.
      else outcome = this.#finished ? nextTick() : resolved
    } catch (error) {
      outcome = Promise.reject(error)
    }
    // Nobody has to await a write: a rejection that nobody sees must not end the process.
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

  /** The application returned. */
  #run(body: Body): void {
    if (this.#finished && !this.#upgraded) {
      // Aborted, failed, or ended by write(): there is nothing more to send.
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
        new TypeError(`the application returned ${shown(body)}, not an iterable of Uint8Array (a string is no body)`),
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

  /** An array whole, at once. False when it is better iterated. */
  #sendArray(chunks: Uint8Array[]): boolean {
    if (!this.#response.sendArray(chunks, this.#trailers !== undefined)) return false
    this.#sentWhole()
    this.#close()
    return true
  }

  async #iterate(): Promise<void> {
    this.#iterating = true
    const response = this.#response
    // An iterator whose next() threw is over; one that we leave is told so by return().
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
        // Nothing more can be sent: a HEAD, or a body that passed its length. A whole body is asked on, to see that it ends.
        if (response.tooLong || response.bodyless) break
        if (!this.#finished) this.#sink.flush()
        if (response.full && !this.#finished) {
          await this.#whenRoom()
          unyielded = 0
        } else if ((unyielded += chunk.length) >= YIELD_AFTER) {
          unyielded = 0
          await nextTick()
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

  /** If the sink has all of the response now, it is finished. What was over its length is logged, once. */
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
      'the application gave more bytes than its Content-Length; they were not sent',
    )
  }

  /** The body came to its end by itself. */
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

  // ---- ends ------------------------------------------------------------------------------------------------------

  /** The application threw, or broke the contract in what it returned: the one place where that is answered and logged. */
  #failed(error: unknown): void {
    this.#fail(error)
    this.#close()
  }

  #fail(error: unknown): void {
    if (this.#aborted) {
      // It is told of an abort by rejections; that it passes them on is no failure of its own.
      if (!(error instanceof AbortError) && error !== this.#aborted.cause)
        this.#logFailure(error, 'the application failed after the request was aborted')
      return
    }
    if (this.#response.responded) {
      this.#logFailure(
        error,
        this.#finished
          ? 'the application failed after its response was complete'
          : 'the application failed in mid-response; the response was cut',
      )
      if (this.#finished) return
      const aborted = new AbortError('APPLICATION', 'the application failed during its response', { cause: error })
      this.#sink.abort(aborted)
      this.#cut(aborted)
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
    // The head is told whole and at once: what the application still does cannot reach the client.
    this.#emit(page[0]!)
  }

  #logFailure(error: unknown, message: string): void {
    const { requestId } = this.#context
    if (error instanceof HttpError) {
      // Meant as an answer: its message says what happened, and a stack would say nothing.
      const { code, status } = error
      const cause = error.cause instanceof Error ? messageOf(error.cause) : undefined
      this.#host.log[status >= 500 ? 'warn' : 'debug']({ requestId, code, status, cause }, error.message)
    } else {
      this.#host.log.error({ requestId, err: error }, message)
    }
  }

  /** The request is over for the client; the application is told, and its body closed. */
  #cut(error: AbortError): void {
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

  /** Closes the body, unless the grace timer has, and settles when that is done. */
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

/** Bytes written to an upgraded connection so far; 0 for a stream that does not count them. */
function writtenTo(connection: Duplex): number {
  return (connection as { readonly bytesWritten?: number }).bytesWritten ?? 0
}

function checkChunk(chunk: unknown): asserts chunk is Uint8Array {
  if (!(chunk instanceof Uint8Array)) {
    throw new TypeError(
      `the application gave ${shown(chunk)} as a chunk of its body: expected a Uint8Array; use Buffer.from(text)`,
    )
  }
}
