/**
 * Decides whether a response may be stored, how long it is fresh, which requests it may answer, and how a 304 updates
 * it (RFC 9111 §3, §4). Does not store or send responses.
 */

import CachePolicy from 'http-cache-semantics'
import type { Environ, Headers } from '../../protocol/contract/application.ts'
import { NEVER_FORWARDED } from '../../protocol/contract/hop-by-hop.ts'
import { headerVariable } from '../../protocol/contract/request-headers.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import { httpDate, parseHttpDate, weakEqual } from '../conditional/preconditions.ts'
import { headerOf, withoutHeaders } from '../shared/response-fields.ts'
import { type Directives, parseDirectives, secondsOf } from './directives.ts'
import type { CacheSettings } from './options.ts'

/** The fields of a request, copied before the application gets the environ, because the application may change it. */
export interface RequestSnapshot {
  /** The `HTTP_*` variables, CONTENT_TYPE and REMOTE_USER. */
  readonly variables: Readonly<Record<string, string>>
  /** Whether the request identifies its user (`Authorization`, `REMOTE_USER`). */
  readonly authenticated: boolean
  /** On the clock's `now()`. */
  readonly startedAt: number
}

/** The head of a response that may be stored, and the values that the cache derives from it. */
export interface StoredHead {
  readonly status: string
  readonly code: number
  /** The fields that are served, except `Age`. They include a Date. */
  readonly headers: Headers
  /** The variables that `Vary` names. `varyValues` has their values in the request, in the same order. */
  readonly vary: readonly string[]
  readonly varyValues: readonly (string | undefined)[]
  /** Freshness lifetime, seconds. */
  readonly lifetime: number
  /** Age at arrival, seconds. */
  readonly initialAge: number
  /** On the clock's `now()`. */
  readonly receivedAt: number
  /** Must not be served stale (`must-revalidate`, `proxy-revalidate`, `no-cache`). */
  readonly strict: boolean
  /** Has `s-maxage`: a client's `max-stale` is ignored (RFC 9111 §5.2.2.10). */
  readonly shared: boolean
  readonly staleWhileRevalidate: number
  readonly staleIfError: number
  /** May answer authenticated requests (RFC 9111 §3.5). */
  readonly forAuthenticated: boolean
  /** Was generated for an authenticated request: only such a request can revalidate it. */
  readonly fromAuthenticated: boolean
  readonly etag: string | undefined
  readonly lastModified: string | undefined
}

/**
 * Longest heuristic lifetime, seconds. A day: heuristics are guesses, and RFC 7234 recommended a warning beyond a day.
 */
const HEURISTIC_MAX = 86_400
/** Fields that are not stored: they belong to one message or one connection, or each response gets its own. */
const NOT_STORED: ReadonlySet<string> = new Set([
  ...NEVER_FORWARDED,
  'age',
  'proxy-authentication-info',
  'authentication-info',
  'set-cookie',
  'set-cookie2',
  // Identifies one request: the id of another request would mislead readers of logs.
  'x-request-id',
  'x-cache',
])
/** Fields that a 304 does not update: they describe the stored body (RFC 9111 §3.2). */
const DESCRIBES_BODY: ReadonlySet<string> = new Set([
  'content-length',
  'content-encoding',
  'content-type',
  'content-range',
  'etag',
])

/**
 * Storage decisions with the settings of one cache. Freshness and storability come from `http-cache-semantics`. The
 * library gets directives in one spelling, and no `Vary`, `Set-Cookie` or `proxy-revalidate`: it does not treat those
 * as a shared cache of variants must.
 */
export class StoragePolicy {
  readonly #settings: CacheSettings
  readonly #clock: Clock
  readonly #Policy: typeof CachePolicy

