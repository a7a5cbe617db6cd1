/**
 * Sends one response to a gateway's `ResponseSink`: when the head is sent, how much of the body, and how the response
 * ends (docs/contract.md, *What lint cannot see*). `exchange.ts` calls it and handles the errors that it throws.
 */

import type { Duplex } from 'node:stream'
import type { Headers } from './application.ts'
import { isBodylessStatus } from './bodyless.ts'
import type { ClientView } from './client-view.ts'
import { localError } from './coded-errors.ts'
import type { AbortError, LocalProtocolError } from './errors.ts'
import { type CheckedHead, checkHead } from './response-head.ts'

/**
 * A gateway's side of one response. Every call is synchronous. The sink may collect data until `flush` or the end of
 * the tick, no longer.
 */
export interface ResponseSink {
  /** The client of the request, if the gateway has its connection. */
  readonly client?: ClientView | undefined
  /** Sends an informational response (103). */
  inform(status: string, headers: Headers): void
  /**
   * Sends the final head, and the part of the body that is available.
   *
   * @param headers checked; all headers but `Date`, `Server` and the framing fields
   * @param length the bytes of the whole body; -1 if the length is not known. For HEAD, 204, 205 and 304 it is 0, and
   *   no body follows, whatever Content-Length says.
   * @param end whether the response is complete
   * @returns false if the sink is full: the exchange then waits for `resume()`
   */
  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean
  /** Sends more of the body. The chunk is never empty unless `end` is true. Returns as `head`. */
  data(chunk: Uint8Array, end: boolean): boolean
  /** Ends the response, if the last `head` or `data` did not. */
  end(trailers: Headers | undefined): void
  /** Passes the collected data to the operating system now: the next chunk may take long, or block the event loop. */
  flush(): void
  /** Aborts the response so that the client sees that it is incomplete (close the connection, reset the stream). */
  abort(error: AbortError): void
  /** Returns the raw connection after the head of a 101. The exchange ends when the connection closes. */
  upgrade(): Duplex
}

/** Chunks of an array are sent as one chunk up to this size, bytes. For more bytes a copy costs more than it saves. */
const JOIN_MAX = 64 * 1024
/** Arrays with more chunks than this are iterated: to add up their lengths would block the event loop. */
const CHUNKS_MAX = 1024

/** Writes the response of one exchange to its sink. */
export class ResponseWriter {
  /** The declared Content-Length; Infinity if there is none. */
  #declared = Number.POSITIVE_INFINITY
  #head: CheckedHead | undefined
  readonly #sink: ResponseSink
  /** The method of the request is HEAD. */
  readonly #headOnly: boolean
  /** The sink has the final head. */
  responded = false
  /** The sink has the whole response. */
  whole = false
  /** The sink is full. */
  full = false
  /** The response has no body, whatever the application returns. */
  bodyless = false
  /** The body is longer than declared. */
  tooLong = false
  /** Body bytes passed to the sink. */
  sent = 0

  constructor(sink: ResponseSink, headOnly: boolean) {
    this.#sink = sink
    this.#headOnly = headOnly
  }

  /** Whether there is a head. */
  get started(): boolean {
    return this.#head !== undefined
  }

  /** The status code; 0 if there is no head. */
  get code(): number {
    return this.#head?.code ?? 0
  }

  /** The declared Content-Length. */
  get declared(): number {
    return this.#declared
  }

  /**
   * Sets the head. It replaces a head that was not sent.
   *
   * @throws TypeError as `checkHead`
   */
  start(status: string, headers: Headers, mayUpgrade: boolean): void {
    this.#head = checkHead(status, headers, mayUpgrade)
  }

  /** Drops a head that was not sent. */
  reset(): void {
    this.#head = undefined
  }

  /**
   * Sends a chunk, after the head, and no byte beyond the declared length. An empty chunk sends the head alone.
   *
   * @throws LocalProtocolError if there is no head, or if its status is 101
   */
  emit(chunk: Uint8Array): void {
    if (this.whole) {
      // The exchange iterates on, to see whether the body ends at its declared length.
      if (!this.bodyless) this.#withinLength(chunk)
      return
    }
    if (this.responded) {
      if (chunk.length === 0) return
      const part = this.#withinLength(chunk)
      const end = this.sent === this.#declared
      this.#afterSend(this.#sink.data(part, end), end)
      return
    }
    const { code, status, headers, length } = this.#checked()
    this.responded = true
    if (this.#isBodyless(code)) {
      this.#sendBodyless(code, status, headers)
      return
    }
    if (length !== -1) this.#declared = length
    const part = this.#withinLength(chunk)
    const end = this.sent === this.#declared
    this.#afterSend(this.#sink.head(status, headers, length, part.length === 0 ? undefined : part, end), end)
  }

