/**
 * One call of one application, with all that PEP 3333 and contract.md ask of a gateway around it (the part of wsgiref's
 * handlers.py). Every gateway uses this; none has rules of its own about applications.
 *
 * It knows no wire: bytes leave through a `ResponseSink` and come in through a `RequestInput`, both of the gateway's.
 * Two ends are kept apart: the response is *finished* when the sink has all of it, the exchange is *settled* when the
 * application is done with it too (its body closed, its promises in). A slot is free only then.
 */

import type { Duplex } from 'node:stream'
import type { Application, Body, Environ, Headers, Write } from './application.ts'
import type { Clock, Deadlines, Timer } from './clock.ts'
import type { Context, ContextControl } from './context.ts'
import { ErrorLines } from './error-lines.ts'
import { errorPage } from './error-page.ts'
import { AbortError, HttpError, LocalProtocolError } from './errors.ts'
import type { RequestInput } from './input.ts'
import type { Logger } from './log.ts'
import { type CheckedHead, checkFields, checkHead, shown } from './response-head.ts'

/**
 * A gateway's side of one response. Every call is synchronous. What it is given may be gathered until `flush` or the
 * end of the tick, no later.
 */
export interface ResponseSink {
  /** An informational response (103). */
  inform(status: string, headers: Headers): void
  /**
   * The final head, and what is there of the body.
   *
   * @param headers checked; complete but for `Date`, `Server` and framing fields
   * @param length body bytes this response carries in all, -1 when that is not known. For HEAD, 204, 205 and 304 it is 0 and
   *   no body follows, whatever Content-Length says.
   * @param end whether that is all
   * @returns false when there is no room: the exchange waits for `resume()`
   */
  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean
  /** More of the body, never empty unless `end`. */
  data(chunk: Uint8Array, end: boolean): boolean
  /** The end, when the last `head` or `data` was not it. */
  end(trailers: Headers | undefined): void
  /** Hands to the operating system what was gathered: the next chunk may be long in coming, or block the loop. */
  flush(): void
  /** The response cannot be completed: end it so that the client sees that (close the connection, reset the stream). */
  abort(error: AbortError): void
  /** After the head of a 101: the raw connection. The exchange is over when it closes. */
  upgrade(): Duplex
}

/** What the exchanges of one server share. */
export interface ExchangeHost {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger
  /** Whether this process has begun to drain. */
  readonly draining: boolean
  /** The application is done with `exchange`: its slot is free. Called exactly once for each. */
  settled(exchange: Exchange): void
}

/** How long a pending `next()` is awaited after an abort before the body is closed all the same, ms (contract.md rule 14). */
export const CLOSE_GRACE = 5_000
/** Bytes written by `write` that nobody waited for, above which a response is aborted (contract.md rule 14). */
export const WRITE_OVERRUN: number = 1024 * 1024
/** A long synchronous body lets others run this often, bytes (contract.md rule 3). */
const YIELD_AFTER = 64 * 1024
/** An array of chunks up to this size leaves as one, bytes. Above it copying costs more than it saves. */
const JOIN_MAX = 64 * 1024

