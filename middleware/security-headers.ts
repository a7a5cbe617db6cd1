/** Adds response fields that make browsers safer, unless the application sets them itself. */

import { randomBytes } from 'node:crypto'
import type { Environ, Headers, Middleware } from '../protocol/contract/application.ts'
import {
  callable,
  checkOptions,
  flag,
  type OptionForm,
  type OptionForms,
  oneOf,
  orFalse,
  record,
  textOf,
  wholeNumber,
} from '../protocol/options/check-options.ts'

/** Each field can be disabled with `false`. A field that the application sets is never changed. */
export interface SecurityHeadersOptions {
  /**
   * Strict-Transport-Security, only on https (RFC 6797 §7.2). Default: a year, for this host alone. Including
   * subdomains by default would make those without TLS unreachable, and browsers do not forget it.
   */
  readonly hsts?: HstsOptions | false | undefined
  /** Whether the client's connection uses https. Default: `wsgi.url_scheme` is `https`. */
  readonly isHttps?: ((environ: Environ) => boolean) | undefined
  /** X-Content-Type-Options. Default `nosniff`, the only value. */
  readonly contentTypeOptions?: 'nosniff' | false | undefined
  /**
   * X-Frame-Options, against clickjacking. Not added if the response's Content-Security-Policy has `frame-ancestors`,
   * which browsers prefer. Default `SAMEORIGIN`.
   */
  readonly frameOptions?: 'DENY' | 'SAMEORIGIN' | false | undefined
  /** Referrer-Policy. Default `same-origin`, as in Django: `no-referrer` would break CSRF checks that read Referer. */
  readonly referrerPolicy?: string | false | undefined
  /** Cross-Origin-Opener-Policy. Default `same-origin`. */
  readonly openerPolicy?: string | false | undefined
  /**
   * Cross-Origin-Resource-Policy. Resources that other sites embed (an image service) need `cross-origin`. Default
   * `same-origin`.
   */
  readonly resourcePolicy?: string | false | undefined
  /** Permissions-Policy. Not added by default: only the site knows which features it uses. */
  readonly permissionsPolicy?: string | false | undefined
  /**
   * Content-Security-Policy. `{nonce}` in it is replaced by a new nonce for each request, which the application finds
   * as `CSP_NONCE` in its environ; a cache inside this middleware must not store such responses. Not added by default:
   * no policy fits every site.
   */
  readonly contentSecurityPolicy?: string | false | undefined
  /** Content-Security-Policy-Report-Only, for testing a policy; `{nonce}` as above. */
  readonly contentSecurityPolicyReportOnly?: string | false | undefined
  /**
   * Whether the application's X-Powered-By is removed. Default true: the field tells attackers which exploits to try.
   */
  readonly stripPoweredBy?: boolean | undefined
}

/** The value of Strict-Transport-Security (RFC 6797 §6.1). */
export interface HstsOptions {
  /** How long browsers use only https, seconds. Default 31,536,000, a year: the minimum for browsers' preload lists. */
  readonly maxAge?: number | undefined
  /** Whether the policy also covers subdomains. Default false. */
  readonly includeSubDomains?: boolean | undefined
  /** Whether browsers may add the site to their preload lists (hstspreload.org). Default false. */
  readonly preload?: boolean | undefined
}

const value: OptionForm<string | false> = orFalse(textOf('a string of printable ASCII', /^[\x20-\x7e]+$/))

const OPTIONS: OptionForms<SecurityHeadersOptions> = {
  hsts: orFalse(record('HSTS options')),
  isHttps: callable('a function of the environ'),
  contentTypeOptions: oneOf('nosniff', false),
  frameOptions: oneOf('DENY', 'SAMEORIGIN', false),
  referrerPolicy: value,
  openerPolicy: value,
  resourcePolicy: value,
  permissionsPolicy: value,
  contentSecurityPolicy: value,
  contentSecurityPolicyReportOnly: value,
  stripPoweredBy: flag,
}

const HSTS: OptionForms<HstsOptions> = {
  maxAge: wholeNumber(0, 'seconds'),
  includeSubDomains: flag,
  preload: flag,
}

const YEAR = 31_536_000
/** Bytes of a nonce: 128 bits, the minimum of the CSP specification (CSP3 §7.1). */
const NONCE_BYTES = 16
const NONCE = '{nonce}'

