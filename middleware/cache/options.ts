/** The options of `cache`: their checks, their defaults and the reasons for these. */

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

/** The options of `cache`. */
export interface CacheOptions {
  /**
   * Limit on all stored and incoming responses (bodies, fields, keys), bytes. Default 64 MiB: a small container can
   * spare that.
   */
  readonly maxBytes?: number | undefined
  /**
   * Largest body that is stored, bytes. Default 1 MiB: pages, scripts and images, but not downloads, which a file
   * server handles better.
   */
  readonly maxObjectBytes?: number | undefined
  /** Largest number of stored responses. Default 10,000. */
  readonly maxEntries?: number | undefined
  /**
   * Largest number of stored responses for one URI (`Vary` and other fields). Default 32: each lookup compares them one
   * by one.
   */
  readonly maxVariants?: number | undefined
  /**
   * How long a stale response may be served while it is revalidated, seconds, unless the response has a
   * `stale-while-revalidate` of its own (RFC 5861 §3) or forbids it. Default 0.
   */
  readonly staleWhileRevalidate?: number | undefined
  /**
   * How long a stale response may be served instead of a 500, 502, 503 or 504, seconds, unless the response says
   * otherwise (RFC 5861 §4). Default 0.
   */
  readonly staleIfError?: number | undefined
  /**
   * Heuristic freshness: for a response without an explicit lifetime, the fraction of the time between `Last-Modified`
   * and `Date` for which it is fresh (RFC 9111 §4.2.2), at most a day, and never for a request with `Cookie`. Default
   * 0.1; 0 disables it.
   */
  readonly heuristic?: number | undefined
  /**
   * Responses with `Set-Cookie`: `'refuse'` does not store them; `'strip'` stores them without the cookie, which then
   * only the original client gets. A cookie is never served to another client. Default `'refuse'`.
   */
  readonly setCookie?: 'refuse' | 'strip' | undefined
  /**
   * Whether a request's `Cache-Control` and `Pragma` count (RFC 9111 §5.2.1). With false, as in nginx and Varnish, a
   * browser's reload does not reach the application. `no-store` always counts. Default true.
   */
  readonly clientDirectives?: boolean | undefined
  /**
   * How long a request waits for the response to an identical request before it is forwarded, ms. 0: requests never
   * wait. Default 5,000, as nginx's `proxy_cache_lock_timeout`.
   */
  readonly waitLimit?: number | undefined
  /**
   * After a response that may not be shared, requests for the same key do not wait for each other for this time, ms.
   * The first response that may be shared ends it. Default 120,000, as Varnish's hit-for-miss.
   */
  readonly passTime?: number | undefined
  /**
   * Largest number of concurrent background requests; further revalidations wait for a later request. Default 8:
   * background requests use no slot of the container.
   */
  readonly maxBackground?: number | undefined
  /** Timeout of a background request, ms. Default 30,000. */
  readonly backgroundTimeout?: number | undefined
  /**
   * Returns a further part of the key, for a value that `Vary` does not name: a tenant or a language that middleware
   * outside has put into the environ. If it returns undefined, the request bypasses the cache. Scheme, host, path,
   * query and forwarding fields are part of every key. Default: none.
   */
  readonly key?: ((environ: Environ) => string | undefined) | undefined
  /**
   * Further variables that background requests get: values from middleware outside that the application needs, without
   * personal data. Default: none.
   */
  readonly carry?: readonly string[] | undefined
  /**
   * The fields that tell clients what the cache did: `Cache-Status` (RFC 9211), `X-Cache` (HIT, MISS, STALE,
   * REVALIDATED, BYPASS). Default: none.
   */
  readonly report?: 'cache-status' | 'x-cache' | 'both' | 'none' | undefined
  /** The cache's name in `Cache-Status`. Default `gantry`. */
  readonly name?: string | undefined
  /**
   * The log for failures of background requests and of responses that were being stored. Default: `wsgi.errors` of the
   * request.
   */
  readonly log?: Logger | undefined
  /** The clock, for tests. Default: the system clock. */
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
  name: textOf('a token that begins with a letter (RFC 9211, section 2)', /^[A-Za-z*][\w:/!#$%&'*+.^`|~-]*$/),
  log: logger('debug', 'info', 'warn', 'error'),
  clock: aClock,
}

/**
 * Checks the options and fills in the defaults.
 *
 * @throws TypeError if an option is unknown or invalid
 */
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
