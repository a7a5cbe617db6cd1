/**
 * Returns `req.url` for an environ: the raw target if nothing has rewritten the path, so that no escape is lost;
 * otherwise PATH_INFO, which routing middleware (`mount`) changes, encoded again. Pure.
 */

import type { Environ } from '../../protocol/contract/application.ts'

export function requestUrl(environ: Environ): string {
  const raw = environ.REQUEST_URI
  const query = environ.QUERY_STRING
  const path = environ.SCRIPT_NAME + environ.PATH_INFO
  const question = raw.indexOf('?')
  const rawPath = question === -1 ? raw : raw.slice(0, question)
  const agrees = (question === -1 ? '' : raw.slice(question + 1)) === query
  // An absolute or asterisk target stays, as in Node's server.
  if (rawPath.charCodeAt(0) !== 0x2f && agrees && environ.SCRIPT_NAME === '') return raw
  if (agrees && decoded(rawPath) === path) {
    if (environ.SCRIPT_NAME === '') return raw
    const rest = raw.slice(prefixLength(rawPath, environ.SCRIPT_NAME.length))
    if (rest.charCodeAt(0) === 0x2f) return rest
    // The client sent the slash at the border as an escape, and PATH_INFO has it decoded.
    return `/${/^%2f/i.test(rest) ? rest.slice(3) : rest}`
  }
  return (encoded(environ.PATH_INFO) || '/') + (query === '' ? '' : `?${query}`)
}

function decoded(path: string): string {
  if (!path.includes('%')) return path
  return path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

/** The number of characters of `path` that encode its first `count` bytes. */
function prefixLength(path: string, count: number): number {
  let at = 0
  for (let byte = 0; byte < count; byte++) at += path.charCodeAt(at) === 0x25 ? 3 : 1
  return at
}

/** Escapes everything except the characters that RFC 3986 §3.3 allows in a path. */
function encoded(path: string): string {
  return path.replace(
    /[^A-Za-z0-9\-._~!$&'()*+,;=:@/]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  )
}
