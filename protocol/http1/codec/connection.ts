/**
 * A server's side of one HTTP/1.x connection, sans-IO: which request is answered, what may be sent at which moment, and
 * whether the connection can be used again (RFC 9112 §9; RFC 9110 §10.1.1 for Expect).
 *
 * Its caller pushes bytes and asks for events while a request is being read; a further request is only read after
 * `next()`. What it gives back is text to send. It knows no socket, no time and no application.
 */

import type { Headers } from '../../contract/application.ts'
import { localError } from '../../contract/coded-errors.ts'
import { LINE_SHOWN } from '../../contract/refused-request.ts'

import type { ParsedHead } from './head.ts'
import type { Http1Limits } from './limits.ts'
import { type ParserEvent, RequestParser } from './parser.ts'
import { CONTINUE, type DateSource, type Framing, informHead, lastChunk, plainAnswer, responseHead } from './writer.ts'

/**
 * Where the request's reading is, and where its answer is: two machines side by side, as h11's.
 * - request: `idle` (nothing of it, or its head is incomplete), `body`, `done`, `failed` (nothing is read any more)
 * - response: `due`, `body` (the final head was given), `done`
 */
export type RequestState = 'idle' | 'body' | 'done' | 'failed'
export type ResponseState = 'due' | 'body' | 'done'

/** What to do with a connection after a response. */
export type After =
  /** The next request may be read. */
  | 'next'
  /** First what is left of this request's body is to be dropped: `discard()`. */
  | 'discard'
  /** It is to be closed; what the client still sends is not looked at. */
  | 'close'

export class ServerConnection {
  readonly parser: RequestParser
  readonly #limits: Http1Limits
  readonly #date: DateSource
  #request: RequestState = 'idle'
  /** Whether the current request's head is known. */
  #known = false
  #response: ResponseState = 'due'
  #framing: Framing = 'length'
  /** Whether another request may follow this one. */
  #keepAlive = true
  /** Whether the client waits for 100 Continue, as far as we know. */
  #waiting = false
  /** Bytes of the body that are still to come; Infinity for a chunked one. */
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

  /** The current request's. */
  get head(): ParsedHead {
    return this.parser.head
  }

  /** For the log: the part of the current request line that has arrived, up to `LINE_SHOWN` bytes. */
  get line(): string {
    if (!this.#known) return this.parser.line
    const { method, target, minor } = this.parser.head
    return `${method} ${target} HTTP/1.${minor}`.slice(0, LINE_SHOWN)
  }

  /** Whether a request is being read or answered. */
  get busy(): boolean {
    return this.#request !== 'idle' && this.#request !== 'failed'
  }

  /** The current response is the last. Before its head it says so. */
  close(): void {
    this.#keepAlive = false
  }

  // ---- reading -----------------------------------------------------------------------------------------------------

  /** The parser's next event. After the end of a request there is none until `next()`. */
  read(): ParserEvent {
    if (this.#request === 'done') return 'more'
    const event = this.parser.next()
    switch (event) {
      case 'head': {
        const { bodyLength, keepAlive, expectContinue } = this.parser.head
        this.#request = 'body'
        this.#known = true
        this.#response = 'due'
        this.#keepAlive &&= keepAlive
        this.#waiting = expectContinue
        this.#missing = bodyLength === -1 ? Number.POSITIVE_INFINITY : bodyLength
        this.#discarded = 0
        break
      }
      case 'data':
        // Who sends the body does not wait for leave to do so (RFC 9110 §10.1.1).
        this.#waiting = false
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

  /** The application wants the body: what is to be sent for that, or ''. */
  continue(): string {
    if (!this.#waiting || this.#response !== 'due') return ''
    this.#waiting = false
    return CONTINUE
  }

  /** Whether the client may be holding the body back. */
  get waiting(): boolean {
    return this.#waiting
  }

  // ---- answering ---------------------------------------------------------------------------------------------------

  /** An informational response; '' for HTTP/1.0, which knows none, and after the final head. */
  inform(status: string, headers: Headers): string {
    return this.parser.head.minor === 1 && this.#response === 'due' ? informHead(status, headers) : ''
  }

  /**
   * The final head.
   *
   * @param length body bytes in all, -1 when unknown
   * @param end whether the body is whole with what follows this head at once
   */
  respond(status: string, headers: Headers, length: number, end: boolean): string {
    if (this.#response !== 'due' || this.#request === 'idle') {
      throw localError('RESPONSE_TWICE', `a second final response (${status}) for one request`)
    }
    this.#response = 'body'
    const { minor } = this.parser.head
    if (status.startsWith('101')) {
      // Its end is not HTTP's matter.
      this.#framing = 'close'
      this.#keepAlive = false
      return responseHead(status, headers, 'close', '', this.#date)
    }
    this.#framing = length !== -1 ? 'length' : minor === 1 ? 'chunked' : 'close'
    // A client that still holds its body back may send it or not, and nobody could tell which (RFC 9110 §10.1.1).
    if (this.#framing === 'close' || this.#waiting || (end && this.#tooMuchLeft())) this.#keepAlive = false
    const connection = this.#keepAlive ? (minor === 1 ? '' : 'keep-alive') : 'close'
    return responseHead(status, headers, this.#framing, connection, this.#date)
  }

  /** The response is whole. */
  end(trailers: Headers | undefined): string {
    this.#response = 'done'
    return this.#framing === 'chunked' ? lastChunk(trailers) : ''
  }

  /**
   * A whole answer of our own: where the request was refused, or no application may take it.
   *
   * @param last whether the connection ends with it
   */
  answer(status: number, headers: Headers, last: boolean): string {
    if (last || this.#waiting || this.#tooMuchLeft()) this.#keepAlive = false
    const minor = this.#known ? this.parser.head.minor : 1
    this.#response = 'done'
    const connection = this.#keepAlive ? (minor === 1 ? '' : 'keep-alive') : 'close'
    return plainAnswer(status, headers, this.#known && this.parser.head.method === 'HEAD', connection, this.#date)
  }

  // ---- what is next ------------------------------------------------------------------------------------------------

  /** What to do now that the response is whole. */
  after(): After {
    if (!this.#keepAlive || this.#request === 'failed') return 'close'
    if (this.#request === 'done') return 'next'
    return this.#waiting || this.#tooMuchLeft() ? 'close' : 'discard'
  }

  /** Counts body bytes that nobody reads; false when there are too many of them to go on. */
  discard(bytes: number): boolean {
    this.#discarded += bytes
    return this.#discarded <= this.#limits.discard
  }

  /** Begins with the next request. Only once the response is whole and `after()` is 'next'. */
  next(): void {
    if (this.#response !== 'done' || this.after() !== 'next')
      throw localError('NOT_OVER', 'the next request was started before the current one ended')
    this.#request = 'idle'
    this.#known = false
    this.#response = 'due'
  }

  /** The connection belongs to another protocol: the bytes that came after the request's head. */
  detach(): Buffer {
    this.#request = 'failed'
    return this.parser.detach()
  }

  /** Nothing more is read. */
  fail(): void {
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