const resolved: Promise<void> = Promise.resolve()
const ignore = (): void => {}
const nextTick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class Exchange implements ContextControl {
  readonly environ: Environ
  readonly input: RequestInput
  readonly #application: Application
  readonly #sink: ResponseSink
  readonly #host: ExchangeHost
  readonly #context: Context
  readonly #errors: ErrorLines
  readonly #began: number

  /** What `startResponse` was given last; the sink has it once `#responded`. */
  #head: CheckedHead | undefined
  #responded = false
  #finished = false
  #settled = false
  #aborted: AbortError | undefined
  /** Body bytes that the wire still takes: all declared, none for a HEAD. Infinity when nothing was declared. */
  #declared = Number.POSITIVE_INFINITY
  #sent = 0
  #bodyless = false
  #tooLong = false

  #body: Body | undefined
  #iterator: Iterator<Uint8Array> | AsyncIterator<Uint8Array> | undefined
  #iterating = false
  #closed = false
  #graceTimer: Timer | undefined

  #full = false
  #room: PromiseWithResolvers<void> | undefined
  #overrun = 0
  #trailers: (() => Headers | Promise<Headers>) | undefined
  #upgraded: Duplex | undefined

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
    return this.#responded
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
    if (!this.#full) return
    this.#full = false
    this.#overrun = 0
    const room = this.#room
    this.#room = undefined
    room?.resolve()
  }

  /**
   * The gateway saw the client go, a deadline pass, or a drain time out. The signal aborts, pending reads and writes reject,
   * and the sink is not called again. Without effect once the response is finished.
   */
  abort(error: AbortError): void {
    if (this.#finished) return
    this.#cut(error)
  }

  // ---- environ.gantry --------------------------------------------------------------------------------------------

  inform(status: string, headers: Headers): void {
    if (this.#responded || this.#finished) return
    this.#sink.inform(status, checkFields(headers, 'early hints'))
  }

  trailers(fields: () => Headers | Promise<Headers>): void {
    this.#trailers = fields
  }

  upgrade(): Duplex {
    if (this.#head?.code !== 101 || this.#responded || this.#finished) {
      throw new LocalProtocolError(
        'NO_UPGRADE',
        "upgrade() is due once, after startResponse('101 …') and before the head has left",
      )
    }
    this.#responded = true
    const headers = this.#head.headers
    if (!headers.some(([name]) => name.toLowerCase() === 'connection')) headers.push(['Connection', 'Upgrade'])
    this.#sink.head(this.#head.status, headers, -1, undefined, false)
    this.#upgraded = this.#sink.upgrade()
    this.#upgraded.once('close', () => {
      this.#finish(undefined)
      if (this.#body) this.#close()
    })
    return this.#upgraded
  }

  // ---- startResponse and write -----------------------------------------------------------------------------------

  #startResponse(status: string, headers: Headers, excInfo: unknown): Write {
    if (this.#aborted) throw this.#aborted
    if (excInfo === undefined || excInfo === null) {
      if (this.#head) {
        throw new LocalProtocolError(
          'START_TWICE',
          `startResponse was called a second time (${shown(status)}) without excInfo`,
        )
      }
    } else if (this.#responded) {
      // PEP 3333: re-raise, so that the application stops; what the client has must not look whole.
      this.#fail(excInfo)
      throw excInfo
    }
    this.#head = checkHead(status, headers, typeof this.environ['HTTP_UPGRADE'] === 'string')
    return (chunk) => this.#write(chunk)
  }

  #write(chunk: Uint8Array): Promise<void> {
    let outcome: Promise<void>
    try {
      if (this.#aborted) throw this.#aborted
      if (this.#closed) {
        throw new LocalProtocolError('WRITE_AFTER_END', 'write() after the end of the response')
      }
      checkChunk(chunk)
      if (this.#full && (this.#overrun += chunk.length) > WRITE_OVERRUN) {
        const error = new LocalProtocolError(
          'WRITE_OVERRUN',
          `write() was called with ${this.#overrun} bytes more than there was room for: await what it returns`,
        )
        this.#fail(error)
        throw error
      }
      this.#emit(chunk)
      if (!this.#finished) this.#sink.flush()
      if (this.#aborted) throw this.#aborted
      outcome = this.#full ? this.#whenRoom() : resolved
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
      this.#body = body
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
    this.#body = body
    if (this.#upgraded) {
      if (this.#finished) this.#close()
      return
    }
    if (Array.isArray(body) && this.#sendArray(body)) return
    void this.#iterate(body)
  }

  /** Sends an array whole, as one chunk with a Content-Length. False when it is better iterated. */
  #sendArray(chunks: Uint8Array[]): boolean {
    if (this.#responded || !this.#head || chunks.length > 1024) return false
    let total = 0
    for (let at = 0; at < chunks.length; at++) {
      const chunk = chunks[at]
      if (!(chunk instanceof Uint8Array)) return false
      total += chunk.length
    }
    if (total > JOIN_MAX && chunks.length > 1) return false
    if (this.#head.code === 101 || (this.#trailers && this.#head.length === -1)) return false
    // Nothing for a HEAD says nothing of the GET's length: many applications leave its body out.
    const unknown = total === 0 && this.environ.REQUEST_METHOD === 'HEAD'
    if (this.#head.length === -1 && !bodylessCode(this.#head.code) && !unknown) {
      this.#head.headers.push(['Content-Length', String(total)])
      this.#head.length = total
    } else if (this.#head.length > total && !this.#isBodyless(this.#head.code)) return false
    if (total > 0) this.#emit(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
    if (this.#finished) this.#close()
    else this.#ended()
    return true
  }

  async #iterate(body: Body): Promise<void> {
    this.#iterating = true
    // An iterator whose next() threw is over; one that we leave is told so by return().
    let stepping = false
    try {
      // An async iterable's own iterator is the truer one where a body has both.
      const iterator =
        (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]?.() ??
        (body as Iterable<Uint8Array>)[Symbol.iterator]()
      this.#iterator = iterator
      let unyielded = 0
      for (;;) {
        stepping = true
        const pending = iterator.next()
        const step: IteratorResult<Uint8Array> = 'then' in pending ? await pending : pending
        stepping = false
        if (step.done) {
          this.#iterator = undefined
          break
        }
        if (this.#aborted || this.#tooLong) break
        const chunk: Uint8Array = step.value
        checkChunk(chunk)
        if (chunk.length === 0) continue
        if (!this.#head) throw notStarted()
        this.#emit(chunk)
        // Nothing more can be sent: a HEAD, or a body that passed its length. A whole body is asked on, to see that it ends.
        if (this.#tooLong || (this.#finished && this.#bodyless)) break
        if (!this.#finished) this.#sink.flush()
        if (this.#full && !this.#finished) {
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
      if (stepping) this.#iterator = undefined
      this.#failed(error)
      return
    }
    this.#iterating = false
    if (this.#finished) this.#close()
    else this.#ended()
  }

  /** One chunk towards the sink, with the head before it and no byte beyond what was declared. */
  #emit(chunk: Uint8Array): void {
    if (!this.#responded) {
      if (!this.#head) throw notStarted()
      const { code, status, headers, length } = this.#head
      if (code === 101) throw new LocalProtocolError('NO_UPGRADE', 'a 101 has no body: use environ.gantry.upgrade()')
      this.#responded = true
      if (this.#isBodyless(code)) {
        this.#bodyless = true
        this.#sink.head(status, fieldsWithoutBody(code, headers), 0, undefined, true)
        this.#finish(undefined)
        return
      }
      if (length !== -1) this.#declared = length
      const part = this.#within(chunk)
      const end = this.#sent === this.#declared
      const room = this.#sink.head(status, headers, length, part.length === 0 ? undefined : part, end)
      if (end) this.#finish(undefined)
      else if (!room && !this.#finished) this.#full = true
      return
    }
    if (this.#finished) {
      if (!this.#bodyless && chunk.length > 0) this.#within(chunk)
      return
    }
    if (chunk.length === 0) return
    const part = this.#within(chunk)
    const end = this.#sent === this.#declared
    const room = this.#sink.data(part, end)
    if (end) this.#finish(undefined)
    else if (!room && !this.#finished) this.#full = true
  }

  /** As much of `chunk` as the declared length leaves room for; what is over is logged once, and not sent. */
  #within(chunk: Uint8Array): Uint8Array {
    const left = this.#declared - this.#sent
    if (chunk.length <= left) {
      this.#sent += chunk.length
      return chunk
    }
    this.#sent = this.#declared
    if (!this.#tooLong) {
      this.#tooLong = true
      this.#host.log.error(
        { requestId: this.#context.requestId, code: 'BODY_TOO_LONG', declared: this.#declared },
        'the application gave more bytes than its Content-Length; they were not sent',
      )
    }
    return chunk.subarray(0, left)
  }

  /** The body came to its end by itself. */
  #ended(): void {
    if (!this.#head) {
      this.#failed(notStarted())
      return
    }
    if (!this.#responded) {
      const { code, status, headers, length } = this.#head
      if (code === 101) {
        this.#failed(new LocalProtocolError('NO_UPGRADE', 'status 101 was given, and upgrade() was not called'))
        return
      }
      const bodyless = this.#isBodyless(code)
      if (!bodyless && length > 0) {
        this.#failed(tooShort(0, length))
        return
      }
      this.#responded = true
      this.#bodyless = bodyless
      if (bodyless) this.#sink.head(status, fieldsWithoutBody(code, headers), 0, undefined, true)
      else if (this.#trailers && length === -1) {
        this.#sink.head(status, headers, -1, undefined, false)
        this.#endWithTrailers(this.#trailers)
        return
      } else {
        if (length === -1) headers.push(['Content-Length', '0'])
        this.#sink.head(status, headers, 0, undefined, true)
      }
      this.#finish(undefined)
      this.#close()
      return
    }
    if (this.#declared !== Number.POSITIVE_INFINITY) {
      // Had all of it come, the response would be finished.
      this.#failed(tooShort(this.#sent, this.#declared))
      return
    }
    if (this.#trailers) {
      this.#endWithTrailers(this.#trailers)
      return
    }
    this.#sink.end(undefined)
    this.#finish(undefined)
    this.#close()
  }

  #endWithTrailers(fields: () => Headers | Promise<Headers>): void {
    resolved
      .then(fields)
      .then((headers) => {
        if (this.#finished) return
        this.#sink.end(checkFields(headers, 'trailers'))
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
    if (this.#responded) {
      this.#logFailure(
        error,
        this.#finished
          ? 'the application failed after its response was complete'
          : 'the application failed in mid-response; the response was cut',
      )
      if (this.#finished) return
      const aborted = new AbortError('APPLICATION', 'the application failed in mid-response', { cause: error })
      this.#sink.abort(aborted)
      this.#cut(aborted)
      return
    }
    this.#logFailure(error, 'the application failed')
    const { status, headers } =
      error instanceof HttpError && error.status >= 400 && error.status <= 599 ? error : { status: 500, headers: [] }
    this.#head = undefined
    this.#trailers = undefined
    const page = errorPage(status, { headers })(this.environ, (line, fields) => {
      this.#head = checkHead(line, fields, false)
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
      const cause = error.cause instanceof Error ? error.cause.message : undefined
      this.#host.log[status >= 500 ? 'warn' : 'debug']({ requestId, code, status, cause }, error.message)
    } else {
      this.#host.log.error({ requestId, err: error }, message)
    }
  }

  #isBodyless(code: number): boolean {
    return this.environ.REQUEST_METHOD === 'HEAD' || bodylessCode(code)
  }

  /** The request is over for the client; the application is told, and its body closed. */
  #cut(error: AbortError): void {
    this.#aborted = error
    this.#full = false
    this.#finish(error)
    this.#context.abort(error)
    this.input.fail(error)
    const room = this.#room
    this.#room = undefined
    room?.reject(error)
    if (this.#upgraded && !this.#upgraded.destroyed) this.#upgraded.destroy()
    if (!this.#body) return
    if (!this.#iterating) {
      this.#close()
    } else {
      this.#graceTimer ??= this.#host.clock.after(CLOSE_GRACE, () => this.#closeBody())
    }
  }

  #finish(error: AbortError | undefined): void {
    if (this.#finished) return
    this.#finished = true
    this.#full = false
    const room = this.#room
    this.#room = undefined
    if (!error) room?.resolve()
    else if (room) room.reject(error)
    if (this.#context.observed) {
      try {
        this.#context.finished({
          status: this.#responded && this.#head ? this.#head.code : 0,
          bytes: this.#sent,
          aborted: error,
          milliseconds: this.#host.clock.now() - this.#began,
        })
      } catch (failure) {
        this.#host.log.error({ requestId: this.#context.requestId, err: failure }, 'an onFinished callback failed')
      }
    }
  }

  /** Closes the body, unless the grace timer has, and settles when that is done. */
  #close(): void {
    if (this.#iterating) return
    this.#graceTimer?.cancel()
    const closing = this.#closeBody()
    if (closing) {
      closing.then(
        () => this.#settle(),
        () => this.#settle(),
      )
    } else {
      this.#settle()
    }
  }

  /** Runs `return()` of an iterator that was left open, then `close()`. Each once, and their failures are logged. */
  #closeBody(): Promise<void> | undefined {
    if (this.#closed) return undefined
    this.#closed = true
    const iterator = this.#iterator
    const body = this.#body
    this.#iterator = undefined
    let returning: unknown
    try {
      returning = iterator?.return?.()
    } catch (error) {
      this.#closeFailed(error)
    }
    let closing: unknown
    try {
      closing = body?.close?.()
    } catch (error) {
      this.#closeFailed(error)
    }
    const pending = [returning, closing].filter((value) => typeof (value as { then?: unknown })?.then === 'function')
    if (pending.length === 0) return undefined
    return Promise.all(
      pending.map((promise) => Promise.resolve(promise).catch((error: unknown) => this.#closeFailed(error))),
    ).then(ignore)
  }

  #closeFailed(error: unknown): void {
    if (error instanceof AbortError) return
    this.#host.log.error({ requestId: this.#context.requestId, err: error }, "closing the application's body failed")
  }

  #settle(): void {
    if (this.#settled) return
    this.#settled = true
    this.#errors.flush()
    if (!this.input.ended || this.input.buffered > 0) {
      this.input.fail(new LocalProtocolError('INPUT_CLOSED', 'wsgi.input was read after the request was over'))
    }
    this.#host.settled(this)
  }
}

function checkChunk(chunk: unknown): asserts chunk is Uint8Array {
  if (!(chunk instanceof Uint8Array)) {
    throw new TypeError(
      `the application gave ${shown(chunk)} as a chunk of its body: a Uint8Array is due (Buffer.from(text) makes one)`,
    )
  }
}

/** Statuses whose responses have no body (RFC 9110 §6.4.1; 205: §15.3.6). */
function bodylessCode(code: number): boolean {
  return code === 204 || code === 304 || code === 205
}

/** A 204 must not speak of a length (RFC 9110 §8.6), a 205 has none; a HEAD's and a 304's are those of the GET. */
function fieldsWithoutBody(code: number, headers: Headers): Headers {
  if (code !== 204 && code !== 205) return headers
  return headers.filter(([name]) => name.toLowerCase() !== 'content-length')
}

function notStarted(): LocalProtocolError {
  return new LocalProtocolError('NOT_STARTED', 'the application gave its body without calling startResponse')
}

function tooShort(sent: number, declared: number): LocalProtocolError {
  return new LocalProtocolError(
    'BODY_TOO_SHORT',
    `the application's body ended after ${sent} bytes of the ${declared} that its Content-Length declares`,
  )
}
