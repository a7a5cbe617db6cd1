/** Formats log lines for people: a short line for each request, and pino-pretty's format for all others. */

import { styleText } from 'node:util'
import { prettyFactory } from 'pino-pretty'
import type { AccessLine } from '../middleware/access-log/access-line.ts'
import { printable, printableStack } from '../protocol/log/printable.ts'
import { DEV_PREFIX } from './paths.ts'

/** Whether to use colours on a stream: it is a terminal, or NO_COLOR or FORCE_COLOR decide. */
export function usesColor(stream: NodeJS.WriteStream): boolean {
  return styleText('red', '.', { stream }) !== '.'
}

export function prettyLog(color: boolean = usesColor(process.stdout)): (line: string) => string {
  const pretty = prettyFactory({
    colorize: color,
    translateTime: 'SYS:HH:MM:ss',
    ignore: 'pid,hostname,name,source',
    singleLine: true,
  })
  return (line) => {
    const fields = parse(line)
    if (!fields) return line
    if (fields.msg === 'request' && typeof fields.method === 'string' && typeof fields.url === 'string') {
      return fields.url.startsWith(DEV_PREFIX) ? '' : requestLine(fields as RequestLine, color)
    }
    const { err, ...rest } = fields
    const shown = JSON.stringify(typeof err?.stack === 'string' ? rest : fields, (_, value: unknown) =>
      typeof value === 'string' ? printable(value) : value,
    )
    const text = pretty(shown) ?? line
    return typeof err?.stack === 'string' ? `${text}${printableStack(err.stack).replace(/^/gm, '    ')}\n` : text
  }
}

type LogLine = Partial<RequestLine> & { msg?: string; err?: { stack?: string } }

function parse(line: string): LogLine | undefined {
  try {
    const fields = JSON.parse(line) as LogLine | null
    return typeof fields === 'object' && fields !== null ? fields : undefined
  } catch {
    return undefined
  }
}

type RequestLine = AccessLine & { time: number; method: string; url: string }

/** `14:03:59 GET /path 200 3 ms`; for a failed request also its id, to find the error in the log. */
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
    visibleTarget(url),
    paint(hue, aborted === undefined ? code : `${code} aborted (${aborted})`),
    ms === undefined ? '' : `${ms} ms`,
    paint('dim', `${bytes} bytes`),
  ]
  if (status >= 500) parts.push(paint('dim', requestId))
  return `${parts.filter((part) => part !== '').join(' ')}\n`
}

function plain(_format: unknown, text: string): string {
  return text
}

/** A request target without control characters, which could move a terminal's cursor. */
function visibleTarget(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (character) => encodeURIComponent(character))
}
