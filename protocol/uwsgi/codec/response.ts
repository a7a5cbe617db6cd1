/**
 * Reads a response of a uwsgi server, sans-IO (SCGI and FastCGI's STDOUT have the same form): an HTTP status line or a
 * `Status:` field, fields, an empty line, then the body, up to its Content-Length or to the end of the connection. A
 * chunked coding is refused: nginx does not decode it here, and no client is known to.
 */

import type { Headers } from '../../contract/application.ts'
import { isBodyless } from '../../contract/bodyless.ts'
import { peerError } from '../../contract/coded-errors.ts'
import { statusFromWire } from '../../contract/response-head.ts'

/** A head is kept in memory until it is complete. The buffers of nginx and Apache for it are smaller. */
const MAX_HEAD_BYTES: number = 64 * 1024

export type ResponseEvent =
  /** A 1xx response: more heads follow. */
  | { type: 'inform'; status: string; headers: Headers }
  /** The final head. `length`: bytes of the body, -1 if it ends with the connection. */
  | { type: 'head'; status: string; headers: Headers; length: number }
  | { type: 'data'; chunk: Buffer }
  | { type: 'end' }

type State = 'head' | 'body' | 'done'

export class ResponseReader {
  readonly #method: string
  readonly #maxHead: number
  #state: State = 'head'
  #partial: Buffer = Buffer.alloc(0)
  /** Bytes of the body that have not arrived, -1 if it ends with the connection. */
  #left = -1

  /** @param method of the request: a response to HEAD has no body, whatever its fields say */
  constructor(method: string, maxHead: number = MAX_HEAD_BYTES) {
    this.#method = method
    this.#maxHead = maxHead
  }

  /**
   * Adds bytes that have arrived, and returns events. Bytes after the end of the body are dropped.
   *
   * @throws RemoteProtocolError `RESPONSE_HEAD` if the head is invalid or too long, `RESPONSE_FRAMING` if it has a
   *   transfer coding or an invalid Content-Length
   */
  receive(bytes: Buffer): ResponseEvent[] {
    const events: ResponseEvent[] = []
    while (this.#state === 'head') {
      if (this.#partial.length > 0) bytes = Buffer.concat([this.#partial, bytes])
      const end = headEnd(bytes)
      if (end === -1 || end > this.#maxHead) {
        if (bytes.length > this.#maxHead) {
          throw peerError('RESPONSE_HEAD', `the response head is longer than ${this.#maxHead} bytes`)
        }
        this.#partial = bytes
        return events
      }
      this.#partial = Buffer.alloc(0)
      this.#head(bytes.toString('latin1', 0, end), events)
      bytes = bytes.subarray(end)
    }
    if (this.#state === 'body' && bytes.length > 0) {
      const chunk = this.#left >= 0 && bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes
      if (this.#left > 0) this.#left -= chunk.length
      events.push({ type: 'data', chunk })
      if (this.#left === 0) this.#finish(events)
    }
    return events
  }

  /**
   * To be called when the server has ended the connection.
   *
   * @throws RemoteProtocolError `RESPONSE_TRUNCATED` if the response is incomplete
   */
  end(): ResponseEvent[] {
    const events: ResponseEvent[] = []
    if (this.#state === 'done') return events
    if (this.#state === 'head') {
      throw peerError('RESPONSE_TRUNCATED', 'the connection ended before the response head was complete')
    }
    if (this.#left > 0) {
      throw peerError(
        'RESPONSE_TRUNCATED',
        `the connection ended ${this.#left} bytes before the response's Content-Length`,
      )
    }
    this.#finish(events)
    return events
  }

  #head(text: string, events: ResponseEvent[]): void {
    const { status, headers } = parseHead(text)
    const code = Number(status.slice(0, 3))
    if (code < 200 && code !== 101) {
      events.push({ type: 'inform', status, headers })
      return
    }
    const bodyless = isBodyless(this.#method, code)
    this.#left = bodyless ? 0 : bodyLength(headers)
    this.#state = 'body'
    events.push({ type: 'head', status, headers, length: this.#left })
    if (this.#left === 0) this.#finish(events)
  }

  #finish(events: ResponseEvent[]): void {
    this.#state = 'done'
    events.push({ type: 'end' })
  }
}

/** Index after the empty line of the head; -1 if it has not arrived. Lines end in CRLF or LF (RFC 3875 §6.2: NL). */
function headEnd(bytes: Buffer): number {
  for (let at = bytes.indexOf(0x0a); at !== -1; at = bytes.indexOf(0x0a, at + 1)) {
    if (bytes[at + 1] === 0x0a) return at + 2
    if (bytes[at + 1] === 0x0d && bytes[at + 2] === 0x0a) return at + 3
  }
  return -1
}

function parseHead(text: string): { status: string; headers: Headers } {
  const lines = text.split(/\r?\n/)
  // The last two elements are empty: after the last field, and after the empty line.
  lines.length -= 2
  const headers: Headers = []
  const line = /^HTTP\/1\.[01] ([0-9]{3}(?: .*)?)$/.exec(lines[0] ?? '')
  let status = line?.[1]
  for (const field of line ? lines.slice(1) : lines) {
    const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n]*?)[ \t]*$/.exec(field)
    if (!match) throw peerError('RESPONSE_HEAD', `invalid header field in the response: ${JSON.stringify(field)}`)
    const [, name, value] = match as unknown as [string, string, string]
    if (!line && name.toLowerCase() === 'status') status = value
    else headers.push([name, value])
  }
  if (status === undefined) {
    // RFC 3875 §6.2.3 and §6.2.1, as in nginx: without a Status, a response with a Location is a 302, any other a 200.
    if (headers.length === 0) throw peerError('RESPONSE_HEAD', 'the response has neither a status nor header fields')
    status = headers.some(([name]) => name.toLowerCase() === 'location') ? '302 Found' : '200 OK'
  }
  if (!/^[1-5][0-9]{2}(?: [^\0-\x08\x0a-\x1f\x7f]*)?$/.test(status)) {
    throw peerError('RESPONSE_HEAD', `invalid status of the response: ${JSON.stringify(status)}; expected 100 to 599`)
  }
  return { status: statusFromWire(status), headers }
}

function bodyLength(headers: Headers): number {
  let length = -1
  for (const [name, value] of headers) {
    switch (name.toLowerCase()) {
      case 'transfer-encoding':
        throw peerError(
          'RESPONSE_FRAMING',
          `the response has the transfer coding ${JSON.stringify(value)}; uwsgi has none`,
        )
      case 'content-length': {
        const given = /^[0-9]{1,16}$/.test(value) ? Number(value) : Number.NaN
        if (!Number.isSafeInteger(given) || (length !== -1 && length !== given)) {
          throw peerError(
            'RESPONSE_FRAMING',
            `the Content-Length of the response is not a number of bytes: ${JSON.stringify(value)}`,
          )
        }
        length = given
      }
    }
  }
  return length
}
