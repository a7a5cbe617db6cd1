/**
 * What leaves of one response: when its head goes, how much of its body, and how it ends (docs/contract.md,
 * *What lint cannot see*).
 *
 * It stands between an exchange and a gateway's `ResponseSink`. It calls no application, waits for nothing and aborts nothing:
 * what it cannot send it throws, and `exchange.ts` decides what becomes of that.
 */

import type { Duplex } from 'node:stream'
import type { Headers } from './application.ts'
import type { ClientView } from './client-view.ts'
import { localError } from './coded-errors.ts'
import type { AbortError, LocalProtocolError } from './errors.ts'
import { type CheckedHead, checkHead } from './response-head.ts'

/**
 * A gateway's side of one response. Every call is synchronous. What it is given may be gathered until `flush` or the
 * end of the tick, no later.
 */
export interface ResponseSink {
  /** The request's client, where the gateway has its connection. */
  readonly client?: ClientView | undefined
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

/** An array of chunks up to this size leaves as one, bytes. Above it copying costs more than it saves. */
const JOIN_MAX = 64 * 1024
/** Arrays longer than this are iterated: adding them up would hold the loop. */
const CHUNKS_MAX = 1024

export class Response {
  /** Where its last declared byte is: Infinity when no length was declared. */
  #declared = Number.POSITIVE_INFINITY
  #head: CheckedHead | undefined
  readonly #sink: ResponseSink
  /** Answers a HEAD. */
  readonly #headOnly: boolean
  /** The sink has the final head. */
  responded = false
  /** The sink has all of it. */
  whole = false
  /** The sink has no room. */
  full = false
  /** There is no body, whatever the application gives. */
  bodyless = false
  /** The application gave more than it declared. */
  tooLong = false
  /** Body bytes given to the sink. */
  sent = 0

  constructor(sink: ResponseSink, headOnly: boolean) {
    this.#sink = sink
    this.#headOnly = headOnly
  }

  /** Whether there is a status to send. */
  get started(): boolean {
    return this.#head !== undefined
  }

  /** Status code, 0 before there is one. */
  get code(): number {
    return this.#head?.code ?? 0
  }

  /** The declared Content-Length. */
  get declared(): number {
    return this.#declared
  }

  /**
   * Sets the head, in place of one that has not left.
   *
   * @throws TypeError as `checkHead`
   */
  start(status: string, headers: Headers, mayUpgrade: boolean): void {
    this.#head = checkHead(status, headers, mayUpgrade)
  }

  /** Drops a head that has not left. */
  reset(): void {
    this.#head = undefined
  }

  /**
   * One chunk, with the head before it and no byte beyond what was declared. An empty one sends the head alone.
   *
   * @throws LocalProtocolError when there is no head, or it is a 101's
   */
  emit(chunk: Uint8Array): void {
    if (this.whole) {
      // It is asked on for more, to see whether it ends where it said.
      if (!this.bodyless) this.#within(chunk)
      return
    }
    if (this.responded) {
      if (chunk.length === 0) return
      const part = this.#within(chunk)
      const end = this.sent === this.#declared
      this.#given(this.#sink.data(part, end), end)
      return
    }
    const { code, status, headers, length } = this.#checked()
    this.responded = true
    if (this.#isBodyless(code)) {
      this.#sendBodyless(code, status, headers)
      return
    }
    if (length !== -1) this.#declared = length
    const part = this.#within(chunk)
    const end = this.sent === this.#declared
    this.#given(this.#sink.head(status, headers, length, part.length === 0 ? undefined : part, end), end)
  }

  /**
   * A body that is all there: as one chunk, and with a Content-Length. False, and nothing is done, when it is better iterated.
   *
   * @param trailers whether trailers will follow, which a body of known length has none of
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
    // Nothing for a HEAD says nothing of the GET's length: many applications leave its body out.
    const unknown = total === 0 && this.#headOnly
    if (head.length === -1 && !bodylessCode(head.code) && !unknown) {
      head.headers.push(['Content-Length', String(total)])
      head.length = total
    }
    if (total === 0) this.end(undefined)
    else this.emit(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
    return true
  }

  /** Sends the head where that is due, and says whether trailers can follow: they cannot where the length was declared. */
  open(): boolean {
    const { code, status, headers, length } = this.#checked()
    if (length !== -1 || this.#isBodyless(code)) return false
    if (!this.responded) {
      this.responded = true
      this.#given(this.#sink.head(status, headers, -1, undefined, false), false)
    }
    return true
  }

  /**
   * The body came to its end by itself.
   *
   * @throws LocalProtocolError when that is not where it said, or there is no head
   */
  end(trailers: Headers | undefined): void {
    const { code, status, headers, length } = this.#checked()
    if (this.whole) return
    if (this.responded) {
      // Had all come that was declared, the response would be whole.
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
      this.#given(this.#sink.head(status, headers, 0, undefined, true), true)
    }
  }

  /** Reads the protocol from the head of a 101; what follows the head is not HTTP. */
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
      throw localError('NO_UPGRADE', 'the application answered 101 without calling environ.gantry.upgrade()')
    }
    return this.#head
  }

  #sendBodyless(code: number, status: string, headers: Headers): void {
    this.bodyless = true
    this.#given(this.#sink.head(status, fieldsWithoutBody(code, headers), 0, undefined, true), true)
  }

  #given(room: boolean, end: boolean): void {
    if (end) this.whole = true
    this.full = !room && !end
  }

  /** As much of `chunk` as the declared length leaves room for. */
  #within(chunk: Uint8Array): Uint8Array {
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
    return this.#headOnly || bodylessCode(code)
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

export function notStarted(): LocalProtocolError {
  return localError('NOT_STARTED', 'the application returned its body without calling startResponse')
}

function tooShort(sent: number, declared: number): LocalProtocolError {
  return localError(
    'BODY_TOO_SHORT',
    `the body of the application ended after ${sent} bytes; its Content-Length is ${declared}`,
  )
}
