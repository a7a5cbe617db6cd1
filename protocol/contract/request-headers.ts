/**
 * Request headers in an environ: which field becomes which variable, how repeated ones are joined, which do not cross, and how
 * middleware sets one (docs/contract.md, *The environ*; RFC 3875 §4.1.18). No other file names an `HTTP_*` key by rule.
 *
 * Header lines travel beside the variables (`environ.gantry.rawHeaders`), in the order, case and repetition in which they were
 * received, and `HTTP_*` are derived from them.
 */

import { isForwardedField } from '../client/forwarded-fields.ts'
import type { Environ } from './application.ts'
import { Context } from './context.ts'
import { NEVER_FORWARDED } from './hop-by-hop.ts'

/** `''`: the header does not cross. Names are cached as they are spelled; a flood of new names is not kept. */
const cache: Map<string, string> = new Map()
const CACHE_MAX = 2048

export function variableOf(name: string): string {
  const cached = cache.get(name)
  if (cached !== undefined) return cached
  const variable = derive(name)
  // Copied: a name cut out of a head would keep the whole head in memory for as long as the cache lives.
  if (cache.size < CACHE_MAX && name.length <= 64) cache.set(Buffer.from(name, 'latin1').toString('latin1'), variable)
  return variable
}

function derive(name: string): string {
  const lower = name.toLowerCase()
  if (lower === 'content-type') return 'CONTENT_TYPE'
  if (lower === 'content-length') return 'CONTENT_LENGTH'
  // A name with `_` would shadow its dashed twin; HTTP_PROXY would steer HTTP clients of the application (httpoxy).
  if (lower.includes('_') || lower === 'proxy' || NEVER_FORWARDED.has(lower)) return ''
  return headerVariable(name)
}

/** The variable of a header: `HTTP_ACCEPT` of `Accept`; `CONTENT_TYPE` and `CONTENT_LENGTH` have no prefix. */
export function headerVariable(name: string): string {
  const upper = name.toUpperCase().replaceAll('-', '_')
  return upper === 'CONTENT_TYPE' || upper === 'CONTENT_LENGTH' ? upper : `HTTP_${upper}`
}

/** The header of an `HTTP_*` variable, where the name as sent is not known: `accept-language` of `HTTP_ACCEPT_LANGUAGE`. */
export function headerName(variable: string): string {
  return (variable.startsWith('HTTP_') ? variable.slice(5) : variable).toLowerCase().replaceAll('_', '-')
}

/** How repeated fields are put together (RFC 9110 §5.3; RFC 6265 §5.4 for Cookie). */
export function joined(variable: string, first: string, next: string): string {
  return variable === 'HTTP_COOKIE' ? `${first}; ${next}` : `${first}, ${next}`
}

/** Names that a `Connection` field declares hop-by-hop; what frames or routes a message cannot be struck out that way. */
function nominated(value: string, before: Set<string> | undefined): Set<string> | undefined {
  let names = before
  for (const part of value.split(',')) {
    const name = part.trim().toLowerCase()
    if (name === '' || name === 'close' || name === 'keep-alive' || name === 'upgrade') continue
    if (name === 'host' || name === 'content-length' || name === 'content-type') continue
    // A client must not be able to remove forwarded fields by way of a web server that passes its `Connection` on.
    if (isForwardedField(name)) continue
    names ??= new Set()
    names.add(name)
  }
  return names
}

/** Sets the variables of header lines, and gives the lines that crossed: the same list when all did. */
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

/** An upgrade reaches the application as `HTTP_UPGRADE` and `HTTP_CONNECTION`; else both are the connection's own. */
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
 * Sets or, with undefined, removes a request header, so that `HTTP_*` and `environ.gantry.rawHeaders` stay one truth.
 *
 * @throws TypeError for a name that is no token or holds `_`, or a value with control characters or beyond latin1
 */
export function setHeader(environ: Environ, name: string, value: string | undefined): void {
  put(environ, name, settable(name), value)
}

/**
 * `setHeader` for one name: for fields that every request gets.
 *
 * @throws TypeError as `setHeader`, for the name at once
 */
export function headerSetter(name: string): (environ: Environ, value: string | undefined) => void {
  const variable = settable(name)
  return (environ, value) => put(environ, name, variable, value)
}

function put(environ: Environ, name: string, variable: string, value: string | undefined): void {
  if (value !== undefined && !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
    throw new TypeError(`the value of ${name} holds control characters or is not latin1: ${JSON.stringify(value)}`)
  }
  const context = environ.gantry instanceof Context ? environ.gantry : undefined
  if (environ[variable] === undefined) {
    // No line says it either, so that there is none to look for: what most calls find.
    if (value === undefined) return
    context?.addLine(name, value)
  } else {
    context?.replaceLines(name, value)
  }
  if (value === undefined) delete environ[variable]
  else environ[variable] = value
}

/** The variables of names that were found good. Bounded: names may come from a request. */
const settableNames: Map<string, string> = new Map()

function settable(name: string): string {
  const known = settableNames.get(name)
  if (known !== undefined) return known
  if (!/^[A-Za-z0-9!#$%&'*+.^`|~-]+$/.test(name)) {
    throw new TypeError(`not a request header's name: ${JSON.stringify(name)} (a token without "_", RFC 9110 §5.1)`)
  }
  const variable = headerVariable(name)
  if (settableNames.size < CACHE_MAX) settableNames.set(name, variable)
  return variable
}
