/**
 * A response as a cache keeps it: whether it may be kept at all, how long it is fresh, whom it may answer, and what a 304 makes of
 * it (RFC 9111 §3, §4). Freshness and storability are `http-cache-semantics`'s, which is handed directives in one spelling and no
 * `Vary`, `Set-Cookie` or `proxy-revalidate`: those it treats otherwise than a shared cache of variants must.
 *
 * It knows neither who stores it nor how it is sent.
 */

import CachePolicy from 'http-cache-semantics'
import type { Environ, Headers } from '../../protocol/contract/application.ts'
import { NEVER_FORWARDED } from '../../protocol/contract/hop-by-hop.ts'
import { headerVariable } from '../../protocol/contract/request-headers.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import { headerOf, withoutHeaders } from '../filter/response-fields.ts'
import { httpDate, parseHttpDate, weakEqual } from '../static/preconditions.ts'
import { type Directives, parseDirectives, secondsOf } from './directives.ts'
import type { CacheSettings } from './options.ts'

/** What is remembered of a request before the application, which may change its environ, has seen it. */
export interface Asked {
  /** `HTTP_*` variables, and REMOTE_USER. */
  readonly variables: Readonly<Record<string, string>>
  /** Whether it says who sends it (`Authorization`, `REMOTE_USER`). */
  readonly authorised: boolean
  /** On the clock's `now()`. */
  readonly at: number
}

/** A head that may be kept, with all that follows from it. */
export interface StoredHead {
  readonly status: string
  readonly code: number
  /** As they are served, but for `Age`. With a Date. */
  readonly headers: Headers
  /** Variables that `Vary` names, and their values in the request. */
  readonly vary: readonly string[]
  readonly selecting: readonly (string | undefined)[]
  /** Seconds. */
  readonly lifetime: number
  /** Seconds it was old when it came. */
  readonly initialAge: number
  /** On the clock's `now()`. */
  readonly receivedAt: number
  /** Must not be served stale (`must-revalidate`, `proxy-revalidate`, `no-cache`). */
  readonly strict: boolean
  /** `s-maxage`: a client's `max-stale` does not count (RFC 9111 §5.2.2.10). */
  readonly shared: boolean
  readonly staleWhileRevalidate: number
  readonly staleIfError: number
  /** May answer requests that say who sends them (RFC 9111 §3.5). */
  readonly forAuthorised: boolean
  /** Was made for one that does: only its like can renew it. */
  readonly fromAuthorised: boolean
  readonly etag: string | undefined
  readonly lastModified: string | undefined
}

/** A day: heuristics are guesses, and the older RFCs wanted a warning beyond it. Seconds. */
const HEURISTIC_MAX = 86_400
/** Fields that never come from the cache: of one message or one connection, or written anew for each answer. */
const NEVER_STORED: ReadonlySet<string> = new Set([
  ...NEVER_FORWARDED,
  'age',
  'proxy-authentication-info',
  'authentication-info',
  'set-cookie',
  'set-cookie2',
  // Names one request: another's would lead whoever reads logs astray.
  'x-request-id',
  'x-cache',
])
/** What a 304 does not change: it is true of the stored body alone (RFC 9111 §3.2). */
const OF_THE_BODY: ReadonlySet<string> = new Set([
  'content-length',
  'content-encoding',
  'content-type',
  'content-range',
  'etag',
])

/** Judges responses for one cache. */
export class Judge {
  readonly #settings: CacheSettings
  readonly #clock: Clock
  readonly #Policy: typeof CachePolicy

