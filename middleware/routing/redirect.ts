/**
 * Answers with redirects. Values from the request are encoded, so that they cannot end a header or a path, and they
 * never become a host: a path that begins with `//` stays a path.
 */

import type { Application, Body, Environ, Middleware, StartResponse } from '../../protocol/contract/application.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import { checkOptions, type OptionForm, type OptionForms, oneOf, textOf } from '../../protocol/options/check-options.ts'
import { answerRedirect, cleanQuery, localPath, type RedirectStatus } from './location.ts'
import { compilePattern, compileTemplate, hostOf, literalUrl, shown, type Template } from './template.ts'

/** The options of `redirect` and `redirect.to`. */
export interface RedirectOptions {
  /**
   * The status. 307 and 308 keep the method and the body; with 301 and 302 a POST may become a GET, with 303 it does
   * (RFC 9110 §15.4). Default 307: temporary, because browsers keep a permanent redirect for ever, including a wrong
   * one.
   */
  readonly status?: RedirectStatus | undefined
  /**
   * Whether the request's query is appended to a template that does not contain it. Default `keep`, as nginx's
   * `rewrite`.
   */
  readonly query?: 'keep' | 'drop' | undefined
}

/** The options of `redirect.https`. */
export interface HttpsOptions {
  /** The status. Default 308. */
  readonly status?: RedirectStatus | undefined
  /** The host to redirect to, with a port if necessary. Default: the request's Host without its port. */
  readonly host?: string | undefined
}

/**
 * The target: a template, or a function that is called for each request; if it returns undefined, the request passes.
 */
export type RedirectTarget = string | ((match: RegExpExecArray, environ: Environ) => string | undefined)

/** The function `redirect`, with its variants. */
export interface Redirect {
  /**
   * Redirects requests whose PATH_INFO matches `from`, and passes all others on.
   *
   * @param from a whole path, the beginning of a path (`/old/*`), or a RegExp
   * @param to a path on the same host (`/new/$1`) or a URL (`https://www.example.com/$1`, `https://$host$request_uri`).
   *   SCRIPT_NAME is not prepended: write `$script_name/new` if needed. In the host of a URL only `$host` may come from
   *   the request. A function returns the same forms; the query is not appended to its result.
   * @throws TypeError if a pattern, a template or an option is invalid
   * @example
   * ```ts
   * import type { Application } from 'gantry'
   * import { compose, redirect } from 'gantry/middleware'
   *
   * const site: Application = (_environ, startResponse) => {
   *   startResponse('200 OK', [['Content-Type', 'text/plain']])
   *   return [Buffer.from('Hello\n')]
   * }
   * export const application: Application = compose(
   *   redirect.https(),
   *   redirect('/blog/*', 'https://blog.example.com/$1', { status: 308 }),
   *   site,
   * )
   * ```
   */
  (from: string | RegExp, to: RedirectTarget, options?: RedirectOptions): Middleware
  /**
   * An application that redirects every request, for `mount`. `$path` is the path after the prefix: `'/old':
   * redirect.to('/new$path')`.
   *
   * @throws TypeError if the target or an option is invalid
   */
  to(to: string, options?: RedirectOptions): Application
  /**
   * Redirects HTTP requests to the same address with HTTPS. A front-end that terminates TLS must send
   * `X-Forwarded-Proto` and be among `--trusted-peers`, otherwise clients are redirected for ever. Without one of our
   * gateways every peer is trusted: a false scheme then only prevents the redirect of the client that sent it.
   * `securityHeaders` sets `Strict-Transport-Security`.
   *
   * @throws TypeError if an option is unknown or invalid
   */
  https(options?: HttpsOptions): Middleware
}

const STATUS: OptionForm<RedirectStatus> = oneOf(301, 302, 303, 307, 308)

const OPTIONS: OptionForms<RedirectOptions> = { status: STATUS, query: oneOf('keep', 'drop') }

