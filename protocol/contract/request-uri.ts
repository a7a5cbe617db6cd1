/**
 * What an application may ask of its environ's paths: the next segment, its own address, the request's. These are wsgiref.util's
 * functions (shift_path_info, guess_scheme, application_uri, request_uri; PEP 3333 §"URL Reconstruction"), with its answers.
 *
 * Strings in an environ are bytes-as-latin1, so that escaping is by byte. It does not know how an environ is made.
 */

import type { Environ } from './application.ts'

/**
 * Moves one segment from the start of `PATH_INFO` to the end of `SCRIPT_NAME`, in place, and gives it: what traverses to objects by
 * path. Empty and `.` segments are passed over; `..` takes a segment off `SCRIPT_NAME`, and is given as what it is.
 *
 * A `PATH_INFO` of `/` gives `''` and leaves a `SCRIPT_NAME` that ends in `/`, so that `/x` and `/x/` are told apart.
 *
 * Unlike wsgiref's, it never leaves a `SCRIPT_NAME` that begins with `//`: in a redirect that would name another host.
 *
 * @returns undefined when there is no segment left
 */
export function shiftPathInfo(environ: Pick<Environ, 'SCRIPT_NAME' | 'PATH_INFO'>): string | undefined {
  const { PATH_INFO: path, SCRIPT_NAME: script } = environ
  // Also a path without its slash, which PEP 3333 does not know: there is no telling what of it is a segment.
  if (!path?.startsWith('/')) return undefined
  const segments = path.slice(1).split('/')
  // The last one is kept even if it is empty: it says whether the path ended in a slash.
  const last = segments.pop()!
  const rest = [...segments.filter((segment) => segment !== '' && segment !== '.'), last]
  const name = rest.shift()!
  const grown = normalized(`${script ?? ''}/${name}`)
  environ.SCRIPT_NAME = name === '' ? `${grown}/` : grown
  environ.PATH_INFO = rest.length === 0 ? '' : `/${rest.join('/')}`
  return name === '.' ? undefined : name
}

/** A path without empty, `.` and `..` segments; the root is `''`. */
function normalized(path: string): string {
  const segments: string[] = []
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop()
    else if (segment !== '' && segment !== '.') segments.push(segment)
  }
  return segments.length === 0 ? '' : `/${segments.join('/')}`
}

/** The scheme that a CGI server's variable `HTTPS` tells of: https for `on`, `yes` and `1`. */
export function guessScheme(environ: Readonly<Record<string, unknown>>): 'http' | 'https' {
  const { HTTPS } = environ
  return HTTPS === 'on' || HTTPS === 'yes' || HTTPS === '1' ? 'https' : 'http'
}

type Located = Pick<Environ, 'wsgi.url_scheme' | 'SERVER_NAME' | 'SERVER_PORT' | 'SCRIPT_NAME'> & {
  readonly [variable: string]: unknown
}

/**
 * The application's own address: scheme, host and `SCRIPT_NAME`. The host is the `Host` header's where there is one, which is whatever
 * the client says: check it before it is put where others see it.
 *
 * @throws TypeError for a path that is no native string
 */
export function applicationUri(environ: Located): string {
  return `${origin(environ)}${quoted(environ.SCRIPT_NAME || '/', ESCAPED_IN_SCRIPT)}`
}

/**
 * The request's address. It is put together again from decoded parts, as PEP 3333 does: `environ.REQUEST_URI` is what was sent.
 *
 * @param includeQuery whether `QUERY_STRING` is part of it
 * @throws TypeError for a path that is no native string
 */
export function requestUri(
  environ: Located & Pick<Environ, 'PATH_INFO' | 'QUERY_STRING'>,
  includeQuery = true,
): string {
  const path = quoted(environ.PATH_INFO ?? '', ESCAPED_IN_PATH)
  // Without a SCRIPT_NAME, the application's address ends in a slash of its own.
  const rest = !environ.SCRIPT_NAME && path.startsWith('/') ? path.slice(1) : path
  const query = includeQuery && environ.QUERY_STRING ? `?${environ.QUERY_STRING}` : ''
  return `${applicationUri(environ)}${rest}${query}`
}

function origin(environ: Located): string {
  const scheme = environ['wsgi.url_scheme']
  const host = environ['HTTP_HOST']
  if (typeof host === 'string' && host !== '') return `${scheme}://${host}`
  const { SERVER_NAME: name, SERVER_PORT: port } = environ
  // RFC 3986 §3.2.2; CGI servers give the bare address (RFC 3875 §4.1.14 asks for the brackets).
  const authority = name.includes(':') && !name.startsWith('[') ? `[${name}]` : name
  return `${scheme}://${authority}${port === (scheme === 'https' ? '443' : '80') ? '' : `:${port}`}`
}

/** All but RFC 3986's unreserved characters and `/`, as urllib.parse.quote; in the path, which may have parameters, `;=,` stay too. */
const ESCAPED_IN_SCRIPT = /[^A-Za-z0-9_.~/-]/g
const ESCAPED_IN_PATH = /[^A-Za-z0-9_.~/;=,-]/g

function quoted(path: string, escaped: RegExp): string {
  return path.replace(escaped, (character) => {
    const code = character.charCodeAt(0)
    if (code > 0xff) {
      throw new TypeError(
        `the path ${JSON.stringify(path)} holds ${JSON.stringify(character)}: an environ's strings are bytes as latin1 (PEP 3333)`,
      )
    }
    return `%${code < 16 ? '0' : ''}${code.toString(16).toUpperCase()}`
  })
}
