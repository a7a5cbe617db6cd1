/**
 * A response that a listener writes to a request's socket as bytes: an informational one (as `writeEarlyHints()` of
 * Node's ServerResponse), or a complete one, as upgrade code does. It becomes early hints, a head for `startResponse`,
 * and a body. `raw-response.ts` parses the bytes.
 */

import type { Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import { endToEnd } from '../../protocol/contract/end-to-end.ts'
import { AbortError, HttpError } from '../../protocol/contract/errors.ts'
import type { BodyQueue } from './body-queue.ts'
import { RawResponse } from './codec/raw-response.ts'

type Callback = (error?: Error | null) => void

export class RawResponseWriter {
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  readonly #queue: BodyQueue
  readonly #response: RawResponse
  #code = 0
  #bytes = 0

  constructor(environ: Environ, startResponse: StartResponse, queue: BodyQueue) {
    this.#environ = environ
    this.#startResponse = startResponse
    this.#queue = queue
    this.#response = new RawResponse(environ.REQUEST_METHOD)
  }

  /** The status code of the final head; 0 before there is one. */
  get code(): number {
    return this.#code
  }

  /** Whether bytes of an incomplete head were written; only the listener can have written them. */
  get partial(): boolean {
    return this.#response.partial
  }

  /**
   * Accepts `chunk`, and calls back when there is room for more.
   *
   * @returns the bytes after the head of a 101, which belong to the new protocol; then `callback` is not called
   * @throws LocalProtocolError if the bytes are not a response; also rethrows errors of `startResponse`
   */
  write(chunk: Uint8Array, callback: Callback): Uint8Array[] | undefined {
    const { informed, head, body } = this.#response.feed(chunk)
    for (const { code, headers } of informed) this.#inform(code, headers)
    if (head) {
      this.#startResponse(head.status, endToEnd(head.headers, head.code === 101))
      this.#code = head.code
      if (head.code === 101) return body
    }
    // Tested before the queue gets the array: an exchange that waits for a chunk takes it out at once.
    const isEmpty = body.length === 0
    if (!isEmpty) {
      for (const part of body) this.#bytes += part.length
      this.#queue.offer(body, callback)
    }
    if (this.#response.done) this.#queue.end()
    if (isEmpty) callback()
    return undefined
  }

  /** The listener ended its side of the connection. Returns whether that completes the response. */
  end(): boolean {
    const whole = this.#response.end()
    if (whole) this.#queue.end()
    return whole
  }

  /**
   * The listener destroyed the socket. A client of Node's server would see the connection close, which completes a body
   * without a declared length. It truncates any other body, and with `error` every body that has begun.
   *
   * @param flushed whether `write` received everything that the listener wrote
   */
  destroyed(error: Error | null, flushed: boolean): void {
    const answered = error instanceof HttpError || error instanceof AbortError
    if (flushed && !answered && this.#response.untilEnd && (!error || this.#bytes === 0)) this.end()
  }

  #inform(code: number, headers: Headers): void {
    // The gateway sends 100 when the request is first read; clients no longer use 102 (RFC 4918 dropped it).
    if (code === 103) this.#environ.gantry.earlyHints(endToEnd(headers))
  }
}
