/**
 * An access line in the combined log format: `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"` of Apache's mod_log_config, which
 * nginx calls `combined` too. It knows neither requests nor files.
 */

import type { AccessLine } from './access-line.ts'

/** nginx's status for a client that left before it was answered, which log analysers know; a line needs some status. */
const CLIENT_CLOSED_REQUEST = '499'

/**
 * @param wall when the request was over, ms since the epoch; as in Apache, the line tells when it came
 * @returns the line with its newline: printable ASCII alone, so that no client can forge another line or field
 */
export function combinedLine(line: AccessLine, wall: number): string {
  const { remote, user, method, url, protocol, status, bytes, ms = 0, referer, userAgent } = line
  const request = escaped(line.request ?? [method, url, protocol].filter((part) => part !== undefined).join(' '))
  return `${bare(remote)} - ${bare(user)} [${timeOf(wall - ms)}] "${request}" ${statusOf(status, line.aborted)} ${bytes === 0 ? '-' : bytes} "${quoted(referer)}" "${quoted(userAgent)}"\n`
}

function statusOf(status: number, aborted: string | undefined): string {
  if (status > 0) return String(status)
  return aborted === 'CLIENT_GONE' ? CLIENT_CLOSED_REQUEST : '-'
}

function quoted(value: string | undefined): string {
  return value === undefined || value === '' ? '-' : escaped(value)
}

/**
 * A field that no quotes enclose. A space would begin the next one: Apache writes it as it is, and a user named
 * `a [x] "GET / HTTP/1.1" 200` would have a line of his own making.
 */
function bare(value: string | undefined): string {
  if (value === undefined) return '-'
  // As Apache: a name that is there and empty is told from none.
  return value === '' ? '""' : escaped(value).replaceAll(' ', '\\x20')
}

const NAMED: Readonly<Record<string, string>> = {
  '\b': '\\b',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '"': '\\"',
  '\\': '\\\\',
}

/** `ap_escape_logitem` of Apache's server/util.c. */
function escaped(value: string): string {
  if (/^[ !#-[\]-~]*$/.test(value)) return value
  return value.replace(
    /[^ !#-[\]-~]/g,
    // Native strings have no code unit above U+00FF; one that is none must not pass for two characters.
    (character) => NAMED[character] ?? `\\x${(character.charCodeAt(0) & 0xff).toString(16).padStart(2, '0')}`,
  )
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const two = (value: number): string => String(value).padStart(2, '0')

/** The last second's text: many requests share one. */
let second = Number.NaN
let text = ''

/** `%t`: local time and its offset, `10/Oct/2000:13:55:36 -0700`. */
function timeOf(wall: number): string {
  const now = Math.floor(wall / 1000)
  if (now !== second) {
    second = now
    const date = new Date(now * 1000)
    const offset = -date.getTimezoneOffset()
    const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}${two(Math.abs(offset) % 60)}`
    const day = `${two(date.getDate())}/${MONTHS[date.getMonth()]}/${date.getFullYear()}`
    text = `${day}:${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())} ${zone}`
  }
  return text
}
