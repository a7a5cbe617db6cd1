/**
 * Resolves the client of a request: reads the forwarded fields of trusted peers, and sets `REMOTE_ADDR`, `REMOTE_PORT`,
 * `wsgi.url_scheme`, `REQUEST_SCHEME`, `HTTPS` and `HTTP_HOST`. No other file does so.
 */

import type { Environ } from '../contract/application.ts'
import { Context } from '../contract/context.ts'
import { headerName, headerSetter, setHeader, variableOf } from '../contract/request-headers.ts'
import { DEFAULT_FORWARDED_FIELDS, isForwardedField, isForwardedFieldName } from './forwarded-fields.ts'
import {
  elementsFromRight,
  type ForwardedElement,
  parseHost,
  parseNode,
  parseScheme,
  readElement,
} from './forwarded-values.ts'
import type { TrustedPeers } from './peers.ts'

/** The number of cached results: `TrustedPeers.has` takes about a microsecond, and is called for each request. */
const REMEMBERED = 1_000
/**
 * The longest chain of trusted proxies that is followed. No real chain is that long; a client inside a trusted range
 * could send 32,000 addresses in one head.
 */
export const HOPS_MAX = 32

/** Which peers are trusted to name a client, and in which forwarded fields. */
export class ForwardedRules {
  readonly #trustedPeers: Pick<TrustedPeers, 'has'>
  readonly #fields: ReadonlySet<string>
  readonly #known: Map<string, boolean> = new Map()

  /**
   * @param fields names in any case; default `X-Forwarded-For` and `X-Forwarded-Proto`
   * @throws TypeError if a name is not a forwarded field
   */
  constructor(trustedPeers: Pick<TrustedPeers, 'has'>, fields: readonly string[] = DEFAULT_FORWARDED_FIELDS) {
    const names = fields.map((name) => name.toLowerCase())
    const bad = names.findIndex((name) => !isForwardedFieldName(name))
    if (bad !== -1) throw new TypeError(notAForwardedField(fields[bad]!))
    this.#trustedPeers = trustedPeers
    this.#fields = new Set(names)
  }