  /**
   * Sends a whole array as one chunk with a Content-Length.
   *
   * @param trailers whether trailers follow; a body of known length has none
   * @returns false if nothing was done, and the array must be iterated instead
   */
  sendArray(chunks: readonly Uint8Array[], trailers: boolean): boolean {
    const head = this.#head
    if (this.responded || !head || head.code === 101 || chunks.length > CHUNKS_MAX) return false
    if (trailers && head.length === -1) return false
    let total = 0
    for (let at = 0; at < chunks.length; at++) {
      const chunk = chunks[at]
      if (!(chunk instanceof Uint8Array)) return false
      total += chunk.length
    }
    if (chunks.length > 1 && total > JOIN_MAX) return false
    if (head.length > total && !this.#isBodyless(head.code)) return false
    // An empty body for HEAD does not show the length for GET: many applications omit the body for HEAD.
    const unknown = total === 0 && this.#headOnly
    if (head.length === -1 && !isBodylessStatus(head.code) && !unknown) {
      head.headers.push(['Content-Length', String(total)])
      head.length = total
    }
    if (total === 0) this.end(undefined)
    else this.emit(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
    return true
  }

  /** Sends the head if it was not sent. Returns whether trailers can follow: they cannot if the length was declared. */
  open(): boolean {
    const { code, status, headers, length } = this.#checked()
    if (length !== -1 || this.#isBodyless(code)) return false
    if (!this.responded) {
      this.responded = true
      this.#afterSend(this.#sink.head(status, headers, -1, undefined, false), false)
    }
    return true
  }

  /**
   * Ends the response after the body has ended.
   *
   * @throws LocalProtocolError if the body is shorter than declared, or if there is no head
   */
  end(trailers: Headers | undefined): void {
    const { code, status, headers, length } = this.#checked()
    if (this.whole) return
    if (this.responded) {
      // If all declared bytes had been sent, the response would be complete.
      if (this.#declared !== Number.POSITIVE_INFINITY) throw tooShort(this.sent, this.#declared)
      this.whole = true
      this.#sink.end(trailers)
      return
    }
    const bodyless = this.#isBodyless(code)
    if (!bodyless && length > 0) throw tooShort(0, length)
    this.responded = true
    if (bodyless) this.#sendBodyless(code, status, headers)
    else {
      if (length === -1) headers.push(['Content-Length', '0'])
      this.#afterSend(this.#sink.head(status, headers, 0, undefined, true), true)
    }
  }

  /** Sends the head of a 101, and returns the protocol that it names. */
  switch(): string {
    const { status, headers } = this.#head!
    this.responded = true
    if (!headers.some(([name]) => name.toLowerCase() === 'connection')) headers.push(['Connection', 'Upgrade'])
    this.#sink.head(status, headers, -1, undefined, false)
    return headers.find(([name]) => name.toLowerCase() === 'upgrade')?.[1].toLowerCase() ?? ''
  }

  #checked(): CheckedHead {
    if (!this.#head) throw notStarted()
    if (this.#head.code === 101) {
      throw localError(
        'NO_UPGRADE',
        'the status is 101, but environ.gantry.upgrade() was not called; call it before the body ends',
      )
    }
    return this.#head
  }

  #sendBodyless(code: number, status: string, headers: Headers): void {
    this.bodyless = true
    this.#afterSend(this.#sink.head(status, fieldsWithoutBody(code, headers), 0, undefined, true), true)
  }

  #afterSend(room: boolean, end: boolean): void {
    if (end) this.whole = true
    this.full = !room && !end
  }

  /** The part of `chunk` that is within the declared length. */
  #withinLength(chunk: Uint8Array): Uint8Array {
    const left = this.#declared - this.sent
    if (chunk.length <= left) {
      this.sent += chunk.length
      return chunk
    }
    this.sent = this.#declared
    this.tooLong = true
    return chunk.subarray(0, left)
  }

  #isBodyless(code: number): boolean {
    return this.#headOnly || isBodylessStatus(code)
  }
}

/**
 * A 204 must not have a Content-Length (RFC 9110 §8.6), and a 205 has no body. For HEAD and in a 304 it is the length
 * that a GET would have.
 */
function fieldsWithoutBody(code: number, headers: Headers): Headers {
  if (code !== 204 && code !== 205) return headers
  return headers.filter(([name]) => name.toLowerCase() !== 'content-length')
}

export function notStarted(): LocalProtocolError {
  return localError('NOT_STARTED', 'the application returned its body without calling startResponse')
}

function tooShort(sent: number, declared: number): LocalProtocolError {
  return localError(
    'BODY_TOO_SHORT',
    `the body of the application ended after ${sent} bytes; its Content-Length is ${declared}`,
  )
}