  constructor(settings: CacheSettings) {
    this.#settings = settings
    this.#clock = settings.clock
    const { clock } = settings
    this.#Policy = class extends CachePolicy {
      /** The library's own hook for time. It asks in its constructor already, so that this is no field. */
      now(): number {
        return clock.wall()
      }
    }
  }

  /**
   * @param validated whether the application has just said that it is this client's too
   * @returns undefined for a response that must not or need not be kept
   */
  head(asked: Asked, status: string, headers: Headers, validated: boolean = false): StoredHead | undefined {
    const code = Number(status.slice(0, 3))
    // The answer to a part, and to a condition that was not ours.
    if (code === 206 || code === 304) return undefined
    const cacheControl = headerOf(headers, 'cache-control')
    const expires = headerOf(headers, 'expires')
    const lastModified = headerOf(headers, 'last-modified')
    // Most that must not be kept says nothing at all.
    if (cacheControl === undefined && expires === undefined && lastModified === undefined) return undefined
    const names = varyOf(headers)
    if (names === undefined) return undefined
    if (this.#settings.setCookie === 'refuse' && headerOf(headers, 'set-cookie') !== undefined) return undefined

    const directives = parseDirectives(cacheControl)
    const explicit = expires !== undefined || directives.has('max-age') || directives.has('s-maxage')
    // With a Cookie a page is more often somebody's own than not: nothing is guessed.
    const cookie = !validated && asked.variables['HTTP_COOKIE'] !== undefined
    if (!explicit && cookie && !directives.has('public')) return undefined

    const wall = this.#clock.wall()
    const date = parseHttpDate(headerOf(headers, 'date')) ?? wall
    const policy = this.#policy(asked, code, headers, directives, { expires, lastModified, date })
    if (!policy.storable()) return undefined
    const lifetime = explicit ? policy.maxAge() : Math.min(policy.maxAge(), HEURISTIC_MAX)
    const etag = headerOf(headers, 'etag')
    const validator = etag !== undefined || lastModified !== undefined
    if (lifetime <= 0 && !(validator && !cookie && (explicit || directives.has('no-cache')))) return undefined

    const now = this.#clock.now()
    const delay = Math.max(0, now - asked.at) / 1000
    const apparent = Math.max(0, Math.floor((wall - date) / 1000))
    const age = secondsOf(parseDirectives(`age=${headerOf(headers, 'age') ?? '0'}`), 'age')!
    const strict = directives.has('must-revalidate') || directives.has('proxy-revalidate') || directives.has('no-cache')
    const shared = directives.has('s-maxage')
    const { staleWhileRevalidate, staleIfError } = this.#settings
    return {
      status,
      code,
      headers: kept(headers, wall),
      vary: names,
      selecting: names.map((name) => asked.variables[name]),
      lifetime,
      initialAge: Math.max(apparent, age + delay),
      receivedAt: now,
      strict,
      shared,
      staleWhileRevalidate: strict ? 0 : (secondsOf(directives, 'stale-while-revalidate') ?? staleWhileRevalidate),
      staleIfError: strict ? 0 : (secondsOf(directives, 'stale-if-error') ?? staleIfError),
      forAuthorised: directives.has('public') || shared || directives.has('must-revalidate'),
      fromAuthorised: asked.authorised,
      etag,
      lastModified,
    }
  }

  /**
   * What a 304 makes of a stored head: its own fields in place of those of the same names (RFC 9111 §3.2).
   *
   * @returns `'other'` when it is about another representation; undefined when the response may not be kept any longer
   */
  freshened(stored: StoredHead, asked: Asked, headers: Headers): StoredHead | 'other' | undefined {
    const etag = headerOf(headers, 'etag')
    if (etag !== undefined && (stored.etag === undefined || !weakEqual(etag, stored.etag))) return 'other'
    const merged = merge(stored.headers, headers)
    // A 304's cookie is for its client alone, and says nothing against the body that is kept already.
    return this.head(asked, stored.status, withoutHeaders(merged, 'set-cookie'), true)
  }

  #policy(
    asked: Asked,
    code: number,
    headers: Headers,
    directives: Directives,
    { expires, lastModified, date }: { expires: string | undefined; lastModified: string | undefined; date: number },
  ): CachePolicy {
    const fields: Record<string, string> = { date: httpDate(date) }
    const spelled = spell(directives)
    if (spelled !== '') fields['cache-control'] = spelled
    const pragma = headerOf(headers, 'pragma')
    if (pragma !== undefined) fields['pragma'] = pragma.toLowerCase()
    // Two Expires, or one that is no date, are the past.
    if (expires !== undefined) {
      const at = parseHttpDate(expires)
      fields['expires'] = at === undefined ? '0' : httpDate(at)
    }
    const modified = parseHttpDate(lastModified)
    if (modified !== undefined) fields['last-modified'] = httpDate(modified)
    const request: Record<string, string> = {}
    if (asked.authorised) request['authorization'] = 'given'
    return new this.#Policy(
      { method: 'GET', headers: request },
      { status: code, headers: fields },
      { shared: true, cacheHeuristic: this.#settings.heuristic, immutableMinTimeToLive: 0 },
    )
  }
}

