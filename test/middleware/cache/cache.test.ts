import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { cache } from '../../../middleware/cache/cache.ts'
import type { Headers } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import { FakeClock } from '../../support/clock.ts'
import { type Place, places } from '../../support/places.ts'
import { cached, counting } from './cached.ts'

const FRESH: Headers = [['Cache-Control', 'max-age=60']]
/** Methods as lint requires them. */
const TYPED: Headers = [...FRESH, ['Content-Type', 'text/plain']]
/** The wall time of FakeClock as an HTTP date, some seconds earlier. */
const before = (seconds: number): string => new Date(new FakeClock().wall() - seconds * 1000).toUTCString()

for (const place of places) {
  describe(`a cache ${place.name}`, () => {
    const put = (...given: Parameters<Place['put']>) => place.put(...given)

    it('answers the second request itself', async () => {
      await using placed = await put(cache({ report: 'x-cache' }), counting(TYPED))
      const first = await call(placed.application)
      const second = await call(placed.application)
      assert.deepEqual([first.text, first.header('x-cache')], ['answer 1', 'MISS'])
      assert.deepEqual([second.text, second.header('x-cache')], ['answer 1', 'HIT'])
    })

    it('streams a miss while it stores the response', async () => {
      const gate = Promise.withResolvers<void>()
      await using placed = await put(cache(), (_, start) => {
        start('200 OK', TYPED)
        return (async function* () {
          yield Buffer.from('one ')
          await gate.promise
          yield Buffer.from('two')
        })()
      })
      const asked = call(placed.application)
      gate.resolve()
      assert.equal((await asked).text, 'one two')
      assert.equal((await call(placed.application)).text, 'one two')
    })

    it('answers HEAD from a stored GET', async () => {
      await using placed = await put(cache(), counting(TYPED))
      await call(placed.application)
      const head = await call(placed.application, { method: 'HEAD' })
      assert.deepEqual([head.status, head.body.length, head.header('content-length')], [200, 0, '8'])
      assert.notEqual(head.header('age'), undefined)
    })

    it('keeps write(), empty bodies, 204 and failures as they are', async () => {
      await using placed = await put(cache(), (environ, start) => {
        if (environ.PATH_INFO === '/fails') throw new Error('on purpose')
        if (environ.PATH_INFO === '/204') {
          start('204 No Content', FRESH)
          return []
        }
        const write = start('200 OK', TYPED)
        void write(Buffer.from('written '))
        return [Buffer.from('iterated')]
      })
      for (const _ of [1, 2]) {
        assert.equal((await call(placed.application, { path: '/' })).text, 'written iterated')
        assert.equal((await call(placed.application, { path: '/204' })).status, 204)
        assert.equal((await call(placed.application, { path: '/fails' })).status, 500)
      }
    })

    it('passes a POST with its body', async () => {
      await using placed = await put(cache(), async (environ, start) => {
        const body = await environ['wsgi.input'].read()
        start('200 OK', TYPED)
        return [body]
      })
      assert.equal((await call(placed.application, { method: 'POST', body: 'abc' })).text, 'abc')
    })
  })
}

