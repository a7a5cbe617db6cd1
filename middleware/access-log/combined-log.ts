/**
 * Formats an access line in the combined log format of Apache and nginx: `%h %l %u %t "%r" %>s %b "%{Referer}i"
 * "%{User-agent}i"` (mod_log_config).
 */

import type { AccessLine } from './access-line.ts'

/**
 * nginx's status for a client that disconnected before the response. A line needs a status, and log analysers know this
 * one.
 */
const CLIENT_CLOSED_REQUEST = '499'

/**
 * Returns the line with its newline, in printable ASCII only: no client can forge another line or field.
 *
 * @param wall end of the request, ms since the epoch; the line contains the start, as in Apache
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
 * Escapes a field without quotes. Spaces too, unlike Apache: a user named `a [x] "GET / HTTP/1.1" 200` could otherwise
 * forge a line.
 */
function bare(value: string | undefined): string {
  if (value === undefined) return '-'
  // As in Apache: an empty name differs from no name.
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
    // Native strings have no code unit above U+00FF. In another string such a code unit must not look like two
    // characters.
    (character) => NAMED[character] ?? `\\x${(character.charCodeAt(0) & 0xff).toString(16).padStart(2, '0')}`,
  )
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const two = (value: number): string => String(value).padStart(2, '0')

/** The text of the last second, which many requests share. */
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
