/**
 * Evaluates the conditions of a request (RFC 9110 §13): If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since
 * and If-Range. The only place that does so. Pure: it sends no answer.
 */

import type { Environ } from '../../protocol/contract/application.ts'

/** The validators of a representation that exists. */
export interface Validators {
  /** With its quotes, and `W/` if it is weak. */
  readonly etag?: string | undefined
  /** Milliseconds since the epoch. Fractions of a second are ignored. */
  readonly lastModified?: number | undefined
}

/** `proceed`: answer as if there were no condition; `unchanged`: 304; `failed`: 412. */
type Verdict = 'proceed' | 'unchanged' | 'failed'

/** Evaluates the conditions in the order of RFC 9110 §13.2.2. Malformed fields are ignored. */
export function precondition(environ: Environ, validators: Validators): Verdict {
  const reads = environ.REQUEST_METHOD === 'GET' || environ.REQUEST_METHOD === 'HEAD'
  const match = environ['HTTP_IF_MATCH'] as string | undefined
  if (match !== undefined) {
    if (!matches(match, validators.etag, strongEqual)) return 'failed'
  } else {
    const since = parseHttpDate(environ['HTTP_IF_UNMODIFIED_SINCE'] as string | undefined)
    if (
      since !== undefined &&
      validators.lastModified !== undefined &&
      seconds(validators.lastModified) > seconds(since)
    )
      return 'failed'
  }
  const noneMatch = environ['HTTP_IF_NONE_MATCH'] as string | undefined
  if (noneMatch !== undefined) {
    if (matches(noneMatch, validators.etag, weakEqual)) return reads ? 'unchanged' : 'failed'
  } else if (reads) {
    const since = parseHttpDate(environ['HTTP_IF_MODIFIED_SINCE'] as string | undefined)
    if (
      since !== undefined &&
      validators.lastModified !== undefined &&
      seconds(validators.lastModified) <= seconds(since)
    )
      return 'unchanged'
  }
  return 'proceed'
}

/**
 * Whether a Range field applies: only for GET, and with If-Range only if the client's part belongs to this
 * representation (RFC 9110 §13.1.5): by strong comparison, and by a date only if the date is certain to be strong.
 *
 * @param now wall clock, ms
 */
export function rangeHolds(environ: Environ, { etag, lastModified }: Validators, now: number): boolean {
  if (environ.REQUEST_METHOD !== 'GET' || environ['HTTP_RANGE'] === undefined) return false
  const condition = environ['HTTP_IF_RANGE'] as string | undefined
  if (condition === undefined) return true
  const value = condition.trim()
  if (value.startsWith('"') || value.startsWith('W/')) return etag !== undefined && strongEqual(value, etag)
  const date = parseHttpDate(value)
  if (date === undefined || lastModified === undefined) return false
  // The representation could have changed twice within that second, unless the second is over (§8.8.2.2).
  return seconds(date) === seconds(lastModified) && now - seconds(lastModified) * 1000 >= 2000
}

/** Strong comparison (RFC 9110 §8.8.3.2). */
function strongEqual(a: string, b: string): boolean {
  return a === b && !a.startsWith('W/')
}

/** Weak comparison (RFC 9110 §8.8.3.2). */
export function weakEqual(a: string, b: string): boolean {
  return opaque(a) === opaque(b)
}

function opaque(tag: string): string {
  return tag.startsWith('W/') ? tag.slice(2) : tag
}

/** Whether one of the field's tags is `etag`, or the field is `*` and the representation exists. */
function matches(field: string, etag: string | undefined, equal: (a: string, b: string) => boolean): boolean {
  if (field.trim() === '*') return true
  if (etag === undefined) return false
  // A tag may contain commas (§8.8.3). Old clients omit the quotes: such tags are compared as they are.
  for (const [tag] of field.matchAll(/(?:W\/)?"[^"]*"|[^\s,"]+/g)) if (equal(tag, etag)) return true
  return false
}

const seconds = (milliseconds: number): number => Math.floor(milliseconds / 1000)

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']

const IMF = /^(?:mon|tue|wed|thu|fri|sat|sun), (\d{2}) ([a-z]{3}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) gmt$/i
const RFC850 = /^[a-z]{6,9}, (\d{2})-([a-z]{3})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) gmt$/i
const ASCTIME = /^[a-z]{3} ([a-z]{3}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/i

/**
 * Parses the three date forms of RFC 9110 §5.6.7, to ms since the epoch; undefined for anything else (Date.parse
 * accepts many other forms).
 */
export function parseHttpDate(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = text.trim()
  const imf = IMF.exec(value)
  if (imf) return utc(imf[3]!, imf[2]!, imf[1]!, imf[4]!, imf[5]!, imf[6]!)
  const old = RFC850.exec(value)
  // A two-digit year that looks more than 50 years ahead is in the past; no file has a date before 1970.
  if (old)
    return utc(
      String(Number(old[3]) + (Number(old[3]) < 70 ? 2000 : 1900)),
      old[2]!,
      old[1]!,
      old[4]!,
      old[5]!,
      old[6]!,
    )
  const asctime = ASCTIME.exec(value)
  if (asctime) return utc(asctime[6]!, asctime[1]!, asctime[2]!, asctime[3]!, asctime[4]!, asctime[5]!)
  return undefined
}

function utc(
  year: string,
  month: string,
  day: string,
  hour: string,
  minute: string,
  second: string,
): number | undefined {
  const at = MONTHS.indexOf(month.toLowerCase())
  if (
    at === -1 ||
    Number(day) < 1 ||
    Number(day) > 31 ||
    Number(hour) > 23 ||
    Number(minute) > 59 ||
    Number(second) > 60
  )
    return undefined
  return Date.UTC(Number(year), at, Number(day), Number(hour), Number(minute), Number(second))
}

/** A time in the format of HTTP. @param milliseconds since the epoch */
export function httpDate(milliseconds: number): string {
  return new Date(milliseconds).toUTCString()
}

/** Fields of a 200 that its 304 does not repeat (RFC 9110 §15.4.5), because they describe the content. */
const OF_CONTENT: ReadonlySet<string> = new Set([
  'content-encoding',
  'content-language',
  'content-length',
  'content-range',
  'content-type',
  'accept-ranges',
])

/** The fields of a 304 instead of a 200: without those that describe the content. */
export function unchangedHeaders(headers: readonly [string, string][]): [string, string][] {
  return headers.filter(([name]) => !OF_CONTENT.has(name.toLowerCase()))
}
