/**
 * A CGI program's response head, read and written (RFC 3875 §6), sans-IO.
 *
 * Reading is strict where a mistake would change a message's meaning, and as lenient as Apache where it would not: lines may end in LF
 * or CRLF, a field may come without any of the three that CGI defines. A head that is an HTTP message of its own ("non-parsed
 * headers", §5) is refused: its program believes that it owns the connection. It does not know what becomes of a redirect.
 */

import type { Headers } from '../../contract/application.ts'
import { peerError } from '../../contract/coded-errors.ts'
import type { RemoteProtocolError } from '../../contract/errors.ts'
import { isHopByHop } from '../../contract/hop-by-hop.ts'
import { statusFromWire } from '../../contract/response-head.ts'

/** Bytes. As the HTTP gateway's own limit for a head; Apache takes fields of 8 KiB, 100 of them. */
const MAX_HEAD: number = 64 * 1024

export type CgiHead =
  /** §6.2.1, §6.2.3, §6.2.4: an answer for the client. */
  | { readonly kind: 'response'; readonly status: string; readonly headers: Headers }
  /** §6.2.2: what is at this path and query of the same server is to be the answer. */
  | { readonly kind: 'local-redirect'; readonly target: string }

export class CgiHeadReader {
  readonly #limit: number
  #chunks: Uint8Array[] = []
  #size = 0
  /** What came after the head, once that is whole. */
  rest: Uint8Array = new Uint8Array(0)

  /** @param limit bytes that a head may have */
  constructor(limit: number = MAX_HEAD) {
    this.#limit = limit
  }

  /**
   * Takes what the program wrote.
   *
   * @returns the head once it is whole; then `rest` is the beginning of the body
   * @throws RemoteProtocolError (502): `CGI_NPH`, `CGI_HEAD` for what is no head or too long
   */
  receive(chunk: Uint8Array): CgiHead | undefined {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    const bytes = this.#chunks.length === 1 ? asBuffer(chunk) : Buffer.concat(this.#chunks)
    this.#chunks = [bytes]
    if (bytes.length >= 5 && bytes.toString('latin1', 0, 5) === 'HTTP/') {
      throw peerError(
        'CGI_NPH',
        'the program wrote an HTTP status line (non-parsed headers); expected CGI fields, for example "Status: 200 OK"',
      )
    }
    const [head, body] = headEnd(bytes)
    if (head === -1 ? this.#size > this.#limit : body > this.#limit) {
      throw bad(`the program's response head is longer than ${this.#limit} bytes`)
    }
    if (head === -1) return undefined
    this.rest = bytes.subarray(body)
    this.#chunks = []
    return parse(bytes.toString('latin1', 0, head))
  }

  /** What is wrong with an output that has ended before its head did. */
  ended(): RemoteProtocolError {
    return bad(
      this.#size === 0
        ? 'the program ended without a response'
        : 'the program ended before its response head was complete; expected an empty line after the fields',
    )
  }
}

/** Where the fields end, and where the body begins after the empty line; -1 while there is none. */
function headEnd(bytes: Buffer): [head: number, body: number] {
  for (let line = 0; ; ) {
    const end = bytes.indexOf(0x0a, line)
    if (end === -1) return [-1, -1]
    if (end === line || (end === line + 1 && bytes[line] === 0x0d)) return [line, end + 1]
    line = end + 1
  }
}

const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t\x20-\x7e\x80-\xff]*?)[\t ]*$/
const STATUS = /^([2-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?$/

function parse(text: string): CgiHead {
  const headers: Headers = []
  let status: string | undefined
  let location: string | undefined
  let length: string | undefined
  for (const line of text.split(/\r?\n/)) {
    if (line === '') continue
    const [, name, value] = FIELD.exec(line) ?? []
    if (name === undefined || value === undefined)
      throw bad(`the program wrote an invalid header field: ${quoted(line)}`)
    switch (name.toLowerCase()) {
      case 'status':
        if (status !== undefined) throw bad('the program wrote Status twice')
        status = value
        continue
      case 'location':
        if (location !== undefined) throw bad('the program wrote Location twice')
        location = value
        break
      case 'content-length':
        if (!/^[0-9]{1,15}$/.test(value))
          throw bad(`the Content-Length of the program is not a number of bytes: ${quoted(value)}`)
        if (length === undefined) length = value
        else if (Number(length) !== Number(value))
          throw bad(`the program wrote two values of Content-Length: ${length} and ${value}`)
        else continue
        break
      case 'transfer-encoding':
        // Its body would be taken for what it is not.
        throw bad(
          `the program wrote Transfer-Encoding: ${quoted(value)}; remove the field, since the server frames the response`,
        )
      default:
        // Connection, Keep-Alive: about a connection that is not the program's (§6.3.4: the server may remove them).
        if (isHopByHop(name)) continue
    }
    headers.push([name, value])
  }
  if (status === undefined && headers.length === 0)
    throw bad('the program wrote a response head without fields; expected Status or Content-Type')
  if (status === undefined && location !== undefined) {
    // A path alone, and nothing else, is for the server itself. "//host" is a host's, not ours.
    if (headers.length === 1 && /^\/(?!\/)/.test(location)) return { kind: 'local-redirect', target: location }
    return { kind: 'response', status: '302 Found', headers }
  }
  return { kind: 'response', status: statusLine(status ?? '200 OK'), headers }
}

function statusLine(text: string): string {
  const [, code, reason] = STATUS.exec(text) ?? []
  if (code === undefined)
    throw bad(`the Status of the program is not a final status: ${quoted(text)}; expected 200 to 599`)
  return statusFromWire(`${code} ${reason ?? ''}`)
}

/**
 * A response head as a CGI program writes it. Its fields were checked where the application handed them over.
 *
 * Lines end in CRLF as wsgiref's do: every server takes both.
 */
export function cgiHead(status: string, headers: Headers): string {
  let text = `Status: ${status}\r\n`
  for (const [name, value] of headers) text += `${name}: ${value}\r\n`
  return `${text}\r\n`
}

function bad(message: string): RemoteProtocolError {
  return peerError('CGI_HEAD', message)
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}