describe('a cache does not store', () => {
  const refused: [why: string, headers: Headers, status?: string][] = [
    ['says nothing of freshness', []],
    ['is private', [['Cache-Control', 'max-age=60, private']]],
    ['is private in another spelling', [['cache-control', 'Max-Age=60, PRIVATE']]],
    ['is private but for some fields', [['Cache-Control', 'max-age=60, private="x-user, x-name"']]],
    ['is no-store', [['Cache-Control', 'max-age=60, no-store']]],
    [
      'is no-store in a second line',
      [
        ['Cache-Control', 'max-age=60'],
        ['Cache-Control', 'no-store'],
      ],
    ],
    [
      'sets a cookie',
      [
        ['Cache-Control', 'public, max-age=60'],
        ['Set-Cookie', 'session=1'],
      ],
    ],
    [
      'varies on everything',
      [
        ['Cache-Control', 'max-age=60'],
        ['Vary', 'Accept, *'],
      ],
    ],
    ['expires at a time that is none', [['Expires', '-1']]],
    ['has expired', [['Expires', before(10)]]],
    ['is a failure', [['Cache-Control', 'max-age=60']], '503 Service Unavailable'],
    ['is a part', [['Cache-Control', 'max-age=60']], '206 Partial Content'],
    ['has the lesser of two ages, which is none', [['Cache-Control', 'max-age=60, max-age=0']]],
    ['has an age that is no number', [['Cache-Control', 'max-age=soon']]],
  ]
  for (const [why, headers, status] of refused) {
    it(`a response that ${why}`, async () => {
      const { get, cache: made } = cached(counting(headers, status))
      assert.equal((await get()).text, 'answer 1')
      assert.equal((await get()).text, 'answer 2')
      assert.equal(made.stats().entries, 0)
    })
  }

  it('a response that ends before its Content-Length', async () => {
    const { get, cache: made } = cached((_, start) => {
      start('200 OK', [...FRESH, ['Content-Length', '10']])
      return (async function* () {
        yield Buffer.from('short')
      })()
    })
    const { aborted } = await get()
    assert.ok(aborted)
    assert.deepEqual([made.stats().entries, made.stats().bytes], [0, 0])
  })

  it('a response that fails in mid-body', async () => {
    let calls = 0
    const { get, cache: made } = cached((_, start) => {
      start('200 OK', FRESH)
      return (async function* () {
        yield Buffer.from('half')
        if (++calls === 1) throw new Error('on purpose')
      })()
    })
    assert.ok((await get()).aborted)
    assert.deepEqual([made.stats().entries, made.stats().bytes], [0, 0])
    const again = await get()
    assert.deepEqual([again.text, again.aborted], ['half', undefined])
  })

  it('a response with trailers, which it passes on', async () => {
    const { get, cache: made } = cached((environ, start) => {
      environ.gantry.trailers(() => [['X-Sum', '1']])
      start('200 OK', FRESH)
      return (async function* () {
        yield Buffer.from('body')
      })()
    })
    assert.deepEqual((await get()).trailers, [['X-Sum', '1']])
    assert.equal(made.stats().entries, 0)
  })

  it('a response above its size limit, which it passes on completely', async () => {
    const { get, cache: made } = cached(
      (_, start) => {
        start('200 OK', FRESH)
        return (async function* () {
          for (let part = 0; part < 10; part++) yield Buffer.alloc(10, part)
        })()
      },
      { maxObjectBytes: 64 },
    )
    const { body } = await get()
    assert.deepEqual(body, Buffer.concat(Array.from({ length: 10 }, (_, part) => Buffer.alloc(10, part))))
    assert.deepEqual([made.stats().entries, made.stats().bytes], [0, 0])
  })

  it('a response to an authenticated request, unless the response allows it, and then it serves it to everyone', async () => {
    const headers = { Authorization: 'Basic eDp5' }
    const { get } = cached(counting(FRESH))
    await get({ headers })
    assert.equal((await get({ headers })).text, 'answer 2')
    assert.equal((await get()).text, 'answer 3')
    // The stored response was generated for an anonymous request, and does not allow authenticated ones.
    assert.equal((await get({ headers })).text, 'answer 4')
    const open = cached(counting([['Cache-Control', 'public, max-age=60']]))
    await open.get({ headers })
    assert.equal((await open.get()).text, 'answer 1')
  })

  it('a response for a user whom middleware outside has authenticated', async () => {
    const { get } = cached(counting(FRESH))
    await get({ environ: { REMOTE_USER: 'anna' } })
    assert.equal((await get({ environ: { REMOTE_USER: 'bert' } })).text, 'answer 2')
  })

  it('any response to a request with a body', async () => {
    const { get } = cached(counting(FRESH))
    const chunked = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.from('x')
    }
    await get({ body: 'x' })
    await get({ body: chunked() })
    assert.equal((await get()).text, 'answer 3')
  })

  it('heuristically fresh responses to a request with a cookie', async () => {
    const { get } = cached(counting([['Last-Modified', before(1000)]]))
    await get({ headers: { Cookie: 'session=1' } })
    // The next response shows that the key can be shared after all, and the one after it is stored.
    assert.equal((await get()).text, 'answer 2')
    assert.equal((await get()).text, 'answer 3')
    assert.equal((await get()).text, 'answer 3')
  })
})