  constructor(settings: CacheSettings) {
    this.#settings = settings
    this.#clock = settings.clock
    const { clock } = settings
    this.#Policy = class extends CachePolicy {
      /** The library's hook for time. A method and not a field, because the library's constructor calls it. */
      now(): number {
        return clock.wall()
      }
    }
  }

  /**
   * Returns the head to store; undefined if the response must not or need not be stored.
   *
   * @param validated whether the application has just confirmed by a 304 that the response is valid for this client
   */
  storableHead(
    snapshot: RequestSnapshot,
    status: string,
    headers: Headers,
    validated: boolean = false,
  ): StoredHead | undefined {
    const code = Number(status.slice(0, 3))
    // Responses to a range, or to a condition of the client.
    if (code === 206 || code === 304) return undefined
    const cacheControl = headerOf(headers, 'cache-control')
    const expires = headerOf(headers, 'expires')
    const lastModified = headerOf(headers, 'last-modified')
    // Most responses that are not cacheable have none of these fields.
    if (cacheControl === undefined && expires === undefined && lastModified === undefined) return undefined
    const names = varyOf(headers)
    if (names === undefined) return undefined
    if (this.#settings.setCookie === 'refuse' && headerOf(headers, 'set-cookie') !== undefined) return undefined

    const directives = parseDirectives(cacheControl)
    const explicit = expires !== undefined || directives.has('max-age') || directives.has('s-maxage')
    // A page for a request with a Cookie is usually personal: no heuristic lifetime.
    const cookie = !validated && snapshot.variables['HTTP_COOKIE'] !== undefined
    if (!explicit && cookie && !directives.has('public')) return undefined

    const wall = this.#clock.wall()
    const date = parseHttpDate(headerOf(headers, 'date')) ?? wall
    const policy = this.#policy(snapshot, code, headers, directives, { expires, lastModified, date })
    if (!policy.storable()) return undefined
    const lifetime = explicit ? policy.maxAge() : Math.min(policy.maxAge(), HEURISTIC_MAX)
    const etag = headerOf(headers, 'etag')
    const validator = etag !== undefined || lastModified !== undefined
    if (lifetime <= 0 && !(validator && !cookie && (explicit || directives.has('no-cache')))) return undefined

    const now = this.#clock.now()
    const delay = Math.max(0, now - snapshot.startedAt) / 1000
    const apparent = Math.max(0, Math.floor((wall - date) / 1000))
    const age = secondsOf(parseDirectives(`age=${headerOf(headers, 'age') ?? '0'}`), 'age')!
    const strict = directives.has('must-revalidate') || directives.has('proxy-revalidate') || directives.has('no-cache')
    const shared = directives.has('s-maxage')
    const { staleWhileRevalidate, staleIfError } = this.#settings
    return {
      status,
      code,
      headers: storableFields(headers, wall),
      vary: names,
      varyValues: names.map((name) => snapshot.variables[name]),
      lifetime,
      initialAge: Math.max(apparent, age + delay),
      receivedAt: now,
      strict,
      shared,
      staleWhileRevalidate: strict ? 0 : (secondsOf(directives, 'stale-while-revalidate') ?? staleWhileRevalidate),
      staleIfError: strict ? 0 : (secondsOf(directives, 'stale-if-error') ?? staleIfError),
      forAuthenticated: directives.has('public') || shared || directives.has('must-revalidate'),
      fromAuthenticated: snapshot.authenticated,
      etag,
      lastModified,
    }
  }

  /**
   * Updates a stored head with the fields of a 304 (RFC 9111 §3.2).
   *
   * @returns `'other'` if the 304 is about another representation; undefined if the response may no longer be stored
   */
  freshen(stored: StoredHead, snapshot: RequestSnapshot, headers: Headers): StoredHead | 'other' | undefined {
    const etag = headerOf(headers, 'etag')
    if (etag !== undefined && (stored.etag === undefined || !weakEqual(etag, stored.etag))) return 'other'
    const merged = merge(stored.headers, headers)
    // A cookie in a 304 is for its client alone, and does not make the stored body personal.
    return this.storableHead(snapshot, stored.status, withoutHeaders(merged, 'set-cookie'), true)
  }

  #policy(
    snapshot: RequestSnapshot,
    code: number,
    headers: Headers,
    directives: Directives,
    { expires, lastModified, date }: { expires: string | undefined; lastModified: string | undefined; date: number },
  ): CachePolicy {
    const fields: Record<string, string> = { date: httpDate(date) }
    const directiveField = normalized(directives)
    if (directiveField !== '') fields['cache-control'] = directiveField
    const pragma = headerOf(headers, 'pragma')
    if (pragma !== undefined) fields['pragma'] = pragma.toLowerCase()
    // Several Expires fields, or an invalid date, count as expired.
    if (expires !== undefined) {
      const at = parseHttpDate(expires)
      fields['expires'] = at === undefined ? '0' : httpDate(at)
    }
    const modified = parseHttpDate(lastModified)
    if (modified !== undefined) fields['last-modified'] = httpDate(modified)
    const request: Record<string, string> = {}
    if (snapshot.authenticated) request['authorization'] = 'given'
    return new this.#Policy(
      { method: 'GET', headers: request },
      { status: code, headers: fields },
      { shared: true, cacheHeuristic: this.#settings.heuristic, immutableMinTimeToLive: 0 },
    )
  }
}

