/**
 * Conditional requests to any application: a GET whose answer the client has already is answered 304, one whose condition fails 412 (RFC 9110 §13).
 * The application runs all the same: what is saved is the sending. An answer that is all there and has no validator gets an ETag
 * of its bytes. What changes something (PUT, DELETE…) passes: only the application can check its condition before it acts.
 */

import { createHash } from 'node:crypto'
import type { Application, Environ, Headers, Middleware } from '../../protocol/contract/application.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import { checkOptions, type OptionForms, wholeNumber } from '../../protocol/options/check-options.ts'
import { type FilterDecision, filterResponse } from '../filter/filter-response.ts'
import { headerOf, namesFile } from '../shared/response-fields.ts'
import { parseHttpDate, precondition, unchangedHeaders } from './preconditions.ts'

export interface ConditionalOptions {
  /**
   * Answers up to this size, bytes, that are all there when the application returns get an ETag. Default 64 KiB: hashing that takes less
   * than 0.1 ms, and what is larger is better tagged by who knows its version. 0: none gets one.
   */
  readonly etagMaxSize?: number
}

const OPTIONS: OptionForms<ConditionalOptions> = { etagMaxSize: wholeNumber(0, 'bytes') }

/** @throws TypeError for an option that is none */
export function conditional(options: ConditionalOptions = {}): Middleware {
  checkOptions('conditional', options, OPTIONS)
  const { etagMaxSize = 64 * 1024 } = options
  return (application) => (environ, startResponse) => {
    // Taken now: the application may change its environ.
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

/** What must not be kept is never asked for again with a condition. The bytes beside a file's name are not those that are sent. */
function mayBeTagged(headers: Headers): boolean {
  return !namesFile(headers) && !/\bno-store\b/i.test(headerOf(headers, 'Cache-Control') ?? '')
}

function tagged(environ: Environ, status: string, headers: Headers, body: Uint8Array, most: number): Application {
  if (body.length === 0 || body.length > most) return sent(status, headers, body)
  // Weak: what stands before this may compress it, and the same content is then other bytes.
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
