/**
 * The server's side of one HTTP/1.x connection, sans-IO: which request is answered, what may be sent when, and whether
 * the connection can be reused (RFC 9112 §9; RFC 9110 §10.1.1 for Expect). It knows no socket, no time and no
 * application.
 */

import type { Headers } from '../../contract/application.ts'
import { localError } from '../../contract/coded-errors.ts'
import { LINE_SHOWN } from '../../contract/refused-request.ts'

import type { ParsedHead } from './head.ts'
import type { Http1Limits } from './limits.ts'
import { type ParserEvent, RequestParser } from './parser.ts'
import { CONTINUE, type DateSource, type Framing, informHead, lastChunk, plainAnswer, responseHead } from './writer.ts'

/**
 * The states of reading a request and of sending its response: two state machines side by side, as in h11.
 * - request: `idle` (its head is incomplete), `body`, `done`, `failed` (nothing more is read)
 * - response: `pending` (the final head was not sent), `body` (the final head was sent), `done`
 */
type RequestState = 'idle' | 'body' | 'done' | 'failed'
type ResponseState = 'pending' | 'body' | 'done'

/** What to do with the connection after a response. */
type AfterResponse =
  /** Read the next request. */
  | 'next'
  /** First discard the rest of this request's body: `discard()`. */
  | 'discard'
  /** Close the connection, and ignore what the client still sends. */
  | 'close'

/**
 * The caller pushes bytes to `parser` and calls `read()` for each event. The methods of the response return text to
 * send. The next request is read after `next()`.
 */
export class Http1ServerConnection {
  readonly parser: RequestParser
  readonly #limits: Http1Limits
  readonly #date: DateSource
  #request: RequestState = 'idle'
  /** Whether the head of the current request was parsed. */
  #parsed = false
  #response: ResponseState = 'pending'
  #framing: Framing = 'length'
  /** Whether another request may follow the current one. */
  #keepAlive = true
  /** Whether the client may be waiting for 100 Continue before it sends the body. */
  #awaitsContinue = false
  /** Bytes of the body that have not arrived; Infinity for a chunked body. */
  #missing = 0
  #discarded = 0

  constructor(limits: Http1Limits, date: DateSource) {
    this.parser = new RequestParser(limits)
    this.#limits = limits
    this.#date = date
  }

  get request(): RequestState {
    return this.#request
  }

  get response(): ResponseState {
    return this.#response
  }

  get framing(): Framing {
    return this.#framing
  }

  /** The head of the current request. */
  get requestHead(): ParsedHead {
    return this.parser.head
  }