describe('a cache keeps a response', () => {
  it('for max-age less its age at arrival, and adds Age', async () => {
    const { get, clock } = cached(counting([...FRESH, ['Age', '20']]))
    await get()
    clock.advance(39_500)
    const hit = await get()
    assert.deepEqual([hit.text, hit.header('age')], ['answer 1', '59'])
    clock.advance(500)
    assert.equal((await get()).text, 'answer 2')
  })

  it('for s-maxage rather than max-age', async () => {
    const { get, clock } = cached(counting([['Cache-Control', 'max-age=600, s-maxage=10']]))
    await get()
    clock.advance(9_000)
    assert.equal((await get()).text, 'answer 1')
    clock.advance(1_000)
    assert.equal((await get()).text, 'answer 2')
  })

  it('that requires revalidation while it is fresh', async () => {
    for (const directive of ['must-revalidate', 'proxy-revalidate']) {
      const { get, clock } = cached(counting([['Cache-Control', `max-age=60, ${directive}`]]))
      await get()
      clock.advance(59_000)
      assert.equal((await get()).text, 'answer 1', directive)
      clock.advance(1_000)
      assert.equal((await get({ headers: { 'Cache-Control': 'max-stale' } })).text, 'answer 2', directive)
    }
  })

  it('for a tenth of the time since its last change, if it has no lifetime', async () => {
    const { get, clock } = cached(counting([['Last-Modified', before(100)]]))
    await get()
    clock.advance(9_000)
    assert.equal((await get()).text, 'answer 1')
    clock.advance(1_000)
    assert.equal((await get()).text, 'answer 2')
  })

  it('as long as there is room, and evicts the least recently used one first', async () => {
    const { get, cache: made } = cached(
      (environ, start) => {
        start('200 OK', FRESH)
        return [Buffer.alloc(4_000, environ.PATH_INFO)]
      },
      { maxBytes: 16_000, maxObjectBytes: 8_000 },
    )
    for (const path of ['/a', '/b', '/c', '/a', '/d']) await get(path)
    const { entries, bytes, evicted } = made.stats()
    assert.equal(entries, 3)
    assert.ok(bytes <= 16_000, String(bytes))
    assert.equal(evicted, 1)
    assert.equal((await get('/a')).header('x-cache'), 'HIT')
    assert.equal((await get('/b')).header('x-cache'), 'MISS')
  })

  it('until it is invalidated', async () => {
    const { get, cache: made } = cached(counting(FRESH))
    await get('/a?b')
    assert.equal(made.invalidate('http://localhost/a?b'), 1)
    assert.equal((await get('/a?b')).text, 'answer 2')
    made.clear()
    assert.deepEqual([made.stats().entries, made.stats().bytes], [0, 0])
    assert.throws(() => made.invalidate('/a'), /absolute/)
  })
})