/**
 * Adds security fields to every response of the application.
 *
 * If the application throws, the gateway's error page has none of these fields; put `errorPage` inside this middleware.
 *
 * @throws TypeError if an option is unknown or invalid, a value cannot be a header field, or `hsts.preload` lacks what
 *   browsers require for it
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { securityHeaders } from 'gantry/middleware'
 *
 * const page: Application = (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/html']])
 *   return [Buffer.from(`<!doctype html><script nonce="${environ.CSP_NONCE}">console.log('Hello')</script>`)]
 * }
 * export const application: Application = securityHeaders({
 *   hsts: { maxAge: 31_536_000, includeSubDomains: true },
 *   contentSecurityPolicy: "script-src 'nonce-{nonce}'",
 * })(page)
 * ```
 */
export function securityHeaders(options: SecurityHeadersOptions = {}): Middleware {
  checkOptions('securityHeaders', options, OPTIONS)
  const { isHttps = schemeIsHttps, stripPoweredBy = true } = options
  const policies = [
    field('Content-Security-Policy', options.contentSecurityPolicy, false),
    field('Content-Security-Policy-Report-Only', options.contentSecurityPolicyReportOnly, false),
  ].flat()
  const fields: Headers = [
    field('X-Content-Type-Options', options.contentTypeOptions, 'nosniff'),
    field('X-Frame-Options', options.frameOptions, 'SAMEORIGIN'),
    field('Referrer-Policy', options.referrerPolicy, 'same-origin'),
    field('Cross-Origin-Opener-Policy', options.openerPolicy, 'same-origin'),
    field('Cross-Origin-Resource-Policy', options.resourcePolicy, 'same-origin'),
    field('Permissions-Policy', options.permissionsPolicy, false),
    policies,
  ].flat()
  const secure: Headers = [...fields, ...field('Strict-Transport-Security', hstsValue(options.hsts), false)]
  const nonced = policies.some(([, value]) => value.includes(NONCE))

  return (application) => (environ, startResponse) => {
    const https = isHttps(environ)
    let own = https ? secure : fields
    if (nonced) {
      const nonce = randomBytes(NONCE_BYTES).toString('base64')
      environ['CSP_NONCE'] = nonce
      own = own.map(([name, value]) => [name, value.replaceAll(NONCE, nonce)])
    }
    return application(environ, (status, headers, excInfo) =>
      // A 101 has no document to protect.
      startResponse(status, status.startsWith('101') ? headers : completed(headers, own, stripPoweredBy), excInfo),
    )
  }
}

/** The application's fields, and those of `own` that the application did not set. */
function completed(headers: Headers, own: Headers, stripPoweredBy: boolean): Headers {
  const given = new Set<string>()
  const all: Headers = []
  let ancestors = false
  for (const field of headers) {
    const name = field[0].toLowerCase()
    if (stripPoweredBy && name === 'x-powered-by') continue
    ancestors ||= name === 'content-security-policy' && field[1].includes('frame-ancestors')
    given.add(name)
    all.push(field)
  }
  const ours = !given.has('content-security-policy')
  ancestors ||= ours && own.some(([name, value]) => name === 'Content-Security-Policy' && /frame-ancestors/.test(value))
  for (const field of own) {
    if (given.has(field[0].toLowerCase()) || (ancestors && field[0] === 'X-Frame-Options')) continue
    all.push([field[0], field[1]])
  }
  return all
}

function field(name: string, value: string | false | undefined, preset: string | false): Headers {
  const chosen = value ?? preset
  return chosen === false ? [] : [[name, chosen]]
}

function hstsValue(options: HstsOptions | false = {}): string | false {
  if (options === false) return false
  checkOptions('securityHeaders', options, HSTS, 'hsts.')
  const { maxAge = YEAR, includeSubDomains = false, preload = false } = options
  if (preload && (!includeSubDomains || maxAge < YEAR)) {
    throw new TypeError(
      'securityHeaders: hsts.preload is valid only with includeSubDomains and a maxAge of at least a year (31536000)',
    )
  }
  return `max-age=${maxAge}${includeSubDomains ? '; includeSubDomains' : ''}${preload ? '; preload' : ''}`
}

function schemeIsHttps(environ: Environ): boolean {
  return environ['wsgi.url_scheme'] === 'https'
}
