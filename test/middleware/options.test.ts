import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type CgiOptions, cgi } from '../../container/cgi/cgi.ts'
import { makeServer, type SimpleServerOptions } from '../../container/simple-server.ts'
import * as middleware from '../../middleware/index.ts'
import type { Application } from '../../protocol/contract/application.ts'

const application: Application = () => []

const STYLES =
  '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/"/></xsl:stylesheet>'

interface Factory {
  readonly make: (options: unknown) => unknown
  /** For each option a value that it does not take, of a form that another option may well have. */
  readonly wrong: Readonly<Record<string, unknown>>
  /** What is taken, beside nothing. */
  readonly good: object
}

/** Every option has its line: the compiler says which one is missing. */
type Wrong<O> = { readonly [K in keyof O]-?: unknown }

const factory = <O>(make: (options: never) => unknown, wrong: Wrong<O>, good: O & object): Factory => ({
  make: make as (options: unknown) => unknown,
  wrong,
  good,
})

const clock = { now: 0 }
const log = { log: () => {} }

const factories: Readonly<Record<string, Factory>> = {
  accessLog: factory<middleware.AccessLogOptions>(
    middleware.accessLog,
    { format: 'common', to: '/var/log/access.log', log: console.log, skip: '/healthz', clock },
    { format: 'combined', to: () => {}, skip: undefined },
  ),
  basicAuth: factory<middleware.BasicAuthOptions>(
    middleware.basicAuth,
    { htpasswd: 5, users: 'ann:secret', verify: true, realm: 'Ä', passAuthorization: 1, log, clock },
    { verify: () => true, realm: '' },
  ),
  bodyLimit: factory<middleware.BodyLimitOptions>(middleware.bodyLimit, { limit: '1MiB' }, { limit: 0 }),
  cache: factory<middleware.CacheOptions>(
    middleware.cache,
    {
      maxBytes: 0,
      maxObjectBytes: '1MiB',
      maxEntries: 1.5,
      maxVariants: Number.NaN,
      staleWhileRevalidate: -1,
      staleIfError: true,
      heuristic: 2,
      setCookie: 'keep',
      clientDirectives: 'no',
      waitLimit: '5s',
      passTime: null,
      maxBackground: -1,
      backgroundTimeout: 0,
      key: 'tenant',
      carry: 'REMOTE_USER',
      report: true,
      name: 'a b',
      log,
      clock,
    },
    { maxBytes: 1024, report: 'both' },
  ),
  compress: factory<middleware.CompressOptions>(
    middleware.compress,
    { encodings: ['deflate'], threshold: -1, levels: 5, compressible: /text/ },
    { encodings: ['gzip'], levels: { gzip: 9 } },
  ),
  conditional: factory<middleware.ConditionalOptions>(middleware.conditional, { etagMaxSize: -1 }, { etagMaxSize: 0 }),
  errorPage: factory<middleware.ErrorPageOptions>(
    middleware.errorPage,
    { pages: '404.html', replace: 'yes', log },
    { pages: { 404: application }, replace: true },
  ),
  forwarded: factory<middleware.ForwardedOptions>(
    middleware.forwarded,
    { trustedPeers: 'loopback', fields: 'X-Forwarded-For' },
    { trustedPeers: ['loopback'], fields: ['Forwarded'] },
  ),
  healthCheck: factory<middleware.HealthCheckOptions>(
    middleware.healthCheck,
    { live: '/livez', ready: ['readyz'], check: true, timeout: 0, log, clock },
    { live: [], timeout: Number.POSITIVE_INFINITY },
  ),
  mount: factory<middleware.MountOptions>(
    (options) => middleware.mount({ '/': application }, options),
    { notFound: 404 },
    { notFound: application },
  ),
  redirect: factory<middleware.RedirectOptions>(
    (options) => middleware.redirect('/a', '/b', options),
    { status: 304, query: true },
    { status: 301, query: 'drop' },
  ),
  'redirect.to': factory<middleware.RedirectOptions>(
    (options) => middleware.redirect.to('/b', options),
    { status: '301', query: 'no' },
    { status: 308 },
  ),
  'redirect.https': factory<middleware.HttpsOptions>(
    middleware.redirect.https,
    { status: 200, host: 'https://example.com' },
    { host: 'example.com:8443' },
  ),
  requestId: factory<middleware.RequestIdOptions>(
    middleware.requestId,
    { trustedPeers: ['loopback'] },
    { trustedPeers: { has: () => true } },
  ),
  rewrite: factory<middleware.RewriteOptions>(
    (options) => middleware.rewrite('/a', '/b', options),
    { query: false },
    { query: 'drop' },
  ),
  securityHeaders: factory<middleware.SecurityHeadersOptions>(
    middleware.securityHeaders,
    {
      hsts: true,
      isHttps: true,
      contentTypeOptions: true,
      frameOptions: 'deny',
      referrerPolicy: '',
      openerPolicy: null,
      resourcePolicy: 'same\norigin',
      permissionsPolicy: {},
      contentSecurityPolicy: 5,
      contentSecurityPolicyReportOnly: ["default-src 'self'"],
      stripPoweredBy: 'no',
    },
    { hsts: false, frameOptions: 'DENY', contentSecurityPolicy: "default-src 'self'" },
  ),
  sendFile: factory<middleware.SendFileOptions>(
    middleware.sendFile,
    { root: 5, accel: { '/protected/': 5 }, followSymlinks: 'no', maxRanges: 0, log, clock },
    { root: [import.meta.dirname], maxRanges: 1 },
  ),
  signals: factory<middleware.SignalsOptions>(middleware.signals, { log }, { log: console }),
  staticFiles: factory<middleware.StaticFilesOptions>(
    (options) => middleware.staticFiles(import.meta.dirname, options),
    {
      index: 'index.html',
      redirect: 301,
      dotfiles: 'allow',
      followSymlinks: 1,
      precompressed: true,
      maxAge: '1h',
      immutable: 'yes',
      headers: { 'X-A': 'b' },
      types: { html: 5 },
      fallback: 404,
      maxRanges: 0,
      log,
      clock,
    },
    { index: false, precompressed: ['br'], maxAge: 0, headers: [['X-A', 'b']], fallback: 'index.html' },
  ),
  timeout: factory<middleware.TimeoutOptions>(
    middleware.timeout,
    { firstByte: '30s', total: 0, log, clock },
    { firstByte: 1_000, total: Number.POSITIVE_INFINITY },
  ),
  xslt: factory<middleware.XsltOptions>(
    (options) => middleware.xslt(STYLES, options),
    {
      types: 'text/xml',
      negotiate: 'Accept',
      parameters: { title: 'x' },
      contentType: '',
      maxBytes: 0,
      timeout: '10s',
      maxQueue: 1.5,
      log,
      clock,
    },
    { types: ['+xml'], parameters: () => ({}) },
  ),
  cgi: factory<CgiOptions>(
    (options) => cgi('/srv/cgi-bin/program', options),
    {
      args: '-v',
      cwd: 5,
      variables: ['A=B'],
      inherit: 'PATH',
      documentRoot: '',
      passAuthorization: 'yes',
      local: '/',
      headTimeout: '1s',
      idleTimeout: -1,
      headLimit: 0,
      killGrace: null,
      concurrency: 0,
      queue: -1,
      stderrLimit: '64KiB',
      log,
      clock,
    },
    { args: [], killGrace: 0, queue: 0 },
  ),
}

