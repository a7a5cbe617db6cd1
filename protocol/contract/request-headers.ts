/**
 * Translates request headers to environ variables (docs/contract.md, *The environ*; RFC 3875 §4.1.18): names, repeated
 * fields, dropped fields. `HTTP_*` variables are derived from the header lines (`environ.gantry.rawHeaders`).
 */

import { isForwardedField } from '../client/forwarded-fields.ts'
import type { Environ } from './application.ts'
import { Context } from './context.ts'
import { NEVER_FORWARDED } from './hop-by-hop.ts'

/** Variables by the spelling of the header. The size is bounded, since names come from clients. */
const cache: Map<string, string> = new Map()
const CACHE_MAX = 2048

/** The variable of a request header that a client sent; `''` if the header is dropped. */
export function variableOf(name: string): string {
  const cached = cache.get(name)
  if (cached !== undefined) return cached
  const variable = derive(name)
  // Copied: a slice of the request head would keep the whole head in memory.
  if (cache.size < CACHE_MAX && name.length <= 64) cache.set(Buffer.from(name, 'latin1').toString('latin1'), variable)
  return variable
}

function derive(name: string): string {
  const lower = name.toLowerCase()
  if (lower === 'content-type') return 'CONTENT_TYPE'
  if (lower === 'content-length') return 'CONTENT_LENGTH'
  // A name with `_` has the same variable as the name with `-`. HTTP_PROXY would set the proxy of HTTP clients in the
  // application (httpoxy).
  if (lower.includes('_') || lower === 'proxy' || NEVER_FORWARDED.has(lower)) return ''
  return headerVariable(name)
}

/**
 * The variable of a request header. `CONTENT_TYPE` and `CONTENT_LENGTH` have no prefix (RFC 3875 §4.1.18).
 *
 * @param name in any case
 * @example
 * ```ts
 * import { headerVariable } from 'gantry/protocol'
 *
 * console.log(headerVariable('Accept-Language')) // HTTP_ACCEPT_LANGUAGE
 * console.log(headerVariable('content-type')) // CONTENT_TYPE
 * ```
 */
export function headerVariable(name: string): string {
  const upper = name.toUpperCase().replaceAll('-', '_')
  return upper === 'CONTENT_TYPE' || upper === 'CONTENT_LENGTH' ? upper : `HTTP_${upper}`
}

/**
 * The header of an `HTTP_*` variable, in lower case. Use it if the name as sent is not known.
 *
 * @example
 * ```ts
 * import { headerName } from 'gantry/protocol'
 *
 * console.log(headerName('HTTP_ACCEPT_LANGUAGE')) // accept-language
 * ```
 */
export function headerName(variable: string): string {
  return (variable.startsWith('HTTP_') ? variable.slice(5) : variable).toLowerCase().replaceAll('_', '-')
}

/** Joins the values of a repeated field (RFC 9110 §5.3; RFC 6265 §5.4 for Cookie). */
export function joined(variable: string, first: string, next: string): string {
  return variable === 'HTTP_COOKIE' ? `${first}; ${next}` : `${first}, ${next}`
}

/** The names that a `Connection` field declares hop-by-hop, without fields that frame or route the message. */
function nominated(value: string, before: Set<string> | undefined): Set<string> | undefined {
  let names = before
  for (const part of value.split(',')) {
    const name = part.trim().toLowerCase()
    if (name === '' || name === 'close' || name === 'keep-alive' || name === 'upgrade') continue
    if (name === 'host' || name === 'content-length' || name === 'content-type') continue
    // A web server may pass the client's `Connection` on. The client must not be able to remove forwarded fields.
    if (isForwardedField(name)) continue
    names ??= new Set()
    names.add(name)
  }
  return names
}

/** Sets the variables of header lines. Returns the lines that were kept: the same list if no line was dropped. */
export function applyHeaders(environ: Environ, headers: string[]): string[] {
  let kept: string[] | undefined
  let dropped: Set<string> | undefined
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at]!
    if (name.length === 10 && name.toLowerCase() === 'connection') {
      dropped = nominated(headers[at + 1]!, dropped)
    }
  }
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at]!
    const variable = variableOf(name)
    if (variable === '' || dropped?.has(name.toLowerCase())) {
      kept ??= headers.slice(0, at)
      continue
    }
    const value = headers[at + 1]!
    const before = environ[variable] as string | undefined
    environ[variable] = before === undefined ? value : joined(variable, before, value)
    if (kept) kept.push(name, value)
  }
  return kept ?? headers
}

/** Sets `HTTP_UPGRADE` and `HTTP_CONNECTION` of an upgrade request; other requests do not have them. */
export function applyUpgrade(environ: Environ, received: string[], lines: string[]): string[] {
  const own = lines === received ? lines.slice() : lines
  for (let at = 0; at < received.length; at += 2) {
    if (received[at]!.toLowerCase() !== 'upgrade') continue
    const before = environ['HTTP_UPGRADE'] as string | undefined
    environ['HTTP_UPGRADE'] = before === undefined ? received[at + 1]! : joined('', before, received[at + 1]!)
    own.push(received[at]!, received[at + 1]!)
  }
  environ['HTTP_CONNECTION'] = 'Upgrade'
  own.push('Connection', 'Upgrade')
  return own
}

/**
 * Sets or removes a request header, in `HTTP_*` and in `environ.gantry.rawHeaders`.
 *
 * @param value undefined removes the header
 * @throws TypeError if the name is not a token or contains `_`, or if the value has control characters or characters
 *   beyond latin1
 * @example
 * ```ts
 * import { type Middleware, setHeader } from 'gantry'
 *
 * export const preferJson: Middleware = (application) => (environ, startResponse) => {
 *   setHeader(environ, 'Accept', 'application/json')
 *   return application(environ, startResponse)
 * }
 * ```
 */
export function setHeader(environ: Environ, name: string, value: string | undefined): void {
  put(environ, name, settable(name), value)
}

/**
 * `setHeader` for one name, for a field that is set in every request.
 *
 * @throws TypeError if the name is invalid; the returned function throws if the value is invalid
 */
export function headerSetter(name: string): (environ: Environ, value: string | undefined) => void {
  const variable = settable(name)
  return (environ, value) => put(environ, name, variable, value)
}

function put(environ: Environ, name: string, variable: string, value: string | undefined): void {
  if (value !== undefined && !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
    throw new TypeError(
      `the value of ${name} is ${JSON.stringify(value)}: expected latin1 text without control characters`,
    )
  }
  const context = environ.gantry instanceof Context ? environ.gantry : undefined
  if (environ[variable] === undefined) {
    // There is no line for the variable either. This is the most frequent case.
    if (value === undefined) return
    context?.addLine(name, value)
  } else {
    context?.replaceLines(name, value)
  }
  if (value === undefined) delete environ[variable]
  else environ[variable] = value
}

/** The variables of valid names. The size is bounded, since names may come from a request. */
const settableNames: Map<string, string> = new Map()

function settable(name: string): string {
  const known = settableNames.get(name)
  if (known !== undefined) return known
  if (!/^[A-Za-z0-9!#$%&'*+.^`|~-]+$/.test(name)) {
    throw new TypeError(
      `the request header name is ${JSON.stringify(name)}: expected a token without "_" (RFC 9110, section 5.1)`,
    )
  }
  const variable = headerVariable(name)
  if (settableNames.size < CACHE_MAX) settableNames.set(name, variable)
  return variable
}