describe('a cache and the directives of a request', () => {
  const wish = async (value: string, seconds: number, headers: Headers = FRESH): Promise<string | undefined> => {
    const { get, clock } = cached(counting(headers))
    await get()
    clock.advance(seconds * 1000)
    return (await get({ headers: { 'Cache-Control': value } })).header('x-cache')
  }

  it('obeys no-cache, max-age, min-fresh and max-stale', async () => {
    assert.equal(await wish('no-cache', 1), 'MISS')
    assert.equal(await wish('max-age=10', 9), 'HIT')
    assert.equal(await wish('max-age=10', 11), 'MISS')
    assert.equal(await wish('max-age=0', 0), 'MISS')
    assert.equal(await wish('min-fresh=10', 50), 'HIT')
    assert.equal(await wish('min-fresh=10', 51), 'MISS')
    assert.equal(await wish('max-stale', 1000), 'STALE')
    assert.equal(await wish('max-stale=10', 70), 'STALE')
    assert.equal(await wish('max-stale=10', 71), 'MISS')
    assert.equal(await wish('max-stale', 71, [['Cache-Control', 's-maxage=60']]), 'MISS')
  })

  it('answers 504 to only-if-cached without a stored response', async () => {
    const { get, asked } = cached(counting(FRESH))
    const headers = { 'Cache-Control': 'only-if-cached' }
    assert.equal((await get({ headers })).status, 504)
    assert.equal(asked.length, 0)
    await get()
    assert.equal((await get({ headers })).status, 200)
  })

  it('stores nothing for a request with no-store', async () => {
    const { get } = cached(counting(FRESH))
    await get({ headers: { 'Cache-Control': 'no-store' } })
    assert.equal((await get()).text, 'answer 2')
  })

  it('treats Pragma as no-cache if there is no Cache-Control', async () => {
    const { get } = cached(counting(FRESH))
    await get()
    assert.equal((await get({ headers: { Pragma: 'no-cache' } })).text, 'answer 2')
    assert.equal((await get({ headers: { Pragma: 'no-cache', 'Cache-Control': 'max-age=10' } })).text, 'answer 2')
  })

  it('ignores the directives if the option says so', async () => {
    const { get } = cached(counting(FRESH), { clientDirectives: false })
    await get()
    assert.equal((await get({ headers: { 'Cache-Control': 'no-cache', Pragma: 'no-cache' } })).text, 'answer 1')
  })

  it('answers conditions and ranges from a stored response', async () => {
    const { get, asked } = cached(
      counting([...FRESH, ['ETag', '"v1"'], ['Content-Type', 'text/plain'], ['Last-Modified', before(1000)]]),
    )
    await get()
    const none = await get({ headers: { 'If-None-Match': 'W/"v1", "v0"' } })
    assert.deepEqual([none.status, none.header('etag'), none.header('content-type')], [304, '"v1"', undefined])
    assert.equal((await get({ headers: { 'If-Modified-Since': before(1000) } })).status, 304)
    assert.equal((await get({ headers: { 'If-Modified-Since': before(1001) } })).status, 200)
    const part = await get({ headers: { Range: 'bytes=2-4' } })
    assert.deepEqual([part.status, part.text, part.header('content-range')], [206, 'swe', 'bytes 2-4/8'])
    assert.equal((await get({ headers: { Range: 'bytes=2-4', 'If-Range': '"v0"' } })).text, 'answer 1')
    assert.equal((await get({ headers: { Range: 'bytes=2-4', 'If-Range': '"v1"' } })).text, 'swe')
    assert.equal((await get({ headers: { Range: 'bytes=8-' } })).status, 416)
    assert.equal((await get({ headers: { Range: 'bytes=0-1,4-5' } })).text, 'answer 1')
    assert.equal(asked.length, 1)
  })

  it('stores a response although the first client has it already', async () => {
    const { get, asked } = cached(counting([...FRESH, ['ETag', '"v1"']]))
    assert.equal((await get({ headers: { 'If-None-Match': '"v1"' } })).status, 304)
    assert.equal(asked[0]?.['HTTP_IF_NONE_MATCH'], undefined)
    assert.equal((await get()).text, 'answer 1')
    assert.equal(asked.length, 1)
  })

  it('passes on a part of a response that is not stored', async () => {
    const { get, asked } = cached(counting(FRESH))
    await get({ headers: { Range: 'bytes=0-1' } })
    assert.equal(asked[0]?.['HTTP_RANGE'], 'bytes=0-1')
    assert.equal((await get()).text, 'answer 2')
  })
})