  /** For the log: the part of the request line that has arrived, up to `LINE_SHOWN` bytes. */
  get requestLine(): string {
    if (!this.#parsed) return this.parser.line
    const { method, target, minor } = this.parser.head
    return `${method} ${target} HTTP/1.${minor}`.slice(0, LINE_SHOWN)
  }

  /** Whether a request is being read or answered. */
  get busy(): boolean {
    return this.#request !== 'idle' && this.#request !== 'failed'
  }

  /** Makes the current response the last. If its head was not sent yet, the head announces the close. */
  closeAfterResponse(): void {
    this.#keepAlive = false
  }

  // ---- reading -----------------------------------------------------------------------------------------------------

  /** Returns the parser's next event; `more` from the end of a request until `next()`. */
  read(): ParserEvent {
    if (this.#request === 'done') return 'more'
    const event = this.parser.next()
    switch (event) {
      case 'head': {
        const { bodyLength, keepAlive, expectContinue } = this.parser.head
        this.#request = 'body'
        this.#parsed = true
        this.#response = 'pending'
        this.#keepAlive &&= keepAlive
        this.#awaitsContinue = expectContinue
        this.#missing = bodyLength === -1 ? Number.POSITIVE_INFINITY : bodyLength
        this.#discarded = 0
        break
      }
      case 'data':
        // A client that sends the body does not wait for 100 Continue (RFC 9110 §10.1.1).
        this.#awaitsContinue = false
        this.#missing -= this.parser.data.length
        break
      case 'end':
        this.#request = 'done'
        this.#missing = 0
        break
      case 'error':
        this.#request = 'failed'
        this.#keepAlive = false
        break
    }
    return event
  }

  /**
   * To be called when the application reads the body. Returns `100 Continue`, or '' if the client does not wait for it.
   */
  continue(): string {
    if (!this.#awaitsContinue || this.#response !== 'pending') return ''
    this.#awaitsContinue = false
    return CONTINUE
  }

  /** Whether the client may be waiting for 100 Continue. */
  get awaitsContinue(): boolean {
    return this.#awaitsContinue
  }

  // ---- the response ------------------------------------------------------------------------------------------------

  /** An informational response; '' for HTTP/1.0, which has none, and after the final head. */
  inform(status: string, headers: Headers): string {
    return this.parser.head.minor === 1 && this.#response === 'pending' ? informHead(status, headers) : ''
  }

  /**
   * The final head.
   *
   * @param length body bytes in total, -1 if unknown
   * @param end whether the caller already has the whole body
   * @throws LocalProtocolError if the final head was sent before, or no request was read
   */
  head(status: string, headers: Headers, length: number, end: boolean): string {
    if (this.#response !== 'pending' || this.#request === 'idle') {
      throw localError(
        'RESPONSE_TWICE',
        `a final response (${status}) was started, but no request waits for a response`,
      )
    }
    this.#response = 'body'
    const { minor } = this.parser.head
    if (status.startsWith('101')) {
      // The upgraded protocol decides when its stream ends.
      this.#framing = 'close'
      this.#keepAlive = false
      return responseHead(status, headers, 'close', '', this.#date)
    }
    this.#framing = length !== -1 ? 'length' : minor === 1 ? 'chunked' : 'close'
    // A client that still waits for 100 Continue may send its body or the next request, and the bytes would not tell
    // which (RFC 9110 §10.1.1).
    if (this.#framing === 'close' || this.#awaitsContinue || (end && this.#tooMuchLeft())) this.#keepAlive = false
    const connection = this.#keepAlive ? (minor === 1 ? '' : 'keep-alive') : 'close'
    return responseHead(status, headers, this.#framing, connection, this.#date)
  }

  /** Completes the response. Returns the last chunk of a chunked body, else ''. */
  end(trailers: Headers | undefined): string {
    this.#response = 'done'
    return this.#framing === 'chunked' ? lastChunk(trailers) : ''
  }

  /**
   * A complete response of the server itself, for a request that no application answers.
   *
   * @param last whether the connection closes after the response
   */
  answer(status: number, headers: Headers, last: boolean): string {
    if (last || this.#awaitsContinue || this.#tooMuchLeft()) this.#keepAlive = false
    const minor = this.#parsed ? this.parser.head.minor : 1
    this.#response = 'done'
    const connection = this.#keepAlive ? (minor === 1 ? '' : 'keep-alive') : 'close'
    return plainAnswer(status, headers, this.#parsed && this.parser.head.method === 'HEAD', connection, this.#date)
  }

  // ---- the next request --------------------------------------------------------------------------------------------

  /** What to do once the response is complete. */
  afterResponse(): AfterResponse {
    if (!this.#keepAlive || this.#request === 'failed') return 'close'
    if (this.#request === 'done') return 'next'
    return this.#awaitsContinue || this.#tooMuchLeft() ? 'close' : 'discard'
  }

  /** Counts discarded body bytes; false above the limit `discard`: the connection must close. */
  discard(bytes: number): boolean {
    this.#discarded += bytes
    return this.#discarded <= this.#limits.discard
  }

  /**
   * Starts to read the next request.
   *
   * @throws LocalProtocolError unless the response is complete and `afterResponse()` is `next`
   */
  next(): void {
    if (this.#response !== 'done' || this.afterResponse() !== 'next')
      throw localError('NOT_OVER', 'next() was called before the current request and its response were complete')
    this.#request = 'idle'
    this.#parsed = false
    this.#response = 'pending'
  }

  /**
   * Ends HTTP on the connection. Returns the bytes that arrived after the request's head: they belong to the new
   * protocol.
   */
  upgrade(): Buffer {
    this.#request = 'failed'
    return this.parser.detach()
  }

  /** Stops reading requests. */
  stop(): void {
    this.#request = 'failed'
    this.#keepAlive = false
    this.parser.free()
  }

  #tooMuchLeft(): boolean {
    return (
      this.#request === 'body' && this.#missing !== Number.POSITIVE_INFINITY && this.#missing > this.#limits.discard
    )
  }
}
