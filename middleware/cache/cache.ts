/**
 * A shared cache (RFC 9111) around an application. This file is its public interface, and selects the requests that the
 * cache handles; `cache-handler.ts` handles them.
 */

import type {
  Application,
  Body,
  Environ,
  Headers,
  Middleware,
  StartResponse,
} from '../../protocol/contract/application.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import { SAFE_METHODS } from '../../protocol/contract/methods.ts'
import { headerOf } from '../shared/response-fields.ts'
import { CacheHandler } from './cache-handler.ts'
import { CacheRequest } from './cache-request.ts'
import type { CacheStats } from './cache-stats.ts'
import { type Directives, NO_DIRECTIVES, parseDirectives } from './directives.ts'
import { keySuffixOf, sameOrigin, uriOf } from './key.ts'
import { type CacheOptions, type CacheSettings, settingsOf } from './options.ts'

export type { CacheStats } from './cache-stats.ts'
export type { CacheOptions } from './options.ts'

/** A cache middleware with its statistics and its invalidation. */
export interface Cache extends Middleware {
  stats(): CacheStats
  /**
   * Removes all stored responses for a URI, and prevents requests in progress from storing theirs.
   *
   * @param uri an absolute URI with its query: `https://example.org/a?b`
   * @returns the number of removed responses
   * @throws TypeError if `uri` is not an absolute http(s) URI
   */
  invalidate(uri: string): number
  /** Removes everything. */
  clear(): void
}

/** Safe methods (RFC 9110 §9.2.1 and the IANA registry). All others invalidate. */
const SAFE: ReadonlySet<string> = new Set([...SAFE_METHODS, 'PROPFIND', 'REPORT', 'SEARCH', 'QUERY'])

/**
 * Caches responses in memory as a shared cache (RFC 9111): serves stored responses, calls the application once for
 * identical concurrent requests, and revalidates stale responses.
 *
 * Each process has a cache of its own: an invalidation in one worker does not reach the others.
 *
 * @throws TypeError if an option is unknown or invalid
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { cache, compose } from 'gantry/middleware'
 *
 * const slow: Application = (_environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain'], ['Cache-Control', 'public, max-age=60']])
 *   return [Buffer.from(`generated at ${new Date().toISOString()}\n`)]
 * }
 * const pages = cache({ maxBytes: 16 * 1024 * 1024, staleIfError: 300 })
 * export const application: Application = compose(pages, slow)
 * pages.invalidate('https://example.org/news')
 * ```
 */
export function cache(options: CacheOptions = {}): Cache {
  const settings = settingsOf(options)
  const handler = new CacheHandler(settings)
  let mounts = 0
  const middleware = (application: Application): Application => {
    // The index keeps the responses of two applications behind the same cache separate.
    const mountIndex = mounts++
    return (environ, startResponse) => handle(handler, settings, mountIndex, application, environ, startResponse)
  }
  return Object.assign(middleware, {
    stats: () => handler.stats(),
    invalidate(uri: string): number {
      const parsed = URL.parse(uri)
      const normalized = parsed && sameOrigin(uri, `${parsed.origin}/`)
      if (!normalized) throw new TypeError(`cache: ${JSON.stringify(uri)} is not an absolute http(s) URI`)
      return handler.invalidate(normalized)
    },
    clear: () => handler.clear(),
  })
}

function handle(
  handler: CacheHandler,
  settings: CacheSettings,
  mountIndex: number,
  application: Application,
  environ: Environ,
  startResponse: StartResponse,
): Body | Promise<Body> {
  const method = environ.REQUEST_METHOD
  if (method !== 'GET' && method !== 'HEAD') {
    const start = handler.passThrough(startResponse, 'method')
    if (SAFE.has(method)) return application(environ, start)
    return application(environ, invalidating(handler, environ, start))
  }
  const ownKey = settings.key === undefined ? '' : settings.key(environ)
  if (ownKey === undefined || isOutsideCache(environ))
    return application(environ, handler.passThrough(startResponse, 'bypass'))
  const directives = directivesOf(environ, settings)
  // The response must not be stored, so that other requests cannot wait for it either.
  if (directives.has('no-store')) return application(environ, handler.passThrough(startResponse, 'request'))
  const keySuffix = keySuffixOf(environ, mountIndex, ownKey)
  const request = new CacheRequest(
    environ,
    startResponse,
    mountIndex,
    uriOf(environ),
    keySuffix,
    directives,
    settings.clock.now(),
  )
  return handler.serve(application, request)
}

/**
 * Requests that only the application can answer: an upgrade, a condition that guards a change, a request with a body.
 */
function isOutsideCache(environ: Environ): boolean {
  if (environ['HTTP_UPGRADE'] !== undefined) return true
  if (environ['HTTP_IF_MATCH'] !== undefined || environ['HTTP_IF_UNMODIFIED_SINCE'] !== undefined) return true
  const length = environ.CONTENT_LENGTH
  if (length !== undefined && length !== '0') return true
  // A body of unknown length has no CONTENT_LENGTH. Only a gateway's input can tell whether there is a body.
  const input = environ['wsgi.input']
  return !(input instanceof RequestInput && !input.hasBody)
}

function directivesOf(environ: Environ, settings: CacheSettings): Directives {
  const value = environ['HTTP_CACHE_CONTROL'] as string | undefined
  if (value === undefined) {
    const pragma = environ['HTTP_PRAGMA'] as string | undefined
    // Pragma counts only without Cache-Control (RFC 9111 §5.4).
    if (pragma === undefined || !settings.clientDirectives) return NO_DIRECTIVES
    return /(?:^|,)\s*no-cache\s*(?:,|$)/i.test(pragma) ? parseDirectives('no-cache') : NO_DIRECTIVES
  }
  const directives = parseDirectives(value)
  return settings.clientDirectives || directives.has('no-store') ? directives : NO_DIRECTIVES
}

/**
 * A successful unsafe request changes the resource: stored responses for its URI, and for the URIs that the response
 * names on this host, are obsolete (RFC 9111 §4.4).
 */
function invalidating(handler: CacheHandler, environ: Environ, startResponse: StartResponse): StartResponse {
  const uri = uriOf(environ)
  return (status, headers, excInfo) => {
    const write = startResponse(status, headers, excInfo)
    if (!/^[23]/.test(status)) return write
    const uris = [uri, ...named(headers, uri)]
    for (const one of uris) handler.invalidate(one)
    // A response to a concurrent request may have been generated before the change was complete.
    environ.gantry.onFinished(() => {
      for (const one of uris) handler.invalidate(one)
    })
    return write
  }
}

function named(headers: Headers, uri: string): string[] {
  const uris: string[] = []
  for (const field of ['location', 'content-location']) {
    const value = headerOf(headers, field)
    const found = value === undefined ? undefined : sameOrigin(value, uri)
    if (found !== undefined && found !== uri) uris.push(found)
  }
  return uris
}