/** Age of a response (RFC 9111 §4.2.3), seconds. */
export function ageOf(head: StoredHead, now: number): number {
  return head.initialAge + Math.max(0, now - head.receivedAt) / 1000
}

/** Whether a stored response may answer a request, and why. */
type Reuse = 'fresh' | 'stale' | 'while-revalidating' | 'no'

/** Decides by the age and by the request's directives (RFC 9111 §4.2, §5.2.1; RFC 5861 §3). */
export function reuseOf(head: StoredHead, now: number, directives: Directives): Reuse {
  const age = ageOf(head, now)
  const left = head.lifetime - age
  if (directives.size > 0) {
    if (directives.has('no-cache')) return 'no'
    const maxAge = secondsOf(directives, 'max-age')
    if (maxAge !== undefined && (age > maxAge || maxAge === 0)) return 'no'
    const minFresh = secondsOf(directives, 'min-fresh')
    if (minFresh !== undefined && left < minFresh) return 'no'
  }
  if (left > 0) return 'fresh'
  if (head.strict) return 'no'
  const maxStale = directives.get('max-stale')
  if (maxStale !== undefined && !head.shared && (maxStale === true || -left <= secondsOf(directives, 'max-stale')!)) {
    return 'stale'
  }
  return -left < head.staleWhileRevalidate ? 'while-revalidating' : 'no'
}

/**
 * Whether the response may be served instead of a failure. Both the response and the request may allow it (RFC 5861
 * §4).
 */
export function isUsableOnError(head: StoredHead, now: number, directives: Directives): boolean {
  if (head.strict) return false
  const stale = ageOf(head, now) - head.lifetime
  if (stale <= 0) return true
  return stale < Math.max(head.staleIfError, head.shared ? 0 : (secondsOf(directives, 'stale-if-error') ?? 0))
}

/** Whether the response may answer a request with these fields (RFC 9111 §3.5, §4.1). */
export function matchesRequest(
  head: StoredHead,
  variables: Environ | RequestSnapshot['variables'],
  authenticated: boolean,
): boolean {
  if (authenticated && !head.forAuthenticated) return false
  for (let at = 0; at < head.vary.length; at++) {
    if (variables[head.vary[at]!] !== head.varyValues[at]) return false
  }
  return true
}

/** The variables that `Vary` names; undefined if `Vary` contains `*`. */
function varyOf(headers: Headers): string[] | undefined {
  const vary = headerOf(headers, 'vary')
  if (vary === undefined) return []
  const names = new Set<string>()
  for (const part of vary.split(',')) {
    const name = part.trim()
    if (name === '*') return undefined
    if (name !== '') names.add(headerVariable(name))
  }
  // A middleware outside that checks a password removes Authorization: without the user all requests would look the
  // same.
  if (names.has('HTTP_AUTHORIZATION')) names.add('REMOTE_USER')
  return [...names]
}

/**
 * The directives as the library reads them: lower case, each once. It would treat `proxy-revalidate` as "never fresh".
 */
function normalized(directives: Directives): string {
  const parts: string[] = []
  for (const [name, value] of directives) {
    if (name === 'proxy-revalidate' || name === 'pre-check' || name === 'post-check') continue
    const number = name === 'max-age' || name === 's-maxage'
    if (number) parts.push(`${name}=${secondsOf(directives, name)}`)
    else parts.push(value === true || value.includes(',') ? name : `${name}=${value}`)
  }
  return parts.join(', ')
}

/** Copies of the fields to serve, with the current Date if the application sent none (RFC 9110 §6.6.1). */
function storableFields(headers: Headers, wall: number): Headers {
  const copy: Headers = []
  let dated = false
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    if (NOT_STORED.has(lower)) continue
    dated ||= lower === 'date'
    copy.push([name, value])
  }
  if (!dated) copy.push(['Date', httpDate(wall)])
  return copy
}

function merge(stored: Headers, update: Headers): Headers {
  const replaced = new Set<string>()
  const fresh: Headers = []
  for (const field of update) {
    const name = field[0].toLowerCase()
    if (DESCRIBES_BODY.has(name)) continue
    replaced.add(name)
    fresh.push(field)
  }
  // The Date of the old response must not become the Date of the new one.
  replaced.add('date')
  return [...stored.filter(([name]) => !replaced.has(name.toLowerCase())), ...fresh]
}
