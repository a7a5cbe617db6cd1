/**
 * The path functions of wsgiref.util: shift_path_info, guess_scheme, application_uri and request_uri (PEP 3333, "URL
 * Reconstruction"). The strings of an environ are bytes as latin1, so paths are escaped byte by byte.
 */

import type { Environ } from './application.ts'

/**
 * Moves one segment from the start of `PATH_INFO` to the end of `SCRIPT_NAME`, and returns it (`shift_path_info` of
 * wsgiref). Empty and `.` segments are skipped; `..` removes a segment from `SCRIPT_NAME`, and is returned.
 *
 * If `PATH_INFO` is `/`, the function returns `''`, and `SCRIPT_NAME` then ends in `/`, so that `/x` and `/x/` differ.
 * Unlike wsgiref, it never sets a `SCRIPT_NAME` that begins with `//`, which would name another host in a redirect.
 *
 * @param environ is changed
 * @returns undefined if no segment is left
 * @example
 * ```ts
 * import { shiftPathInfo } from 'gantry/protocol'
 *
 * const environ = { SCRIPT_NAME: '', PATH_INFO: '/users/42' }
 * console.log(shiftPathInfo(environ)) // users
 * console.log(environ.SCRIPT_NAME, environ.PATH_INFO) // /users /42
 * ```
 */
export function shiftPathInfo(environ: Pick<Environ, 'SCRIPT_NAME' | 'PATH_INFO'>): string | undefined {
  const { PATH_INFO: path, SCRIPT_NAME: script } = environ
  // A path without a leading slash is not allowed by PEP 3333 and has no defined segments.
  if (!path?.startsWith('/')) return undefined
  const segments = path.slice(1).split('/')
  // The last segment is kept even if it is empty: it shows that the path ends in a slash.
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

/**
 * The scheme that the variable `HTTPS` of a CGI server means: https for `on`, `yes` and `1` (`guess_scheme` of
 * wsgiref).
 *
 * @example
 * ```ts
 * import { guessScheme } from 'gantry/protocol'
 *
 * console.log(guessScheme({ HTTPS: 'on' })) // https
 * console.log(guessScheme({})) // http
 * ```
 */
export function guessScheme(environ: Readonly<Record<string, unknown>>): 'http' | 'https' {
  const { HTTPS } = environ
  return HTTPS === 'on' || HTTPS === 'yes' || HTTPS === '1' ? 'https' : 'http'
}

type Located = Pick<Environ, 'wsgi.url_scheme' | 'SERVER_NAME' | 'SERVER_PORT' | 'SCRIPT_NAME'> & {
  readonly [variable: string]: unknown
}

/**
 * The URL of the application: scheme, host and `SCRIPT_NAME` (`application_uri` of wsgiref). The host is the `Host`
 * header if there is one. The client chooses that header: check it before you show the URL to other users.
 *
 * @throws TypeError if the path is not a native string
 * @example
 * ```ts
 * import { applicationUri } from 'gantry/protocol'
 *
 * const address = { 'wsgi.url_scheme': 'https', SERVER_NAME: 'example.org', SERVER_PORT: '443' }
 * console.log(applicationUri({ ...address, SCRIPT_NAME: '/shop' })) // https://example.org/shop
 * ```
 */
export function applicationUri(environ: Located): string {
  return `${origin(environ)}${quoted(environ.SCRIPT_NAME || '/', ESCAPED_IN_SCRIPT)}`
}

/**
 * The URL of the request, built from the decoded variables (`request_uri` of wsgiref). The target as the client sent it
 * is `environ.REQUEST_URI`.
 *
 * @param includeQuery whether the URL has the `QUERY_STRING`
 * @throws TypeError if the path is not a native string
 * @example
 * ```ts
 * import { requestUri } from 'gantry/protocol'
 *
 * const address = { 'wsgi.url_scheme': 'http', SERVER_NAME: 'example.org', SERVER_PORT: '8080' }
 * const environ = { ...address, SCRIPT_NAME: '', PATH_INFO: '/search', QUERY_STRING: 'q=1' }
 * console.log(requestUri(environ)) // http://example.org:8080/search?q=1
 * ```
 */
export function requestUri(
  environ: Located & Pick<Environ, 'PATH_INFO' | 'QUERY_STRING'>,
  includeQuery = true,
): string {
  const path = quoted(environ.PATH_INFO ?? '', ESCAPED_IN_PATH)
  // Without a SCRIPT_NAME, the URL of the application already ends in a slash.
  const rest = !environ.SCRIPT_NAME && path.startsWith('/') ? path.slice(1) : path
  const query = includeQuery && environ.QUERY_STRING ? `?${environ.QUERY_STRING}` : ''
  return `${applicationUri(environ)}${rest}${query}`
}

function origin(environ: Located): string {
  const scheme = environ['wsgi.url_scheme']
  const host = environ['HTTP_HOST']
  if (typeof host === 'string' && host !== '') return `${scheme}://${host}`
  const { SERVER_NAME: name, SERVER_PORT: port } = environ
  // RFC 3986 §3.2.2. CGI servers send the address without brackets, although RFC 3875 §4.1.14 requires them.
  const authority = name.includes(':') && !name.startsWith('[') ? `[${name}]` : name
  return `${scheme}://${authority}${port === (scheme === 'https' ? '443' : '80') ? '' : `:${port}`}`
}

/**
 * All characters except the unreserved ones of RFC 3986 and `/`, as in urllib.parse.quote. A path may have parameters,
 * so `;`, `=` and `,` are not escaped there.
 */
const ESCAPED_IN_SCRIPT = /[^A-Za-z0-9_.~/-]/g
const ESCAPED_IN_PATH = /[^A-Za-z0-9_.~/;=,-]/g

function quoted(path: string, escaped: RegExp): string {
  return path.replace(escaped, (character) => {
    const code = character.charCodeAt(0)
    if (code > 0xff) {
      throw new TypeError(
        `the path ${JSON.stringify(path)} has the character ${JSON.stringify(character)}: expected bytes as latin1 (PEP 3333)`,
      )
    }
    return `%${code < 16 ? '0' : ''}${code.toString(16).toUpperCase()}`
  })
}