describe('the key of a cache contains', () => {
  const apart = async (one: Parameters<ReturnType<typeof cached>['get']>[0], other: typeof one): Promise<boolean> => {
    const { get } = cached(counting(FRESH))
    return (await get(one)).text !== (await get(other)).text
  }

  it('scheme, host, path and query', async () => {
    assert.ok(await apart('/a', '/b'))
    assert.ok(await apart('/a?x', '/a?y'))
    assert.ok(await apart('/a', '/a?'))
    assert.ok(await apart('/a%2Fb', '/a/b'))
    assert.ok(await apart({ headers: { Host: 'a.example' } }, { headers: { Host: 'b.example' } }))
    assert.ok(await apart({ scheme: 'https' }, { scheme: 'http' }))
    assert.ok(!(await apart({ headers: { Host: 'A.example:80' } }, { headers: { Host: 'a.example.' } })))
  })

  it('the changes of mounts and rewrites outside', async () => {
    assert.ok(await apart({ environ: { SCRIPT_NAME: '/a', PATH_INFO: '/b' } }, { environ: { PATH_INFO: '/a/b' } }))
    assert.ok(await apart({ environ: { QUERY_STRING: 'a' } }, { environ: { QUERY_STRING: 'b' } }))
  })

  it('the fields from which applications generate links', async () => {
    for (const name of ['X-Forwarded-Host', 'X-Forwarded-Proto', 'X-Original-URL', 'X-Forwarded-Prefix']) {
      assert.ok(await apart({ headers: { [name]: 'evil' } }, {}), name)
    }
    assert.ok(await apart({ headers: { Forwarded: 'for=a;host=evil' } }, { headers: { Forwarded: 'for=a' } }))
    assert.ok(!(await apart({ headers: { Forwarded: 'for=a;host=x' } }, { headers: { Forwarded: 'for=b;host=x' } })))
  })

  it('the value of the key option', async () => {
    const options = { key: (environ: { [name: string]: unknown }) => environ['tenant'] as string | undefined }
    const { get } = cached(counting(FRESH), options)
    const texts: string[] = []
    for (const tenant of ['a', 'b', 'a']) texts.push((await get({ environ: { tenant } })).text)
    assert.deepEqual(texts, ['answer 1', 'answer 2', 'answer 1'])
    assert.equal((await get()).header('x-cache'), 'BYPASS')
  })

  it('the application that gets the request', async () => {
    const made = cache()
    const [one, other] = [made(counting([...FRESH, ['X-Is', 'one']])), made(counting([...FRESH, ['X-Is', 'other']]))]
    await call(one)
    assert.equal((await call(other)).header('x-is'), 'other')
  })

  it('the fields that the response varies on', async () => {
    const { get } = cached(
      counting((environ) =>
        environ['HTTP_ACCEPT_LANGUAGE'] === undefined ? FRESH : [...FRESH, ['Vary', 'accept-language, Accept']],
      ),
    )
    const de = { headers: { 'Accept-Language': 'de' } }
    const en = { headers: { 'Accept-Language': 'en' } }
    assert.equal((await get(de)).text, 'answer 1')
    assert.equal((await get(en)).text, 'answer 2')
    assert.equal((await get(de)).text, 'answer 1')
    assert.equal((await get({ headers: { 'Accept-Language': 'de', Accept: 'text/html' } })).text, 'answer 3')
  })

  it('the request as it was before the application changed it', async () => {
    const { get } = cached((environ, start) => {
      const language = environ['HTTP_ACCEPT_LANGUAGE']
      environ['HTTP_ACCEPT_LANGUAGE'] = 'changed'
      start('200 OK', [...FRESH, ['Vary', 'Accept-Language']])
      return [Buffer.from(String(language))]
    })
    assert.equal((await get({ headers: { 'Accept-Language': 'de' } })).text, 'de')
    assert.equal((await get({ headers: { 'Accept-Language': 'changed' } })).text, 'changed')
    assert.equal((await get({ headers: { 'Accept-Language': 'de' } })).header('x-cache'), 'HIT')
  })
})

