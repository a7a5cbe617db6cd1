/**
 * A shared cache (RFC 9111) around an application: answers from memory what may be answered so, asks the application once for what
 * several clients want at the same time, and renews what has become stale.
 *
 * This file is what users see of it, and which requests it has to do with at all. The way of those is `cache/desk.ts`.
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
import { headerOf } from '../filter/response-fields.ts'
import { Call } from './call.ts'
import { type CacheStats, Desk } from './desk.ts'
import { type Directives, NO_DIRECTIVES, parseDirectives } from './directives.ts'
import { restOf, sameOrigin, uriOf } from './key.ts'
import { type CacheOptions, type CacheSettings, settingsOf } from './options.ts'

export type { CacheStats } from './desk.ts'
export type { CacheOptions } from './options.ts'

/** Middleware that can be asked. */
export interface Cache extends Middleware {
  stats(): CacheStats
  /**
   * Forgets all that is stored of a URI, and what is under way of it.
   *
   * @param uri absolute, with its query: `https://example.org/a?b`
   * @returns how many stored responses there were
   * @throws TypeError for what is no absolute URI
   */
  invalidate(uri: string): number
  /** Forgets everything. */
  clear(): void
}

/** Methods that change nothing (RFC 9110 §9.2.1 and the IANA registry): all others invalidate. */
const SAFE: ReadonlySet<string> = new Set([...SAFE_METHODS, 'PROPFIND', 'REPORT', 'SEARCH', 'QUERY'])

/**
 * One process's cache: several workers have one each, and an invalidation in one is not seen by the others.
 *
 * @throws TypeError for an option that makes no sense
 */
export function cache(options: CacheOptions = {}): Cache {
  const settings = settingsOf(options)
  const desk = new Desk(settings)
  let places = 0
  const middleware = (application: Application): Application => {
    // The same cache around two applications keeps their responses apart.
    const place = places++
    return (environ, startResponse) => handle(desk, settings, place, application, environ, startResponse)
  }
  return Object.assign(middleware, {
    stats: () => desk.stats(),
    invalidate(uri: string): number {
      const parsed = URL.parse(uri)
      const own = parsed && sameOrigin(uri, `${parsed.origin}/`)
      if (!own) throw new TypeError(`cache: ${JSON.stringify(uri)} is no absolute http(s) URI`)
      return desk.invalidate(own)
    },
    clear: () => desk.clear(),
  })
}

function handle(
  desk: Desk,
  settings: CacheSettings,
  place: number,
  application: Application,
  environ: Environ,
  startResponse: StartResponse,
): Body | Promise<Body> {
  const method = environ.REQUEST_METHOD
  if (method !== 'GET' && method !== 'HEAD') {
    const start = desk.reported(startResponse, 'method')
    if (SAFE.has(method)) return application(environ, start)
    return application(environ, invalidating(desk, environ, start))
  }
  const own = settings.key === undefined ? '' : settings.key(environ)
  if (own === undefined || isBeyond(environ)) return application(environ, desk.reported(startResponse, 'bypass'))
  const directives = directivesOf(environ, settings)
  // Nothing of it may be kept, and waiting for others' would keep it.
  if (directives.has('no-store')) return application(environ, desk.reported(startResponse, 'request'))
  const rest = restOf(environ, place, own)
  const call = new Call(environ, startResponse, place, uriOf(environ), rest, directives, settings.clock.now())
  return desk.serve(application, call)
}

/** Requests whose answers are made for them alone: another protocol, a condition only the origin can judge, a body. */
function isBeyond(environ: Environ): boolean {
  if (environ['HTTP_UPGRADE'] !== undefined) return true
  if (environ['HTTP_IF_MATCH'] !== undefined || environ['HTTP_IF_UNMODIFIED_SINCE'] !== undefined) return true
  const length = environ.CONTENT_LENGTH
  if (length !== undefined && length !== '0') return true
  // A body of unknown length has no variable. An input that is not the gateway's own cannot be asked.
  const input = environ['wsgi.input']
  return !(input instanceof RequestInput && !input.hasBody)
}

function directivesOf(environ: Environ, settings: CacheSettings): Directives {
  const value = environ['HTTP_CACHE_CONTROL'] as string | undefined
  if (value === undefined) {
    const pragma = environ['HTTP_PRAGMA'] as string | undefined
    // RFC 9111 §5.4: only where there is no Cache-Control.
    if (pragma === undefined || !settings.clientDirectives) return NO_DIRECTIVES
    return /(?:^|,)\s*no-cache\s*(?:,|$)/i.test(pragma) ? parseDirectives('no-cache') : NO_DIRECTIVES
  }
  const directives = parseDirectives(value)
  return settings.clientDirectives || directives.has('no-store') ? directives : NO_DIRECTIVES
}

/** A success of what is not safe changes the resource: what is stored of it, and of what the answer names on this host, is of before (RFC 9111 §4.4). */
function invalidating(desk: Desk, environ: Environ, startResponse: StartResponse): StartResponse {
  const uri = uriOf(environ)
  return (status, headers, excInfo) => {
    const write = startResponse(status, headers, excInfo)
    if (!/^[23]/.test(status)) return write
    const uris = [uri, ...named(headers, uri)]
    for (const one of uris) desk.invalidate(one)
    // What was asked for meanwhile may have been made before the application was through.
    environ.gantry.onFinished(() => {
      for (const one of uris) desk.invalidate(one)
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