/** Seconds. */
export function ageOf(head: StoredHead, now: number): number {
  return head.initialAge + Math.max(0, now - head.receivedAt) / 1000
}

/** How a stored response may be used for a request. */
export type Use = 'fresh' | 'stale' | 'while-revalidating' | 'no'

/** Decides by age and by what the request says (RFC 9111 §4.2, §5.2.1; RFC 5861 §3). */
export function useOf(head: StoredHead, now: number, directives: Directives): Use {
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

/** Whether it may stand in for a failure (RFC 5861 §4: response and request may both allow it). */
export function mayHideError(head: StoredHead, now: number, directives: Directives): boolean {
  if (head.strict) return false
  const stale = ageOf(head, now) - head.lifetime
  if (stale <= 0) return true
  return stale < Math.max(head.staleIfError, head.shared ? 0 : (secondsOf(directives, 'stale-if-error') ?? 0))
}

/** Whether it was chosen by a request like this one, and may answer it. */
export function selects(head: StoredHead, variables: Environ | Asked['variables'], authorised: boolean): boolean {
  if (authorised && !head.forAuthorised) return false
  for (let at = 0; at < head.vary.length; at++) {
    if (variables[head.vary[at]!] !== head.selecting[at]) return false
  }
  return true
}

/** The variables that `Vary` names; undefined when it holds `*`. */
function varyOf(headers: Headers): string[] | undefined {
  const vary = headerOf(headers, 'vary')
  if (vary === undefined) return []
  const names = new Set<string>()
  for (const part of vary.split(',')) {
    const name = part.trim()
    if (name === '*') return undefined
    if (name !== '') names.add(headerVariable(name))
  }
  // Where a middleware outside has checked a password and taken the field away, all would be alike.
  if (names.has('HTTP_AUTHORIZATION')) names.add('REMOTE_USER')
  return [...names]
}

/** Directives as the library reads them: lower case, once each. It takes `proxy-revalidate` for "never fresh". */
function spell(directives: Directives): string {
  const parts: string[] = []
  for (const [name, value] of directives) {
    if (name === 'proxy-revalidate' || name === 'pre-check' || name === 'post-check') continue
    const number = name === 'max-age' || name === 's-maxage'
    if (number) parts.push(`${name}=${secondsOf(directives, name)}`)
    else parts.push(value === true || value.includes(',') ? name : `${name}=${value}`)
  }
  return parts.join(', ')
}

/** Copies of the fields that are served again, with the Date of now where there is none (RFC 9110 §6.6.1). */
function kept(headers: Headers, wall: number): Headers {
  const copy: Headers = []
  let dated = false
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    if (NEVER_STORED.has(lower)) continue
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
    if (OF_THE_BODY.has(name)) continue
    replaced.add(name)
    fresh.push(field)
  }
  // Else the old answer's time would be the new one's.
  replaced.add('date')
  return [...stored.filter(([name]) => !replaced.has(name.toLowerCase())), ...fresh]
}
