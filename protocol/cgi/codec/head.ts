/**
 * Reads and writes the response head of a CGI program (RFC 3875 §6), sans-IO. Strict if a mistake would change the
 * meaning of the message, else as lenient as Apache. A complete HTTP head ("non-parsed headers", §5) is refused: such a
 * program expects to own the connection.
 */

import type { Headers } from '../../contract/application.ts'
import { asBuffer } from '../../contract/as-buffer.ts'
import { peerError } from '../../contract/coded-errors.ts'
import type { RemoteProtocolError } from '../../contract/errors.ts'
import { isHopByHop } from '../../contract/hop-by-hop.ts'
import { statusFromWire } from '../../contract/response-head.ts'

/** Bytes, as for the head of an HTTP request; Apache accepts 100 fields of 8 KiB. */
const MAX_HEAD: number = 64 * 1024

export type CgiHead =
  /** §6.2.1, §6.2.3, §6.2.4: a response for the client. */
  | { readonly kind: 'response'; readonly status: string; readonly headers: Headers }
  /** §6.2.2: the response is that of this path and query on the same server. */
  | { readonly kind: 'local-redirect'; readonly target: string }

export class CgiHeadReader {
  readonly #limit: number
  #chunks: Uint8Array[] = []
  #size = 0
  /** The bytes after the head, once the head is complete. */
  rest: Uint8Array = new Uint8Array(0)

  /** @param limit longest head, bytes */
  constructor(limit: number = MAX_HEAD) {
    this.#limit = limit
  }

  /**
   * Adds output of the program.
   *
   * @returns the head, once it is complete; then `rest` is the start of the body
   * @throws RemoteProtocolError (502) `CGI_NPH` if the program writes an HTTP status line, `CGI_HEAD` if the head is
   *   invalid or too long
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

  /** The error if the output ends before the head is complete. */
  ended(): RemoteProtocolError {
    return bad(
      this.#size === 0
        ? 'the program ended without a response'
        : 'the program ended before its response head was complete; expected an empty line after the fields',
    )
  }
}

/** Index of the end of the fields, and of the body after the empty line; -1 if the empty line has not arrived. */
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
        // The body of the response would be read wrongly.
        throw bad(
          `the program wrote Transfer-Encoding: ${quoted(value)}; remove the field, since the server frames the response`,
        )
      default:
        // Connection, Keep-Alive: the program does not have the connection (§6.3.4: the server may remove them).
        if (isHopByHop(name)) continue
    }
    headers.push([name, value])
  }
  if (status === undefined && headers.length === 0)
    throw bad('the program wrote a response head without fields; expected Status or Content-Type')
  if (status === undefined && location !== undefined) {
    // A Location that is a path, without any other field, is a redirect inside the server. "//host" is another host.
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
 * Writes a response head as a CGI program does. The fields were checked when the application gave them. Lines end in
 * CRLF, as in wsgiref: all servers accept both.
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
