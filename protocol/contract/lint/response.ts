/** Checks the status, header fields and trailer fields of an application. Other files check when they are passed. */

import { isBodyless, isBodylessStatus } from '../bodyless.ts'
import { HOP_BY_HOP } from '../hop-by-hop.ts'
import { STATUS } from '../response-head.ts'
import { TOKEN } from '../token.ts'
import { control, wide } from './environ.ts'
import { type Fail, show } from './rules.ts'

/** RFC 9110 §6.5.1: fields for framing, routing, request modifiers, authentication, or the handling of content. */
const neverTrailers: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'authorization',
  'cache-control',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'cookie',
  'date',
  'expect',
  'host',
  'location',
  'max-forwards',
  'retry-after',
  'set-cookie',
  'trailer',
  'vary',
])

/**
 * Fields that a message has only once, since their value is not a list (RFC 9110 §5.3). Content-Length has its own
 * rule.
 */
const singletons: ReadonlySet<string> = new Set([
  'age',
  'content-location',
  'content-range',
  'content-type',
  'date',
  'etag',
  'last-modified',
  'location',
  'retry-after',
  'server',
])

/** The code of a status; 0 if the status is invalid. */
export function checkStatus(status: unknown, upgrade: boolean, fail: Fail): number {
  if (typeof status !== 'string' || !STATUS.test(status)) {
    fail('STATUS_FORM', `the status is ${show(status)}`)
    return 0
  }
  const code = Number(status.slice(0, 3))
  if (code < 200 && !(code === 101 && upgrade)) fail('STATUS_INFORMATIONAL', `the status is ${show(status)}`)
  return code
}

/** Checks each field. `code` is 0 for fields that are not a response head (the fields of a 103, trailers). */
function checkFields(headers: unknown, code: number, fail: Fail): void {
  if (!Array.isArray(headers)) {
    fail('HEADERS_ARRAY', `got ${show(headers)}`)
    return
  }
  // Not for…of with destructuring, which would accept a string of two characters as a pair.
  for (const pair of headers) {
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== 'string' || typeof pair[1] !== 'string') {
      fail('HEADERS_ARRAY', `an entry is ${Array.isArray(pair) ? pair.map(show).join(', ') : show(pair)}`)
      continue
    }
    const [name, value] = pair
    const lower = name.toLowerCase()
    if (!TOKEN.test(name) || lower === 'status' || /[-_]$/.test(name)) fail('HEADER_NAME', `a name is ${show(name)}`)
    if (control.test(value)) fail('HEADER_VALUE', `${name} is ${show(value)}`)
    else if (wide.test(value)) fail('HEADER_VALUE', `${name} is ${show(value)}, with characters above U+00FF`)
    if (HOP_BY_HOP.has(lower) && !(code === 101 && (lower === 'connection' || lower === 'upgrade'))) {
      fail('HEADER_HOP_BY_HOP', `${name}: ${value}`)
    }
  }
}

/** Checks the headers of a response. Returns its Content-Length; -1 if it has none. */
export function checkHeaders(headers: unknown, code: number, fail: Fail): number {
  checkFields(headers, code, fail)
  let length = -1
  let typed = false
  let seen: Set<string> | undefined
  if (!Array.isArray(headers)) return length
  for (const pair of headers) {
    if (!Array.isArray(pair)) continue
    const [name, value] = pair
    const lower = String(name).toLowerCase()
    if (lower === 'content-type') typed = true
    if (singletons.has(lower)) {
      seen ??= new Set()
      if (seen.has(lower)) fail('HEADER_REPEATED', `${name}: ${value}`)
      seen.add(lower)
    }
    if (lower !== 'content-length') continue
    if (length !== -1) fail('HEADER_CONTENT_LENGTH', 'it is set twice')
    if (!/^\d{1,15}$/.test(value)) fail('HEADER_CONTENT_LENGTH', `it is ${show(value)}`)
    else length = Number(value)
  }
  if (length !== -1 && (code === 101 || code === 204)) fail('CONTENT_LENGTH_PRESENT', `the status is ${code}`)
  const contentless = code === 101 || isBodylessStatus(code)
  if (typed && contentless) fail('CONTENT_TYPE_PRESENT', `the status is ${code}`)
  if (!typed && code >= 200 && !contentless) fail('CONTENT_TYPE_MISSING', `the status is ${code}`)
  return length
}

/** Whether the response has no content, so that its body may differ from its Content-Length. */
export function hasNoContent(method: string, code: number): boolean {
  return code === 101 || isBodyless(method, code)
}

export function checkEarlyHints(headers: unknown, fail: Fail): void {
  checkFields(headers, 0, fail)
  if (!Array.isArray(headers)) return
  for (const pair of headers) {
    if (Array.isArray(pair) && String(pair[0]).toLowerCase() === 'content-length') {
      fail('EARLY_HINTS_FIELD', `a name is ${show(pair[0])}`)
    }
  }
}

export function checkTrailers(trailers: unknown, fail: Fail): void {
  checkFields(trailers, 0, fail)
  if (!Array.isArray(trailers)) return
  for (const pair of trailers) {
    const name = Array.isArray(pair) ? pair[0] : ''
    if (neverTrailers.has(String(name).toLowerCase())) fail('TRAILERS_FIELD', `a name is ${show(name)}`)
  }
}
