/**
 * Responses → text, sans-IO: status line, fields, chunk framing. Heads are latin1 strings, which sockets write as they are.
 *
 * What it is given was checked where the application handed it over (`response-head.ts`). It does not know when a
 * connection may be kept: `connection.ts` tells it.
 */

import type { Headers } from '../../contract/application.ts'
import { SERVER_SOFTWARE } from '../../contract/own-variables.ts'
import { REASONS } from '../../contract/reasons.ts'

/** How the end of a response's body is told (RFC 9112 §6.3). */
export type Framing = 'length' | 'chunked' | 'close'

export const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n'

/** The `Date` field as a line with its CRLF. */
export interface DateSource {
  readonly line: string
}

const SERVER = `Server: ${SERVER_SOFTWARE}\r\n`

/**
 * A final response's head.
 *
 * @param connection the value of `Connection`, or '' for none
 */
export function responseHead(
  status: string,
  headers: Headers,
  framing: Framing,
  connection: string,
  date: DateSource,
): string {
  let text = `HTTP/1.1 ${status}\r\n`
  let dated = false
  let named = false
  for (let at = 0; at < headers.length; at++) {
    const field = headers[at]!
    const name = field[0]
    text += `${name}: ${field[1]}\r\n`
    if (name.length === 4) dated ||= name.toLowerCase() === 'date'
    else if (name.length === 6) named ||= name.toLowerCase() === 'server'
  }
  if (!named) text += SERVER
  if (!dated) text += date.line
  if (framing === 'chunked') text += 'Transfer-Encoding: chunked\r\n'
  // A 205 has no content, but no exception of message framing says so (RFC 9112 §6.3): without a length clients wait for one.
  else if (status.startsWith('205')) text += 'Content-Length: 0\r\n'
  if (connection !== '') text += `Connection: ${connection}\r\n`
  return `${text}\r\n`
}

/** An informational response's head (RFC 9110 §15.2). */
export function informHead(status: string, headers: Headers): string {
  return `HTTP/1.1 ${status}\r\n${fieldLines(headers)}\r\n`
}

function fieldLines(headers: Headers): string {
  let text = ''
  for (const [name, value] of headers) text += `${name}: ${value}\r\n`
  return text
}

/** What comes before a chunk's data; CRLF comes after it. */
export function chunkHead(size: number): string {
  return `${size.toString(16)}\r\n`
}

export function lastChunk(trailers: Headers | undefined): string {
  return trailers && trailers.length > 0 ? `0\r\n${fieldLines(trailers)}\r\n` : '0\r\n\r\n'
}

/** The number of bytes in the body of an answer that `plainAnswer` made. */
export function bodyLength(answer: string): number {
  return answer.length - answer.indexOf('\r\n\r\n') - 4
}

/** A whole answer of the gateway's own, to a request that no application sees. */
export function plainAnswer(
  status: number,
  headers: Headers,
  bodyless: boolean,
  connection: string,
  date: DateSource,
): string {
  const title = REASONS[status] ?? 'Error'
  const body = `${status} ${title}\n`
  const fields: Headers = [
    ['Content-Type', 'text/plain'],
    ['Content-Length', String(body.length)],
    ['Cache-Control', 'no-store'],
    ...headers,
  ]
  const head = responseHead(`${status} ${title}`, fields, 'length', connection, date)
  return bodyless ? head : head + body
}
