import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type SecurityHeadersOptions, securityHeaders } from '../../middleware/security-headers.ts'
import type { Application, Headers } from '../../protocol/contract/application.ts'
import { type CallRequest, call } from '../../protocol/contract/call.ts'
import { places } from '../support/places.ts'

function answers(...headers: Headers): Application {
  return (_, start) => {
    start('200 OK', [['Content-Type', 'text/html'], ...headers])
    return [Buffer.from('page')]
  }
}

/** The response's fields as an object, without those of its content. */
async function fields(
  options: SecurityHeadersOptions,
  application: Application = answers(),
  request: CallRequest = {},
): Promise<Record<string, string>> {
  const { headers } = await call(securityHeaders(options)(application), request)
  return Object.fromEntries(headers.filter(([name]) => !/^content-(type|length)$/i.test(name)))
}

const DEFAULTS = {
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'SAMEORIGIN',
  'Referrer-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
}

describe('security headers', () => {
  it('have these defaults', async () => {
    assert.deepEqual(await fields({}), DEFAULTS)
  })

  it('include Strict-Transport-Security on https alone', async () => {
    const https = { scheme: 'https' } as const
    assert.equal((await fields({}, answers(), https))['Strict-Transport-Security'], 'max-age=31536000')
    const hsts = { maxAge: 63_072_000, includeSubDomains: true, preload: true }
    const all = await fields({ hsts }, answers(), https)
    assert.equal(all['Strict-Transport-Security'], 'max-age=63072000; includeSubDomains; preload')
    assert.equal((await fields({ hsts: false }, answers(), https))['Strict-Transport-Security'], undefined)
    const isHttps = (): boolean => true
    assert.ok((await fields({ isHttps }))['Strict-Transport-Security'])
  })

  it('do not replace a field of the application, in whatever case', async () => {
    const own: Headers = [
      ['x-frame-options', 'DENY'],
      ['REFERRER-POLICY', 'no-referrer'],
    ]
    const got = await fields({}, answers(...own))
    assert.equal(got['x-frame-options'], 'DENY')
    assert.equal(got['REFERRER-POLICY'], 'no-referrer')
    assert.ok(!('X-Frame-Options' in got) && !('Referrer-Policy' in got))
  })

  it('can be disabled', async () => {
    const off = { contentTypeOptions: false, frameOptions: false, referrerPolicy: false } as const
    assert.deepEqual(await fields({ ...off, openerPolicy: false, resourcePolicy: false }), {})
  })

  it('remove X-Powered-By by default', async () => {
    const application = answers(['X-Powered-By', 'Express'])
    assert.ok(!('X-Powered-By' in (await fields({}, application))))
    assert.equal((await fields({ stripPoweredBy: false }, application))['X-Powered-By'], 'Express')
  })

  it('include Content-Security-Policy and others if set', async () => {
    const got = await fields({
      contentSecurityPolicy: "default-src 'self'",
      contentSecurityPolicyReportOnly: "script-src 'none'",
      permissionsPolicy: 'camera=()',
    })
    assert.equal(got['Content-Security-Policy'], "default-src 'self'")
    assert.equal(got['Content-Security-Policy-Report-Only'], "script-src 'none'")
    assert.equal(got['Permissions-Policy'], 'camera=()')
    assert.equal(got['X-Frame-Options'], 'SAMEORIGIN')
  })

  it("omit X-Frame-Options if a policy has frame-ancestors, ours or the application's", async () => {
    const contentSecurityPolicy = "frame-ancestors 'none'"
    assert.ok(!('X-Frame-Options' in (await fields({ contentSecurityPolicy }))))
    const own = answers(['Content-Security-Policy', "frame-ancestors 'self'"])
    assert.ok(!('X-Frame-Options' in (await fields({}, own))))
    // The application's policy replaces ours, and has no frame-ancestors.
    const without = answers(['Content-Security-Policy', "default-src 'self'"])
    assert.ok('X-Frame-Options' in (await fields({ contentSecurityPolicy }, without)))
  })

  it('have a nonce for each request, which the application gets', async () => {
    const nonces: string[] = []
    const application: Application = (environ, start) => {
      nonces.push(String(environ['CSP_NONCE']))
      return answers()(environ, start)
    }
    const contentSecurityPolicy = "script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'"
    const middleware = securityHeaders({ contentSecurityPolicy })(application)
    for (let at = 0; at < 2; at++) {
      const { header } = await call(middleware, { environ: { CSP_NONCE: 'guessed' } })
      const nonce = nonces[at]!
      assert.match(nonce, /^[A-Za-z0-9+/]{22}==$/)
      assert.equal(header('content-security-policy'), `script-src 'nonce-${nonce}'; style-src 'nonce-${nonce}'`)
    }
    assert.notEqual(nonces[0], nonces[1])
  })

  it("do not change the application's list, and pass its body object on", () => {
    const headers: Headers = [['X-Powered-By', 'me']]
    const body = [Buffer.from('page')]
    const application: Application = (_, start) => {
      start('200 OK', headers)
      return body
    }
    const given = securityHeaders()(application)({ 'wsgi.url_scheme': 'http' } as never, () => async () => {})
    assert.equal(given, body)
    assert.equal(headers.length, 1)
  })

  it('refuse invalid values', () => {
    assert.throws(() => securityHeaders({ referrerPolicy: 'a\r\nb' }), /referrerPolicy is "a\\r\\nb"/)
    assert.throws(
      () => securityHeaders({ hsts: { maxAge: -1 } }),
      /hsts.maxAge is -1, expected a whole number of seconds/,
    )
    assert.throws(() => securityHeaders({ hsts: { preload: true } }), /only with includeSubDomains/)
  })
})

for (const place of places) {
  it(`are set ${place.name}`, async () => {
    const middleware = securityHeaders({ contentSecurityPolicy: "script-src 'nonce-{nonce}'" })
    await using placed = await place.put(middleware, (environ, start) => {
      start('200 OK', [['Content-Type', 'text/plain']])
      return [Buffer.from(String(environ['CSP_NONCE']))]
    })
    const { text, header } = await call(placed.application)
    assert.equal(header('x-content-type-options'), 'nosniff')
    assert.equal(header('content-security-policy'), `script-src 'nonce-${text}'`)
    assert.equal((await call(placed.application, { method: 'HEAD' })).header('x-frame-options'), 'SAMEORIGIN')
  })
}
