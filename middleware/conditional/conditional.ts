/**
 * Conditional requests for any application (RFC 9110 §13): a GET whose response the client has already is answered 304,
 * a GET whose condition fails 412. The application still runs: the transfer is saved, not the computation.
 */

import { createHash } from 'node:crypto'
import type { Application, Environ, Headers, Middleware } from '../../protocol/contract/application.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import { checkOptions, type OptionForms, wholeNumber } from '../../protocol/options/check-options.ts'
import { type FilterDecision, filterResponse } from '../filter/filter-response.ts'
import { headerOf, namesFile } from '../shared/response-fields.ts'
import { parseHttpDate, precondition, unchangedHeaders } from './preconditions.ts'

/** The options of `conditional`. */
export interface ConditionalOptions {
  /**
   * Largest response that gets an ETag, bytes, if it is complete when the application returns and has no validator.
   * Default 64 KiB: hashing that takes less than 0.1 ms, and an application can tag larger responses by their version.
   * 0: no response gets one.
   */
  readonly etagMaxSize?: number
}

const OPTIONS: OptionForms<ConditionalOptions> = { etagMaxSize: wholeNumber(0, 'bytes') }

/**
 * Answers conditional GET and HEAD requests, by the validators of the response or by an ETag of its bytes.
 *
 * Other methods pass unchanged: only the application can check their condition before it acts.
 *
 * @throws TypeError if an option is unknown or invalid
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { conditional } from 'gantry/middleware'
 *
 * const page: Application = (_environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/html']])
 *   return [Buffer.from('<!doctype html><p>Hello')]
 * }
 * export const application: Application = conditional()(page)
 * ```
 */
export function conditional(options: ConditionalOptions = {}): Middleware {
  checkOptions('conditional', options, OPTIONS)
  const { etagMaxSize = 64 * 1024 } = options
  return (application) => (environ, startResponse) => {
    // Read before the call: the application may change its environ.
    const method = environ.REQUEST_METHOD
    if (method !== 'GET' && method !== 'HEAD') return application(environ, startResponse)
    return filterResponse(application, environ, startResponse, (status, headers) => {
      if (!status.startsWith('200')) return { status, headers }
      const etag = headerOf(headers, 'ETag')
      const lastModified = headerOf(headers, 'Last-Modified')
      if (etag !== undefined || lastModified !== undefined) {
        return evaluated(environ, status, headers, etag, parseHttpDate(lastModified))
      }
      if (etagMaxSize === 0 || !mayBeTagged(headers)) return { status, headers }
      return { status, headers, whole: (body) => tagged(environ, status, headers, body, etagMaxSize) }
    })
  }
}

function evaluated(
  environ: Environ,
  status: string,
  headers: Headers,
  etag: string | undefined,
  lastModified: number | undefined,
): FilterDecision {
  switch (precondition(environ, { etag, lastModified })) {
    case 'proceed':
      return { status, headers }
    case 'failed':
      return { replace: statusPage(412) }
    case 'unchanged':
      return { replace: unchanged(headers) }
  }
}

function unchanged(headers: Headers): Application {
  return (_, startResponse) => {
    startResponse('304 Not Modified', unchangedHeaders(headers))
    return []
  }
}

/** A response with no-store is never revalidated. With X-Sendfile, the bytes here are not the bytes that are sent. */
function mayBeTagged(headers: Headers): boolean {
  return !namesFile(headers) && !/\bno-store\b/i.test(headerOf(headers, 'Cache-Control') ?? '')
}

function tagged(environ: Environ, status: string, headers: Headers, body: Uint8Array, most: number): Application {
  if (body.length === 0 || body.length > most) return sent(status, headers, body)
  // Weak, because middleware or a proxy outside may compress the content to different bytes.
  const etag = `W/"${createHash('sha1').update(body).digest('base64url')}"`
  const named: Headers = [...headers, ['ETag', etag]]
  const outcome = evaluated(environ, status, named, etag, undefined)
  return 'replace' in outcome ? outcome.replace : sent(status, named, body)
}

function sent(status: string, headers: Headers, body: Uint8Array): Application {
  return (_, startResponse) => {
    startResponse(status, headers)
    return [body]
  }
}