  trusts(address: string): boolean {
    let trusted = this.#known.get(address)
    if (trusted === undefined) {
      trusted = this.#trustedPeers.has(address)
      if (this.#known.size >= REMEMBERED) this.#known.clear()
      this.#known.set(address, trusted)
    }
    return trusted
  }

  /** Whether a field is trusted. @param name in lower case */
  names(name: string): boolean {
    return this.#fields.has(name)
  }
}

/** The message about an invalid name in `--forwarded-fields` or `fields`. */
export function notAForwardedField(name: string): string {
  return `${JSON.stringify(name)} is not a forwarded field: expected X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Forwarded, X-Real-IP or another X-Forwarded-* name`
}

/**
 * Resolves the client of a request whose `REMOTE_ADDR` is the address of the peer, and removes every forwarded field
 * that is not trusted. A trusted field gets the resolved value; trusted fields that are not used to resolve the client
 * (`X-Forwarded-Prefix`) are not changed.
 *
 * @param environ is changed
 * @param rules undefined if no peer is trusted
 * @example
 * ```ts
 * import { type Application, ForwardedRules, resolveClient, TrustedPeers } from 'gantry/protocol'
 * import { call } from 'gantry/protocol'
 *
 * const rules = new ForwardedRules(new TrustedPeers(['loopback']))
 * const application: Application = (environ, startResponse) => {
 *   resolveClient(environ, rules)
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from(environ.REMOTE_ADDR)]
 * }
 * const response = await call(application, { headers: { 'X-Forwarded-For': '192.0.2.1' } })
 * console.log(response.text) // 192.0.2.1
 * ```
 */
export function resolveClient(environ: Environ, rules: ForwardedRules | undefined): void {
  const sent = forwardedNames(environ)
  if (sent.length === 0) return
  const trusted = new Map<string, string>()
  if (rules?.trusts(environ.REMOTE_ADDR)) {
    for (const name of sent) {
      const lower = name.toLowerCase()
      const value = environ[variableOf(name)]
      if (rules.names(lower) && typeof value === 'string') trusted.set(lower, value)
    }
  }
  removeOthers(environ, sent, trusted)
  if (trusted.size > 0) applyTrusted(environ, trusted, rules!)
}

/** The names of the request's forwarded fields, in the spelling received. */
function forwardedNames(environ: Environ): string[] {
  const names: string[] = []
  if (environ.gantry instanceof Context) {
    const { lines } = environ.gantry
    for (let at = 0; at < lines.length; at += 2) if (isForwardedField(lines[at]!)) names.push(lines[at]!)
    return names
  }
  for (const key in environ) {
    if (key.startsWith('HTTP_') && isForwardedField(key.slice('HTTP_'.length))) names.push(headerName(key))
  }
  return names
}

/**
 * Removes the fields that are not trusted. Trusted fields are not touched: after a key was deleted and set again, V8
 * keeps the environ as a slow hash table.
 */
function removeOthers(environ: Environ, sent: readonly string[], trusted: ReadonlyMap<string, string>): void {
  const others = sent.filter((name) => !trusted.has(name.toLowerCase()))
  if (others.length === 0) return
  for (const name of others) delete environ[variableOf(name)]
  if (environ.gantry instanceof Context) {
    environ.gantry.removeLines((name) => isForwardedField(name) && !trusted.has(name.toLowerCase()))
  }
}

function applyTrusted(environ: Environ, trusted: ReadonlyMap<string, string>, rules: ForwardedRules): void {
  const list = trusted.get('x-forwarded-for')
  const walk = list === undefined ? undefined : clientInList(list.split(',').reverse(), parseNode, rules)
  const forwarded = trusted.get('forwarded')
  const elements = forwarded === undefined ? undefined : clientInList(elementsFromRight(forwarded), readElement, rules)
  // X-Forwarded-* has precedence: most proxies set it, and many pass a client's `Forwarded` on.
  const depth = walk?.client ? walk.depth : 0
  const client = walk?.client ?? elements?.client ?? parseNode(trusted.get('x-real-ip') ?? '')
  if (client) {
    environ.REMOTE_ADDR = client.address
    environ.REMOTE_PORT = client.port
  }
  const scheme = parseScheme(atDepth(trusted.get('x-forwarded-proto'), depth)) ?? elements?.client?.scheme
  if (scheme) setScheme(environ, scheme)
  const host = parseHost(atDepth(trusted.get('x-forwarded-host'), depth)) ?? elements?.client?.host
  if (host !== undefined) setHeader(environ, 'Host', host)
  rewrite(environ, trusted, { client, scheme, host })
}

/** The resolved values; undefined if the trusted fields do not have them. */
interface Resolved {
  readonly client: ForwardedElement | undefined
  readonly scheme: 'http' | 'https' | undefined
  readonly host: string | undefined
}

const SETTERS: Readonly<Record<string, (environ: Environ, value: string | undefined) => void>> = {
  'x-forwarded-for': headerSetter('X-Forwarded-For'),
  'x-forwarded-proto': headerSetter('X-Forwarded-Proto'),
  'x-forwarded-host': headerSetter('X-Forwarded-Host'),
  'x-real-ip': headerSetter('X-Real-IP'),
  forwarded: headerSetter('Forwarded'),
}

/** Sets the trusted fields to the resolved values, so that an application never reads parts that are not trusted. */
function rewrite(environ: Environ, trusted: ReadonlyMap<string, string>, resolved: Resolved): void {
  for (const [name, value] of trusted) {
    const set = SETTERS[name]
    if (!set) continue
    const now = resolvedField(name, resolved, environ['wsgi.url_scheme'])
    if (now !== value) set(environ, now)
  }
}

/** The resolved value of a trusted field; undefined removes the field. */
function resolvedField(name: string, { client, scheme, host }: Resolved, urlScheme: string): string | undefined {
  switch (name) {
    case 'x-forwarded-proto':
      return scheme
    case 'x-forwarded-host':
      return host
    case 'forwarded':
      return client && forwardedElement(client.address, host, urlScheme)
    default:
      return client?.address
  }
}

function setScheme(environ: Environ, scheme: 'http' | 'https'): void {
  environ.REQUEST_SCHEME = scheme
  environ['wsgi.url_scheme'] = scheme
  if (scheme === 'https') environ.HTTPS = 'on'
  else delete environ.HTTPS
}

/**
 * Finds the client in a list of nodes. Each proxy appends the address of its peer at the right end, so the client is
 * the first address from the right that is not trusted. An entry that is not an address ends the search, since it is
 * not known which proxy wrote the entries left of it.
 *
 * @returns `depth`: the number of entries to the right of the client's
 */
function clientInList<Entry extends ForwardedElement>(
  fromRight: Iterable<string>,
  parse: (text: string) => Entry | undefined,
  rules: ForwardedRules,
): { client: Entry | undefined; depth: number } {
  let client: Entry | undefined
  let depth = -1
  for (const text of fromRight) {
    // RFC 9110 §5.6.1.2: empty elements of a list do not count.
    if (isBlank(text)) continue
    const entry = parse(text)
    if (!entry) break
    client = entry
    if (++depth === HOPS_MAX || !rules.trusts(entry.address)) break
  }
  return { client, depth: Math.max(depth, 0) }
}

/**
 * The entry of a list that the client's own proxy wrote: the only entry if the next proxies passed the field on, or the
 * entry at the client's depth if each proxy appended an entry.
 */
function atDepth(list: string | undefined, depth: number): string | undefined {
  if (list === undefined) return undefined
  const entries = list.split(',').filter((entry) => !isBlank(entry))
  return entries.at(-1 - Math.min(depth, entries.length - 1))
}

function isBlank(text: string): boolean {
  return !/[^\t ]/.test(text)
}

/** Writes an element of `Forwarded` (RFC 7239 §4). */
export function forwardedElement(address: string | undefined, host: string | undefined, scheme: string): string {
  const node = address === undefined ? 'unknown' : address.includes(':') ? `"[${address}]"` : address
  return host === undefined ? `for=${node};proto=${scheme}` : `for=${node};host=${quoted(host)};proto=${scheme}`
}

/** Quotes a value unless it is a token (RFC 9110 §5.6). */
function quoted(value: string): string {
  if (/^[\w!#$%&'*+.^`|~-]+$/.test(value)) return value
  return /["\\]/.test(value) ? `"${value.replace(/["\\]/g, '\\$&')}"` : `"${value}"`
}
