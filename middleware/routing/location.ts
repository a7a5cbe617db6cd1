/** Encodes what is put into a `Location`, and answers with a redirect. Does not decide where to redirect. */

import type { Body, Headers, StartResponse } from '../../protocol/contract/application.ts'

/**
 * Characters that RFC 3986 §3.3 does not allow in a path; among them the backslash, which browsers treat as a slash.
 */
const NOT_IN_PATH = /[^A-Za-z0-9\-._~!$&'()*+,;=:@/]/g
/** The same for a query, which may also contain `?` (§3.4). Existing escapes stay. */
const NOT_IN_QUERY = /[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%]/g

/** Percent-encodes a decoded path (bytes as latin1). */
export function encodedPath(path: string): string {
  return path.replace(NOT_IN_PATH, percentEncoded)
}

/** Percent-encodes only what no URL may contain: the query is encoded already. */
export function cleanQuery(query: string): string {
  return query.replace(NOT_IN_QUERY, percentEncoded)
}

/** Makes a path begin with exactly one slash: two would begin a host (RFC 3986 §4.2). */
export function localPath(path: string): string {
  return path.charCodeAt(0) === 0x2f && path.charCodeAt(1) !== 0x2f ? path : `/${path.replace(/^\/+/, '')}`
}

function percentEncoded(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}

/** The status of a redirect (RFC 9110 §15.4). */
export type RedirectStatus = 301 | 302 | 303 | 307 | 308

const REASONS: Readonly<Record<RedirectStatus, string>> = {
  301: 'Moved Permanently',
  302: 'Found',
  303: 'See Other',
  307: 'Temporary Redirect',
  308: 'Permanent Redirect',
}

/** Answers with a redirect. @param location a URL or path, encoded */
export function answerRedirect(startResponse: StartResponse, status: RedirectStatus, location: string): Body {
  // A short note with the address (RFC 9110 §15.4), as text, so that nothing in it is markup.
  const body = Buffer.from(`${location}\n`, 'latin1')
  const headers: Headers = [
    ['Location', location],
    ['Content-Type', 'text/plain; charset=utf-8'],
    ['Content-Length', String(body.length)],
  ]
  startResponse(`${status} ${REASONS[status]}`, headers)
  return [body]
}
