/**
 * The key of a stored response: its URI, and a suffix of everything else that applications generate responses from,
 * whether `Vary` names it or not. `policy.ts` compares what `Vary` names.
 */

// An unsafe request invalidates by the URI alone (RFC 9111 §4.4). The suffix prevents cache poisoning: if an
// application writes links from `X-Forwarded-Host`, one client could otherwise fill the cache with links for all.

import type { Environ } from '../../protocol/contract/application.ts'

/**
 * Fields from which frameworks read host, scheme, path or method without naming them in `Vary`. Absent fields cost
 * nothing. With the `forwarded` middleware outside, clients cannot set the first of them.
 */
const UNDECLARED: readonly string[] = [
  'HTTP_X_FORWARDED_HOST',
  'HTTP_X_FORWARDED_PROTO',
  'HTTP_X_FORWARDED_PORT',
  'HTTP_X_FORWARDED_PREFIX',
  'HTTP_X_FORWARDED_SSL',
  'HTTP_X_FORWARDED_SCHEME',
  'HTTP_X_FORWARDED_SERVER',
  'HTTP_X_FORWARDED_PATH',
  'HTTP_X_FORWARDED_URI',
  'HTTP_X_SCRIPT_NAME',
  'HTTP_X_ORIGINAL_HOST',
  'HTTP_X_HOST',
  'HTTP_X_ORIGINAL_URL',
  'HTTP_X_REWRITE_URL',
  'HTTP_X_URL_SCHEME',
  'HTTP_FRONT_END_HTTPS',
  'HTTP_X_HTTP_METHOD_OVERRIDE',
  'HTTP_X_HTTP_METHOD',
  'HTTP_X_METHOD_OVERRIDE',
]
const FORWARDED = /(?:host|proto)\s*=\s*("(?:[^"\\]|\\.)*"|[^;,\s]*)/gi

/** Request header variables that are part of every key, and that background requests therefore keep. */
export const keyedVariables: readonly string[] = UNDECLARED

/** Scheme, normalised host, raw path and query of the request as the client sent it. */
export function uriOf(environ: Environ): string {
  const scheme = environ['wsgi.url_scheme']
  return `${scheme}://${hostOf(environ, scheme)}${targetOf(environ.REQUEST_URI)}`
}

/**
 * The part of the key besides the URI. Each value follows its length, so that no two requests share a key by accident.
 *
 * SCRIPT_NAME, PATH_INFO and QUERY_STRING are part of it because middleware outside may have rewritten them, while
 * REQUEST_URI never changes.
 */
export function keySuffixOf(environ: Environ, mountIndex: number, own: string): string {
  const { SCRIPT_NAME: script, PATH_INFO: path, QUERY_STRING: query, REQUEST_URI: target } = environ
  let rest = `${mountIndex}:${script.length}:${path.length}:${query.length}:${own.length}:${script}${path}${query}${own}`
  for (let at = 0; at < UNDECLARED.length; at++) {
    const value = environ[UNDECLARED[at]!]
    if (value !== undefined) rest += `|${at}=${(value as string).length}:${value}`
  }
  const forwarded = environ['HTTP_FORWARDED']
  if (forwarded !== undefined) {
    for (const [parameter] of (forwarded as string).matchAll(FORWARDED)) rest += `|f=${parameter.length}:${parameter}`
  }
  // An absolute target may name another host than Host, and the application sees both (RFC 9112 §3.2.2).
  if (target.charCodeAt(0) !== 0x2f) rest += `|t=${target}`
  return rest
}

/**
 * The URI of a `Location` or `Content-Location` in the response to a request for `uri`; undefined if it has another
 * origin, which an application may not invalidate (RFC 9111 §4.4).
 */
export function sameOrigin(location: string, uri: string): string | undefined {
  try {
    const base = new URL(uri)
    const found = new URL(location, base)
    return found.origin === base.origin ? uri.slice(0, originLength(uri)) + found.pathname + found.search : undefined
  } catch {
    return undefined
  }
}

function originLength(uri: string): number {
  const path = uri.indexOf('/', uri.indexOf('://') + 3)
  return path === -1 ? uri.length : path
}

function hostOf(environ: Environ, scheme: string): string {
  const host = environ['HTTP_HOST'] as string | undefined
  if (host === undefined || host === '') return `${environ.SERVER_NAME}:${environ.SERVER_PORT}`.toLowerCase()
  return normalHost(host, scheme)
}

function normalHost(host: string, scheme: string): string {
  if (!/[A-Z]|:(?:80|443)?$|\.(?::|$)/.test(host)) return host
  const plain = host.toLowerCase().replace(scheme === 'https' ? /:(?:443)?$/ : /:(?:80)?$/, '')
  return plain.replace(/\.(?=:|$)/, '')
}

function targetOf(target: string): string {
  if (target.charCodeAt(0) === 0x2f) return target
  const scheme = target.indexOf('://')
  if (scheme === -1) return `/${target}`
  const at = target.slice(scheme + 3).search(/[/?]/)
  if (at === -1) return '/'
  const rest = target.slice(scheme + 3 + at)
  return rest.charCodeAt(0) === 0x3f ? `/${rest}` : rest
}