const HTTPS: OptionForms<HttpsOptions> = {
  status: STATUS,
  host: textOf('a name, with :PORT if need be', /^(?:[\w-]+(?:\.[\w-]+)*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/),
}

type Locate = (match: RegExpExecArray, environ: Environ) => string | undefined

function redirecting(from: string | RegExp, to: RedirectTarget, options: RedirectOptions = {}): Middleware {
  checkOptions('redirect', options, OPTIONS)
  const pattern = compilePattern(from, 'redirect()')
  const status = options.status ?? 307
  const locate = locator(to, options, 'redirect()')
  return (application) => (environ, startResponse) => {
    const match = pattern(environ.PATH_INFO)
    if (match === null) return application(environ, startResponse)
    return answer(locate(match, environ), status, environ, startResponse) ?? application(environ, startResponse)
  }
}

function redirectTo(to: string, options: RedirectOptions = {}): Application {
  checkOptions('redirect.to', options, OPTIONS)
  const status = options.status ?? 307
  if (typeof to !== 'string') throw new TypeError(`redirect.to(): expected a path or a URL, got ${shown(to)}`)
  const locate = locator(to, options, 'redirect.to()')
  const all = /^[\s\S]*$/
  return (environ, startResponse) =>
    answer(locate(all.exec(environ.PATH_INFO)!, environ), status, environ, startResponse) as Body
}

function redirectToHttps(options: HttpsOptions = {}): Middleware {
  checkOptions('redirect.https', options, HTTPS)
  const { status = 308, host } = options
  const { expand } = compileTemplate('$request_uri', 'path', 'redirect.https()')
  const none = /^/.exec('')!
  return (application) => (environ, startResponse) => {
    if (isHttps(environ)) return application(environ, startResponse)
    const name = host ?? hostOf(environ)
    // OPTIONS * has no path.
    const location = name && `https://${name}${localPath(environ.REQUEST_URI === '*' ? '/' : expand(none, environ))}`
    return answer(location, status, environ, startResponse) as Body | Promise<Body>
  }
}

function isHttps(environ: Environ): boolean {
  if (environ['wsgi.url_scheme'] === 'https') return true
  const scheme = environ['HTTP_X_FORWARDED_PROTO']
  // In a list, the first scheme is that of the client's connection.
  return typeof scheme === 'string' && /^\s*https\s*(?:,|$)/i.test(scheme)
}

const badHost = statusPage(400)

/** @param location `''` if the request has no valid host; undefined if the request passes */
function answer(
  location: string | undefined,
  status: RedirectStatus,
  environ: Environ,
  startResponse: StartResponse,
): Body | Promise<Body> | undefined {
  if (location === undefined) return undefined
  if (location === '') return badHost(environ, startResponse)
  return answerRedirect(startResponse, status, location)
}

/** The origin of a template. The host ends before anything else that may come from the request. */
const ORIGIN = /^(?:https?|\$scheme):\/\/((?:[^/?#$\\]|\$host(?![a-z_]))*)/

function locator(to: unknown, options: RedirectOptions, label: string): Locate {
  const keep = options.query !== 'drop'
  if (typeof to === 'function') {
    return (match, environ) => {
      const location: unknown = to(match, environ)
      return location === undefined ? undefined : checkedLocation(location, label)
    }
  }
  if (typeof to !== 'string') throw notATarget(to, label)
  const origin = ORIGIN.exec(to)
  if (origin === null ? !/^(?:\/(?![/\\])|\$)/.test(to) : origin[1] === '') throw notATarget(to, label)
  const before = compileTemplate(origin?.[0] ?? '', 'path', label)
  const after = compileTemplate(to.slice(origin?.[0].length ?? 0), 'path', label)
  const keeps = keep && !after.uses.has('query') && !after.uses.has('request_uri')
  const needsHost = before.uses.has('host')
  return (match, environ) => {
    if (needsHost && hostOf(environ) === '') return ''
    const location = join(before, after.expand(match, environ), match, environ)
    return keeps && environ.QUERY_STRING !== '' ? withQuery(location, cleanQuery(environ.QUERY_STRING)) : location
  }
}

function join(origin: Template, rest: string, match: RegExpExecArray, environ: Environ): string {
  if (origin.text === '') return localPath(rest)
  // The separator keeps the rest from extending the host.
  return origin.expand(match, environ) + (rest === '' || /^[/?#]/.test(rest) ? rest : `/${rest}`)
}

function withQuery(location: string, query: string): string {
  const hash = location.indexOf('#')
  const url = hash === -1 ? location : location.slice(0, hash)
  return `${url}${url.includes('?') ? '&' : '?'}${query}${hash === -1 ? '' : location.slice(hash)}`
}

function checkedLocation(location: unknown, label: string): string {
  if (typeof location === 'string') {
    if (/^https?:\/\/[^/?#\\]/i.test(location)) return literalUrl(location)
    if (location.startsWith('/')) return localPath(literalUrl(location))
  }
  throw notATarget(location, label)
}

function notATarget(to: unknown, label: string): TypeError {
  return new TypeError(
    `${label}: the target is ${shown(to)}, expected a path ("/new/$1", one slash) or a URL whose host is written out or $host ("https://www.example.com/$1")`,
  )
}

/**
 * Redirects requests by path; `redirect.to` and `redirect.https` are variants for `mount` and for TLS. See `Redirect`.
 */
export const redirect: Redirect = Object.assign(redirecting, { to: redirectTo, https: redirectToHttps })
