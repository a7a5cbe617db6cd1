/** What may stand in a `Location`, and the answer that carries one. It decides nothing about where to. */

import type { Body, Headers, StartResponse } from '../../protocol/contract/application.ts'

/** Everything but what RFC 3986 §3.3 lets stand in a path. A backslash among it, which browsers take for a slash. */
const NOT_IN_PATH = /[^A-Za-z0-9\-._~!$&'()*+,;=:@/]/g
/** As above and `?` (§3.4); escapes of a raw query stay. */
const NOT_IN_QUERY = /[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%]/g

/** A path of decoded bytes (a native string), percent-encoded. */
export function encodedPath(path: string): string {
  return path.replace(NOT_IN_PATH, percentEncoded)
}

/** A raw query as it is, but for what no URL may hold. */
export function cleanQuery(query: string): string {
  return query.replace(NOT_IN_QUERY, percentEncoded)
}

/** Begins with one slash: what begins with two would be taken for a host (RFC 3986 §4.2). */
export function localPath(path: string): string {
  return path.charCodeAt(0) === 0x2f && path.charCodeAt(1) !== 0x2f ? path : `/${path.replace(/^\/+/, '')}`
}

function percentEncoded(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}

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
  // RFC 9110 §15.4: a short note with the address. As text nothing in it is markup.
  const body = Buffer.from(`${location}\n`, 'latin1')
  const headers: Headers = [
    ['Location', location],
    ['Content-Type', 'text/plain; charset=utf-8'],
    ['Content-Length', String(body.length)],
  ]
  startResponse(`${status} ${REASONS[status]}`, headers)
  return [body]
}
