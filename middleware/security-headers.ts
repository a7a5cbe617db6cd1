/**
 * Response fields that tell browsers to be careful, on every response that does not say it otherwise itself. What each field means is the
 * browser's matter; nothing is decided here but whether it is there.
 */

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

/** Each may be `false`: then the field is not added. One that the application gave is always left as it is. */
export interface SecurityHeadersOptions {
  /**
   * Strict-Transport-Security, on https alone (RFC 6797 §7.2). Default a year, for this host alone: what covers subdomains by default takes
   * down those that have no TLS, and browsers do not forget it.
   */
  readonly hsts?: HstsOptions | false | undefined
  /** Whether the client's connection is https. Default: `wsgi.url_scheme` says so. */
  readonly isHttps?: ((environ: Environ) => boolean) | undefined
  /** X-Content-Type-Options. Default `nosniff`, its one value. */
  readonly contentTypeOptions?: 'nosniff' | false | undefined
  /**
   * X-Frame-Options. Default `SAMEORIGIN`, against clickjacking. Left out where the response's Content-Security-Policy has
   * `frame-ancestors`, which browsers obey instead.
   */
  readonly frameOptions?: 'DENY' | 'SAMEORIGIN' | false | undefined
  /** Referrer-Policy. Default `same-origin`, as Django's: `no-referrer` would break CSRF checks that look at Referer. */
  readonly referrerPolicy?: string | false | undefined
  /** Cross-Origin-Opener-Policy. Default `same-origin`. */
  readonly openerPolicy?: string | false | undefined
  /** Cross-Origin-Resource-Policy. Default `same-origin`. What other sites embed (an image service) wants `cross-origin`. */
  readonly resourcePolicy?: string | false | undefined
  /** Permissions-Policy. Not there by default: which features a site uses is its own to say. */
  readonly permissionsPolicy?: string | false | undefined
  /**
   * Content-Security-Policy. Not there by default: a policy that fits no site breaks it. `{nonce}` in it is replaced by a nonce of the
   * request's own, which the application finds as `CSP_NONCE` in its environ. A response with a nonce must not be cached within this.
   */
  readonly contentSecurityPolicy?: string | false | undefined
  /** Content-Security-Policy-Report-Only, to try a policy out; `{nonce}` as above. */
  readonly contentSecurityPolicyReportOnly?: string | false | undefined
  /** Whether the application's X-Powered-By goes. Default true: it tells attackers what to try. */
  readonly stripPoweredBy?: boolean | undefined
}

export interface HstsOptions {
  /** Seconds. Default a year, 31,536,000: the least that browsers' preload lists take. */
  readonly maxAge?: number | undefined
  /** Default false. */
  readonly includeSubDomains?: boolean | undefined
  /** Default false. */
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
/** 128 bits, as the CSP specification asks for at least (CSP3 §7.1). */
const NONCE_BYTES = 16
const NONCE = '{nonce}'

/**
 * The page that a gateway makes for an application that throws has none of these, unless `errorPage` is further in and makes it first.
 *
 * @throws TypeError for an option that is none, a value that no header field can have, or an HSTS that browsers would not take
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
      // A 101 is no document.
      startResponse(status, status.startsWith('101') ? headers : completed(headers, own, stripPoweredBy), excInfo),
    )
  }
}

/** The application's fields, then those of `own` that it did not give. */
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
      'securityHeaders: hsts.preload is taken only with includeSubDomains and a maxAge of a year or more',
    )
  }
  return `max-age=${maxAge}${includeSubDomains ? '; includeSubDomains' : ''}${preload ? '; preload' : ''}`
}

function schemeIsHttps(environ: Environ): boolean {
  return environ['wsgi.url_scheme'] === 'https'
}