describe('a cache and unsafe methods', () => {
  const changing = (status: string, headers: Headers = []) =>
    cached((environ, start) => {
      const get = environ.REQUEST_METHOD === 'GET'
      start(get ? '200 OK' : status, get ? FRESH : headers)
      return [Buffer.from('x')]
    })
  const state = async ({ get }: ReturnType<typeof cached>, path: string): Promise<string | undefined> =>
    (await get(path)).header('x-cache')

  it('invalidates what a POST, a DELETE or an unknown method has changed', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'FROB']) {
      const made = changing('204 No Content')
      await made.get('/a')
      await made.get('/b')
      await made.get({ path: '/a', method })
      assert.equal(await state(made, '/b'), 'HIT', method)
      assert.equal(await state(made, '/a'), 'MISS', method)
    }
  })

  it('keeps a response after a failure, or a safe method', async () => {
    const failing = changing('409 Conflict')
    await failing.get('/a')
    await failing.get({ path: '/a', method: 'POST' })
    assert.equal(await state(failing, '/a'), 'HIT')
    const safe = changing('200 OK')
    await safe.get('/a')
    await safe.get({ path: '/a', method: 'OPTIONS' })
    assert.equal(await state(safe, '/a'), 'HIT')
  })

  it('invalidates the URIs that the response names on the same host, and on no other', async () => {
    const made = changing('303 See Other', [
      ['Location', '../b?c'],
      ['Content-Location', 'http://other.example/d'],
    ])
    for (const path of ['/b?c', '/d']) await made.get(path)
    await made.get({ path: '/x/a', method: 'POST' })
    assert.equal(await state(made, '/b?c'), 'MISS')
    assert.equal(await state(made, '/d'), 'HIT')
  })

  it('invalidates every variant of a URI', async () => {
    const made = changing('200 OK')
    const headers = { 'X-Forwarded-Host': 'a' }
    await made.get({ path: '/a', headers })
    await made.get({ path: '/a', method: 'POST' })
    assert.equal((await made.get({ path: '/a', headers })).header('x-cache'), 'MISS')
  })
})

describe('the fields of a stored response', () => {
  it('are complete except those for one client', async () => {
    const { get } = cached(
      counting([
        ...FRESH,
        ['Set-Cookie', 'a=1'],
        ['X-Request-Id', 'first'],
        ['Link', '</a>'],
        ['Link', '</b>'],
        ['Date', before(5)],
      ]),
      { setCookie: 'strip' },
    )
    const first = await get()
    assert.equal(first.header('set-cookie'), 'a=1')
    const hit = await get()
    assert.equal(hit.header('set-cookie'), undefined)
    assert.equal(hit.header('x-request-id'), undefined)
    assert.equal(hit.header('link'), '</a>, </b>')
    assert.deepEqual([hit.header('date'), hit.header('age')], [before(5), '5'])
  })

  it('are copies: changes of middleware outside do not reach the next client', async () => {
    const { application } = cached(counting(FRESH))
    const spoiling: typeof application = (environ, start) =>
      application(environ, (status, headers, excInfo) => {
        for (const field of headers) if (field[0] !== 'Content-Length') field[1] += ', spoiled'
        headers.push(['X-More', '1'])
        return start(status, headers, excInfo)
      })
    await call(application)
    await call(spoiling)
    const { status, headers } = await call(application)
    assert.equal(status, 200)
    assert.doesNotMatch(JSON.stringify(headers), /spoiled|X-More/)
  })

  it('describe the cache as in RFC 9211', async () => {
    const { get, clock } = cached(counting([['Cache-Control', 'max-age=60, stale-while-revalidate=60']]), {
      report: 'cache-status',
      name: 'edge',
    })
    const status = async (): Promise<string | undefined> => (await get()).header('cache-status')
    assert.equal(await status(), 'edge; fwd=uri-miss')
    clock.advance(10_000)
    assert.equal(await status(), 'edge; hit; ttl=50')
    clock.advance(60_000)
    assert.equal(await status(), 'edge; hit; ttl=-10')
  })
})

describe('the options of a cache', () => {
  it('are refused with the expected value', () => {
    for (const [options, word] of [
      [{ maxBytes: 0 }, /maxBytes is 0, expected a whole number of bytes, 1 or more/],
      [{ maxBytes: 10, maxObjectBytes: 11 }, /maxObjectBytes \(11\) is more than maxBytes/],
      [{ waitLimit: -1 }, /waitLimit is -1/],
      [{ heuristic: 2 }, /heuristic is 2/],
      [{ setCookie: 'yes' }, /setCookie is "yes", expected 'refuse' or 'strip'/],
      [{ report: true }, /report is true/],
      [{ name: 'a b' }, /name is "a b"/],
      [{ key: 'x' }, /key is "x"/],
      [{ carry: 'x' }, /carry is "x"/],
    ] as const) {
      assert.throws(() => cache(options as object), word)
    }
  })
})
