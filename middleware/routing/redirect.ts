/**
 * Sends clients elsewhere. What comes from a request is put into a `Location` encoded, so that it ends no header and no path, and never where
 * a host stands: a path that begins with `//` stays a path.
 */

import type { Application, Body, Environ, Middleware, StartResponse } from '../../protocol/contract/application.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import { checkOptions, type OptionForm, type OptionForms, oneOf, textOf } from '../../protocol/options/check-options.ts'
import { answerRedirect, cleanQuery, localPath, type RedirectStatus } from './location.ts'
import { compilePattern, compileTemplate, hostOf, literalUrl, shown, type Template } from './template.ts'

export interface RedirectOptions {
  /**
   * 307 and 308 keep the method and body of a request; 301 and 302 let a POST become a GET, 303 makes it one (RFC 9110 §15.4). Default 307:
   * temporary, since browsers keep a permanent one for good, and a mistake with it.
   */
  readonly status?: RedirectStatus | undefined
  /** Whether the request's query is appended to a template that does not name it. Default `keep`, as nginx's `rewrite`. */
  readonly query?: 'keep' | 'drop' | undefined
}

export interface HttpsOptions {
  /** Default 308. */
  readonly status?: RedirectStatus | undefined
  /** Send everybody to this name, with a port if need be. Default: the request's own Host, without its port. */
  readonly host?: string | undefined
}

/** Where to: a template, or a function that is asked at each request and may answer undefined, to let it pass. */
export type RedirectTarget = string | ((match: RegExpExecArray, environ: Environ) => string | undefined)

export interface Redirect {
  /**
   * Redirects requests whose PATH_INFO matches `from`, and passes others on. `from` is a whole path, the beginning of one (`/old/*`), or a
   * RegExp.
   *
   * `to` is a path on the same host (`/new/$1`) or a URL (`https://www.example.com/$1`, `https://$host$request_uri`). It stands in
   * `Location` as it is written: SCRIPT_NAME is not put before it; `$script_name/new` says so. Of a URL's host only `$host`
   * may come from the request. What a function returns is taken the same way, and gets no query.
   *
   * @throws TypeError for a pattern, template or option that is none
   */
  (from: string | RegExp, to: RedirectTarget, options?: RedirectOptions): Middleware
  /** Redirects every request: an application, for `mount`. `$path` is what follows the prefix: `'/old': redirect.to('/new$path')`. */
  to(to: string, options?: RedirectOptions): Application
  /**
   * Redirects requests that came over HTTP to the same address over HTTPS. A front that ends TLS must send
   * `X-Forwarded-Proto` and be among `--trusted-peers`, else clients are redirected for ever. Without one of our
   * gateways every peer is trusted: a false scheme only prevents its sender's redirect. `securityHeaders` sets
   * `Strict-Transport-Security`.
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
    if (cameByHttps(environ)) return application(environ, startResponse)
    const name = host ?? hostOf(environ)
    // OPTIONS * has no path.
    const location = name && `https://${name}${localPath(environ.REQUEST_URI === '*' ? '/' : expand(none, environ))}`
    return answer(location, status, environ, startResponse) as Body | Promise<Body>
  }
}

function cameByHttps(environ: Environ): boolean {
  if (environ['wsgi.url_scheme'] === 'https') return true
  const said = environ['HTTP_X_FORWARDED_PROTO']
  // Of several, the client's own connection is the first.
  return typeof said === 'string' && /^\s*https\s*(?:,|$)/i.test(said)
}

const badHost = statusPage(400)

/** @param location `''`: it has no host; undefined: there is none */
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

/** The origin of a template: its host ends before whatever else may come from a request. */
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
  // Whatever follows, it does not make the host longer.
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

export const redirect: Redirect = Object.assign(redirecting, { to: redirectTo, https: redirectToHttps })