/** Exported functions that take no options. */
const WITHOUT = ['HtpasswdError', 'compose', 'isCompressible']

/** Options of theirs are never shown, so that nothing is that came in their place. */
const SECRETIVE: ReadonlySet<string> = new Set(['basicAuth', 'cgi'])

/** The words in which an error of `make` is said, once it is seen to be of the right kind. */
function refusal(make: () => unknown): string {
  try {
    make()
  } catch (error) {
    assert.ok(error instanceof TypeError, `${String(error)} is no TypeError`)
    return error.message
  }
  return assert.fail('it was taken')
}

describe('the options of', () => {
  for (const [name, { make, wrong, good }] of Object.entries(factories)) {
    describe(name, () => {
      it('are refused where they have a name that is none, with the one that was meant', () => {
        assert.match(
          refusal(() => make({ ...good, nonsense: 5 })),
          new RegExp(`^${name}: unknown option nonsense, expected (?:any of )?${Object.keys(wrong)[0]}`),
        )
        for (const option of Object.keys(wrong)) {
          const misspelt = `${option}s`
          assert.equal(
            refusal(() => make({ ...good, [misspelt]: 1 })),
            `${name}: unknown option ${misspelt}; did you mean ${option}?`,
          )
        }
      })

      for (const [option, value] of Object.entries(wrong)) {
        it(`are refused where ${option} has another form, with what came and what was expected`, () => {
          const message = refusal(() => make({ ...good, [option]: value }))
          assert.match(message, new RegExp(`^${name}: the option ${option} is \\S.*, expected \\S`))
          assert.ok(message.length < 300 && !message.includes('\n'), message)
        })
      }

      for (const [what, value, shown, kind = what] of [
        ['a string', 'x', '"x"'],
        ['a number', 7, '7'],
        ['null', null, 'null'],
        ['an array', [], '[]'],
        ['an instance of a class', new Map(), 'Map(0) {}', 'an object of a class'],
        ['an application', application, '[Function: application]', 'a function'],
      ] as const) {
        it(`are refused where ${what} came`, () => {
          const message = refusal(() => make(value))
          const given = SECRETIVE.has(name) ? kind : shown
          assert.ok(message.startsWith(`${name}: the options are ${given}, expected an object with `), message)
          for (const option of Object.keys(wrong)) assert.ok(message.includes(option), message)
        })
      }

      it('are taken where they are right, with undefined for what is left out, and of no prototype', () => {
        const left = Object.fromEntries(Object.keys(wrong).map((option) => [option, undefined]))
        make({ ...left, ...good })
        make(Object.assign(Object.create(null), good))
      })
    })
  }

  it('every exported factory are in this table', () => {
    const functions = Object.entries(middleware).flatMap(([name, value]) => (typeof value === 'function' ? [name] : []))
    const tested = new Set([...Object.keys(factories), ...WITHOUT])
    assert.deepEqual(
      functions.filter((name) => !tested.has(name)),
      [],
    )
  })
})

