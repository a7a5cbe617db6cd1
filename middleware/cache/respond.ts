/**
 * Answers one client's request with a stored response: whole, without a body, as a 304, or a part of it (RFC 9110 §13,
 * §14). Knows nothing about freshness.
 */

import type { Body, Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import { byteRanges, contentRange } from '../conditional/byte-ranges.ts'
import {
  parseHttpDate,
  precondition,
  rangeHolds,
  unchangedHeaders,
  type Validators,
} from '../conditional/preconditions.ts'
import { headerOf, withoutHeaders } from '../shared/response-fields.ts'

/** A complete response. */
interface CompleteResponse {
  readonly status: string
  readonly headers: Headers
  readonly body: Uint8Array
}

/**
 * A request for several ranges gets the whole response, which is always allowed (RFC 9110 §14.2): parts are for large
 * files, which are not stored.
 */
const RANGES = 1

/** @param added fields for this answer alone: `Age` and the cache's status fields */
export function respond(
  { status, headers, body }: CompleteResponse,
  environ: Environ,
  startResponse: StartResponse,
  added: Headers,
  clock: Pick<Clock, 'wall'>,
): Body {
  const success = status.startsWith('200')
  if (success && isUnchanged(environ, headers)) {
    startResponse('304 Not Modified', copied(unchangedHeaders(headers), added))
    return []
  }
  if (environ.REQUEST_METHOD === 'HEAD') {
    startResponse(status, copied(headers, added))
    return []
  }
  if (success && environ['HTTP_RANGE'] !== undefined) {
    const part = partial(environ, headers, body, clock.wall())
    if (part !== undefined) {
      startResponse(part.status, copied(part.headers, added))
      return part.body.length === 0 ? [] : [part.body]
    }
  }
  startResponse(status, copied(headers, added))
  return body.length === 0 ? [] : [body]
}

/** Copies the list and its pairs: middleware outside may change what it gets, and the next client must not see that. */
export function copied(headers: Headers, added: Headers): Headers {
  const copy: Headers = new Array(headers.length + added.length)
  let at = 0
  for (; at < headers.length; at++) copy[at] = [headers[at]![0], headers[at]![1]]
  for (let next = 0; next < added.length; next++) copy[at++] = added[next]!
  return copy
}

/** Whether the client has the response already (RFC 9110 §13.2). For a 200. */
export function isUnchanged(environ: Environ, headers: Headers): boolean {
  if (environ['HTTP_IF_NONE_MATCH'] === undefined && environ['HTTP_IF_MODIFIED_SINCE'] === undefined) return false
  return precondition(environ, validatorsOf(headers)) === 'unchanged'
}

function validatorsOf(headers: Headers): Validators {
  return { etag: headerOf(headers, 'etag'), lastModified: parseHttpDate(headerOf(headers, 'last-modified')) }
}

/** The requested part; undefined if the answer is the whole response. */
function partial(environ: Environ, headers: Headers, body: Uint8Array, wall: number): CompleteResponse | undefined {
  const size = body.length
  if (headerOf(headers, 'accept-ranges')?.toLowerCase() === 'none') return undefined
  if (!rangeHolds(environ, validatorsOf(headers), wall)) return undefined
  const ranges = byteRanges(environ['HTTP_RANGE'] as string, size, RANGES)
  if (ranges === 'whole') return undefined
  if (ranges === 'unsatisfiable') {
    const fields: Headers = [
      ['Content-Range', `bytes */${size}`],
      ['Content-Length', '0'],
    ]
    return { status: '416 Range Not Satisfiable', headers: fields, body: body.subarray(0, 0) }
  }
  const range = ranges[0]!
  const fields = withoutHeaders(headers, 'content-length')
  fields.push(['Content-Range', contentRange(range, size)], ['Content-Length', String(range.end + 1 - range.start)])
  return { status: '206 Partial Content', headers: fields, body: body.subarray(range.start, range.end + 1) }
}
