/** The options of `cache`: what may be said, the defaults and their reasons, and the refusal of what makes no sense. */

import type { Environ } from '../../protocol/contract/application.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import {
  aClock,
  callable,
  checkOptions,
  flag,
  form,
  isText,
  listOf,
  logger,
  type OptionForms,
  oneOf,
  textOf,
  wholeNumber,
} from '../../protocol/options/check-options.ts'

export interface CacheOptions {
  /** Bytes of all that is stored or being stored: bodies, fields, keys. Default 64 MiB: what a small container can spare. */
  readonly maxBytes?: number | undefined
  /** Bytes of one body; larger ones pass. Default 1 MiB: pages, scripts and images, not downloads, which files serve better. */
  readonly maxObjectBytes?: number | undefined
  /** Stored responses. Default 10,000. */
  readonly maxEntries?: number | undefined
  /** Stored responses of one URI (`Vary` and other fields). Default 32: each lookup compares them in turn. */
  readonly maxVariants?: number | undefined
  /**
   * Seconds for which a stale response may be served while it is being revalidated, where the response itself has no
   * `stale-while-revalidate` (RFC 5861 §3) and nothing forbids it. Default 0.
   */
  readonly staleWhileRevalidate?: number | undefined
  /** Seconds for which a stale response may be served instead of a 500, 502, 503 or 504, as above (RFC 5861 §4). Default 0. */
  readonly staleIfError?: number | undefined
  /**
   * Of the time between `Last-Modified` and `Date`: what a response is fresh for that says nothing of it (RFC 9111 §4.2.2), a day at
   * most, and never for a request with `Cookie`. Default 0.1; 0 switches it off.
   */
  readonly heuristic?: number | undefined
  /**
   * What becomes of responses with `Set-Cookie`. Default `'refuse'`: they are not stored. `'strip'`: they are stored without it, so that it
   * reaches only the client it was made for. It is never served to another.
   */
  readonly setCookie?: 'refuse' | 'strip' | undefined
  /**
   * Whether a request's `Cache-Control` and `Pragma` count (RFC 9111 §5.2.1). Default true. False, as nginx and Varnish have it: no reload of a
   * browser makes the application work. `no-store` counts in any case.
   */
  readonly clientDirectives?: boolean | undefined
  /**
   * Milliseconds for which a request waits for another's response to the same request before it goes to the application itself. Default
   * 5,000, as nginx's `proxy_cache_lock_timeout`. 0: none waits.
   */
  readonly waitLimit?: number | undefined
  /**
   * Milliseconds for which requests go to the application without waiting for each other after a response that may not be shared.
   * Default 120,000, as Varnish's hit-for-miss. The first one that may be shared ends it.
   */
  readonly passTime?: number | undefined
  /** Requests of the cache's own, in the background, at once. Default 8: they take no slot of the container's. More are not begun. */
  readonly maxBackground?: number | undefined
  /** Milliseconds for one of them. Default 30,000. */
  readonly backgroundTimeout?: number | undefined
  /**
   * Something more that answers depend on and `Vary` does not name: a tenant, a language that middleware outside has put into the environ. Undefined:
   * the request passes the cache by. Scheme, host, path, query and forwarding fields are part of every key.
   */
  readonly key?: ((environ: Environ) => string | undefined) | undefined
  /**
   * Variables, beside the standard ones, that background requests carry: what outer middleware has put there and the application needs. Nothing
   * of a person. Default: none.
   */
  readonly carry?: readonly string[] | undefined
  /** Which fields tell clients what the cache did: `Cache-Status` (RFC 9211), `X-Cache` (HIT, MISS, STALE, REVALIDATED, BYPASS). Default: none. */
  readonly report?: 'cache-status' | 'x-cache' | 'both' | 'none' | undefined
  /** The cache's name in `Cache-Status`. Default `gantry`. */
  readonly name?: string | undefined
  /** Where background failures, and those of responses on their way into the cache, are told. Default: `wsgi.errors` of the request. */
  readonly log?: Logger | undefined
  /** Default: the system's. */
  readonly clock?: Clock | undefined
}

export interface CacheSettings {
  readonly maxBytes: number
  readonly maxObjectBytes: number
  readonly maxEntries: number
  readonly maxVariants: number
  readonly staleWhileRevalidate: number
  readonly staleIfError: number
  readonly heuristic: number
  readonly setCookie: 'refuse' | 'strip'
  readonly clientDirectives: boolean
  readonly waitLimit: number
  readonly passTime: number
  readonly maxBackground: number
  readonly backgroundTimeout: number
  readonly key: ((environ: Environ) => string | undefined) | undefined
  readonly carry: readonly string[]
  readonly cacheStatus: boolean
  readonly xCache: boolean
  readonly name: string
  readonly log: Logger | undefined
  readonly clock: Clock
}

const MIB = 1024 * 1024

const OPTIONS: OptionForms<CacheOptions> = {
  maxBytes: wholeNumber(1, 'bytes'),
  maxObjectBytes: wholeNumber(1, 'bytes'),
  maxEntries: wholeNumber(1),
  maxVariants: wholeNumber(1),
  staleWhileRevalidate: wholeNumber(0, 'seconds'),
  staleIfError: wholeNumber(0, 'seconds'),
  heuristic: form('a number from 0 to 1 (0: off)', (value) => typeof value === 'number' && value >= 0 && value <= 1),
  setCookie: oneOf('refuse', 'strip'),
  clientDirectives: flag,
  waitLimit: wholeNumber(0, 'milliseconds'),
  passTime: wholeNumber(0, 'milliseconds'),
  maxBackground: wholeNumber(0),
  backgroundTimeout: wholeNumber(1, 'milliseconds'),
  key: callable('a function of the environ'),
  carry: listOf("variables' names", isText),
  report: oneOf('cache-status', 'x-cache', 'both', 'none'),
  name: textOf('a token that begins with a letter (RFC 9211 §2)', /^[A-Za-z*][\w:/!#$%&'*+.^`|~-]*$/),
  log: logger('debug', 'info', 'warn', 'error'),
  clock: aClock,
}

/** @throws TypeError that names the option, what came and what was expected */
export function settingsOf(options: CacheOptions): CacheSettings {
  checkOptions('cache', options, OPTIONS)
  const { setCookie = 'refuse', report = 'none', name = 'gantry', key, carry = [], clientDirectives = true } = options
  const { heuristic = 0.1, maxBytes = 64 * MIB } = options
  const { maxObjectBytes = Math.min(MIB, maxBytes) } = options
  if (maxObjectBytes > maxBytes) {
    throw new TypeError(`cache: maxObjectBytes (${maxObjectBytes}) is more than maxBytes (${maxBytes}); lower it`)
  }
  return {
    maxBytes,
    maxObjectBytes,
    maxEntries: options.maxEntries ?? 10_000,
    maxVariants: options.maxVariants ?? 32,
    staleWhileRevalidate: options.staleWhileRevalidate ?? 0,
    staleIfError: options.staleIfError ?? 0,
    heuristic,
    setCookie,
    clientDirectives,
    waitLimit: options.waitLimit ?? 5_000,
    passTime: options.passTime ?? 120_000,
    maxBackground: options.maxBackground ?? 8,
    backgroundTimeout: options.backgroundTimeout ?? 30_000,
    key,
    carry,
    cacheStatus: report === 'cache-status' || report === 'both',
    xCache: report === 'x-cache' || report === 'both',
    name,
    log: options.log,
    clock: options.clock ?? systemClock,
  }
}