describe('options', () => {
  it('given without their name are named, where they can be only one', () => {
    const expectations: readonly (readonly [make: () => unknown, hint: RegExp])[] = [
      [() => middleware.accessLog('combined' as never), /; did you mean \{ format: "combined" \}\?$/],
      [() => middleware.bodyLimit(1024 as never), /; did you mean \{ limit: 1024 \}\?$/],
      [() => middleware.compress(['gzip'] as never), /; did you mean \{ encodings: \[ 'gzip' \] \}\?$/],
      [() => middleware.forwarded(['loopback'] as never), /; did you mean \{ trustedPeers: \[ 'loopback' \] \}\?$/],
      [() => middleware.timeout(1_000 as never), /clock$/],
      [() => middleware.errorPage('x' as never), /expected an object with any of pages, replace, log$/],
    ]
    for (const [make, hint] of expectations) assert.match(refusal(make), hint)
  })

  it('are known by another case, and by their initials', () => {
    assert.match(
      refusal(() => middleware.securityHeaders({ csp: 5 } as never)),
      /unknown option csp; did you mean contentSecurityPolicy\?$/,
    )
    assert.match(
      refusal(() => middleware.cache({ max_bytes: 5 } as never)),
      /did you mean maxBytes\?$/,
    )
  })

  it('within others are refused by their whole name', () => {
    const expectations: readonly (readonly [make: () => unknown, message: RegExp])[] = [
      [
        () => middleware.securityHeaders({ hsts: { maxage: 5 } as never }),
        /^securityHeaders: unknown option hsts.maxage; did you mean hsts.maxAge\?$/,
      ],
      [
        () => middleware.securityHeaders({ hsts: { preload: 'yes' as never } }),
        /^securityHeaders: the option hsts.preload is "yes", expected true or false$/,
      ],
      [
        () => middleware.compress({ levels: { lzma: 1 } as never }),
        /^compress: unknown option levels.lzma, expected any of br, zstd, gzip$/,
      ],
    ]
    for (const [make, message] of expectations) assert.match(refusal(make), message)
  })

  it('that hold secrets are never shown', () => {
    for (const users of ['ann:secret', ['secret'], new Map([['ann', 'secret']])]) {
      const message = refusal(() => middleware.basicAuth({ users: users as never }))
      assert.match(message, /^basicAuth: the option users is (?:a string|an array|an object of a class), expected/)
    }
    for (const options of [{ password: 'secret' }, 'ann:secret', ['secret'], new Map([['ann', 'secret']])]) {
      assert.doesNotMatch(
        refusal(() => middleware.basicAuth(options as never)),
        /secret/,
      )
    }
    assert.doesNotMatch(
      refusal(() => cgi('/x', { variables: { TOKEN: 'secret\0' } })),
      /secret/,
    )
  })

  it('named as what every object has are none', () => {
    assert.match(
      refusal(() => middleware.bodyLimit({ constructor: 5, limit: 1 } as never)),
      /unknown option constructor/,
    )
  })

  it('are shown short, and on one line', () => {
    const message = refusal(() => middleware.bodyLimit({ limit: `a\n${'b'.repeat(10_000)}` as never }))
    assert.ok(message.length < 250 && !message.includes('\n'), message)
    assert.doesNotMatch(
      refusal(() => middleware.timeout(new Error('x') as never)),
      /\n/,
    )
  })

  it('that must be there are missed', () => {
    assert.match(
      refusal(() => middleware.forwarded({} as never)),
      /^forwarded: the option trustedPeers is missing, expected an array of ranges/,
    )
  })
})

describe('the options of makeServer', () => {
  const wrong: Wrong<SimpleServerOptions> = { log, limits: 1024, timeouts: '1s', drainTimeout: -1 }
  const made = (options: unknown): Promise<unknown> => makeServer('127.0.0.1', 0, application, options as never)

  it('are refused before anything listens', async () => {
    for (const [option, value] of Object.entries(wrong)) {
      const message = new RegExp(`^makeServer: the option ${option} is .*, expected `)
      await assert.rejects(made({ [option]: value }), { name: 'TypeError', message })
    }
    for (const [options, message] of [
      ['x', 'makeServer: the options are "x", expected an object with any of log, limits, timeouts, drainTimeout'],
      [{ limit: {} }, 'makeServer: unknown option limit; did you mean limits?'],
      [
        { limits: { bodies: 5 } },
        'makeServer: unknown option limits.bodies, expected any of target, head, fields, body, chunkOverhead, readAhead, discard',
      ],
      [
        { timeouts: { head: '1s' } },
        'makeServer: the option timeouts.head is "1s", expected a number of milliseconds, 0 or more, or Infinity',
      ],
    ] as const) {
      await assert.rejects(made(options), { name: 'TypeError', message })
    }
  })
})
