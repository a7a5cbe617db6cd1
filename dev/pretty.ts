/** The log for a person: a short line for each request, pino-pretty's for all else. Knows no files and no streams, only lines. */

import { styleText } from 'node:util'
import { prettyFactory } from 'pino-pretty'
import type { AccessLine } from '../middleware/access-log.ts'
import { DEV_PREFIX } from './paths.ts'

/** Whether a stream takes colours: it is a terminal, unless NO_COLOR or FORCE_COLOR say otherwise. */
export function usesColor(stream: NodeJS.WriteStream): boolean {
  return styleText('red', '.', { stream }) !== '.'
}

export function prettyLog(color: boolean = usesColor(process.stdout)): (line: string) => string {
  const pretty = prettyFactory({
    colorize: color,
    translateTime: 'SYS:HH:MM:ss',
    ignore: 'pid,hostname,name',
    // Short: what else there is follows on lines of its own only for errors.
    singleLine: true,
  })
  return (line) => {
    const request = requestOf(line)
    if (!request) return pretty(line) ?? line
    return request.url.startsWith(DEV_PREFIX) ? '' : requestLine(request, color)
  }
}

type RequestLine = AccessLine & { time: number }

function requestOf(line: string): RequestLine | undefined {
  // Looked for in the text first: a log may be long, and most lines are requests only where there are many.
  if (!line.includes('"msg":"request"')) return undefined
  try {
    const fields = JSON.parse(line) as RequestLine
    return typeof fields.method === 'string' && typeof fields.url === 'string' ? fields : undefined
  } catch {
    return undefined
  }
}

/** `14:03:59 GET /path 200 3 ms`; the id, by which an error is found, where the request failed. */
function requestLine(
  { time, method, url, status, ms, bytes, aborted, requestId }: RequestLine,
  color: boolean,
): string {
  const clock = new Date(time).toTimeString().slice(0, 8)
  const paint = color
    ? (format: Parameters<typeof styleText>[0], text: string) => styleText(format, text, { validateStream: false })
    : plain
  const code = status === 0 ? 'no response' : String(status)
  const hue = aborted !== undefined || status >= 500 || status === 0 ? 'red' : status >= 400 ? 'yellow' : 'green'
  const parts = [
    paint('dim', clock),
    method,
    printable(url),
    paint(hue, aborted === undefined ? code : `${code} cut (${aborted})`),
    `${ms} ms`,
    paint('dim', `${bytes} bytes`),
  ]
  if (status >= 500) parts.push(paint('dim', requestId))
  return `${parts.join(' ')}\n`
}

function plain(_format: unknown, text: string): string {
  return text
}

/** A target holds no control characters below 0x80; those above would still move a terminal's cursor. */
function printable(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (character) => encodeURIComponent(character))
}
