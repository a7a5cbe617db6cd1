/**
 * Writes responses as latin1 text, sans-IO: status line, fields, chunk framing. `response-head.ts` has checked the
 * fields; `connection.ts` decides whether a connection is kept.
 */

import type { Headers } from '../../contract/application.ts'
import { SERVER_SOFTWARE } from '../../contract/cgi-variables.ts'
import { REASONS } from '../../contract/reasons.ts'

/** How the client finds the end of a response's body (RFC 9112 §6.3). `close`: the connection ends. */
export type Framing = 'length' | 'chunked' | 'close'

export const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n'

/** The `Date` field as a line with its CRLF. */
export interface DateSource {
  readonly line: string
}

const SERVER = `Server: ${SERVER_SOFTWARE}\r\n`

/**
 * Writes the head of a final response.
 *
 * @param connection the value of `Connection`; '' for no such field
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
  // A 205 has no content, but RFC 9112 §6.3 does not except it from message framing: without a length clients wait for
  // a body.
  else if (status.startsWith('205')) text += 'Content-Length: 0\r\n'
  if (connection !== '') text += `Connection: ${connection}\r\n`
  return `${text}\r\n`
}

/** Writes an informational response (RFC 9110 §15.2). */
export function informHead(status: string, headers: Headers): string {
  return `HTTP/1.1 ${status}\r\n${fieldLines(headers)}\r\n`
}

function fieldLines(headers: Headers): string {
  let text = ''
  for (const [name, value] of headers) text += `${name}: ${value}\r\n`
  return text
}

/** The line before the data of a chunk; CRLF follows the data. */
export function chunkHead(size: number): string {
  return `${size.toString(16)}\r\n`
}

export function lastChunk(trailers: Headers | undefined): string {
  return trailers && trailers.length > 0 ? `0\r\n${fieldLines(trailers)}\r\n` : '0\r\n\r\n'
}

/** Bytes in the body of a response that `plainAnswer` wrote. */
export function bodyLength(answer: string): number {
  return answer.length - answer.indexOf('\r\n\r\n') - 4
}

/**
 * Writes a complete response of the server itself, to a request that no application answers.
 *
 * @param bodyless whether the body is left out, as for HEAD
 */
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
