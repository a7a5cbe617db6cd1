import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Application, Environ, Headers } from '../../../protocol/contract/application.ts'
import { makeEnviron } from '../../support/call.ts'
import { cached, calm, counting, Gate } from './cached.ts'

/** Answers 304 to requests that have this version, otherwise with the version. */
function versioned(version: () => string, headers: Headers, on304: Headers = headers): Application {
  return (environ, start) => {
    const etag = `"${version()}"`
    if (environ['HTTP_IF_NONE_MATCH'] === etag) {
      start('304 Not Modified', [...on304, ['ETag', etag]])
      return []
    }
    start('200 OK', [...headers, ['ETag', etag], ['X-First', 'yes']])
    return [Buffer.from(version())]
  }
}

describe('a stale response', () => {
  it('is served again after a 304', async () => {
    const { get, asked, clock, cache } = cached(
      versioned(
        () => 'v1',
        [['Cache-Control', 'max-age=60']],
        [
          ['Cache-Control', 'max-age=60'],
          ['X-Later', 'yes'],
        ],
      ),
    )
    await get()
    clock.advance(61_000)
    const renewed = await get()
    assert.deepEqual([renewed.status, renewed.text, renewed.header('x-cache')], [200, 'v1', 'REVALIDATED'])
    assert.deepEqual([renewed.header('x-first'), renewed.header('x-later'), renewed.header('age')], ['yes', 'yes', '0'])
    clock.advance(59_000)
    assert.equal((await get()).header('x-cache'), 'HIT')
    assert.deepEqual([asked.length, cache.stats().revalidated, cache.stats().entries], [2, 1, 1])
  })

  it('is replaced by a new response', async () => {
    let version = 'v1'
    const { get, clock, cache } = cached(versioned(() => version, [['Cache-Control', 'max-age=60']]))
    await get()
    version = 'v2'
    clock.advance(60_000)
    assert.equal((await get()).text, 'v2')
    assert.equal((await get()).header('x-cache'), 'HIT')
    assert.equal(cache.stats().entries, 1)
  })

  it('is revalidated by its date if it has no ETag', async () => {
    const modified = 'Tue, 14 Nov 2023 22:00:00 GMT'
    const { get, asked, clock } = cached(
      counting([
        ['Cache-Control', 'max-age=60'],
        ['Last-Modified', modified],
      ]),
    )
    await get()
    clock.advance(60_000)
    await get()
    assert.equal(asked[1]?.['HTTP_IF_MODIFIED_SINCE'], modified)
  })

  it("answers the client's own condition, whatever the cache asked for", async () => {
    const { get, clock } = cached(versioned(() => 'v1', [['Cache-Control', 'max-age=60']]))
    await get()
    clock.advance(60_000)
    assert.equal((await get({ headers: { 'If-None-Match': '"v1"' } })).status, 304)
    clock.advance(60_000)
    assert.equal((await get({ headers: { 'If-None-Match': '"v0"' } })).text, 'v1')
  })

  it('is revalidated each time with no-cache, and does not wait for other requests', async () => {
    const { get, asked } = cached(versioned(() => 'v1', [['Cache-Control', 'no-cache']]))
    await get()
    const both = await Promise.all([get(), get()])
    assert.deepEqual(
      both.map((answer) => answer.header('x-cache')),
      ['REVALIDATED', 'REVALIDATED'],
    )
    assert.equal(asked.length, 3)
  })

  it("is removed if the 304 is about another representation, and the client's request is forwarded", async () => {
    let calls = 0
    const { get, clock, cache } = cached((environ, start) => {
      calls++
      if (environ['HTTP_IF_NONE_MATCH'] !== undefined) {
        start('304 Not Modified', [['ETag', '"other"']])
        return []
      }
      start('200 OK', [
        ['Cache-Control', 'max-age=60'],
        ['ETag', '"v1"'],
      ])
      return [Buffer.from(`call ${calls}`)]
    })
    await get()
    clock.advance(60_000)
    const answer = await get()
    assert.deepEqual([answer.status, answer.text], [200, 'call 3'])
    assert.equal(cache.stats().entries, 0)
  })

  it('gives the cookie of a 304 to its client alone', async () => {
    const { get, clock } = cached(
      versioned(
        () => 'v1',
        [['Cache-Control', 'max-age=60']],
        [
          ['Set-Cookie', 'a=1'],
          ['Cache-Control', 'max-age=60'],
        ],
      ),
    )
    await get()
    clock.advance(60_000)
    assert.equal((await get()).header('set-cookie'), 'a=1')
    assert.equal((await get()).header('set-cookie'), undefined)
  })

  it('is not kept if the 304 makes it private', async () => {
    let control = 'max-age=60'
    const { get, clock, cache } = cached((environ, start) => {
      const known = environ['HTTP_IF_NONE_MATCH'] === '"v1"'
      start(known ? '304 Not Modified' : '200 OK', [
        ['Cache-Control', control],
        ['ETag', '"v1"'],
      ])
      return known ? [] : [Buffer.from(control)]
    })
    await get()
    control = 'private'
    clock.advance(60_000)
    assert.equal((await get()).text, 'private')
    assert.equal(cache.stats().entries, 0)
  })
})

const WHILE: Headers = [['Cache-Control', 'max-age=10, stale-while-revalidate=30']]

describe('stale-while-revalidate', () => {
  it('serves the stale response at once and revalidates it in the background', async () => {
    let version = 'v1'
    const gate = new Gate()
    const { get, asked, clock } = cached(async (environ, start) => {
      if (asked.length > 1) await gate.passed
      return versioned(() => version, WHILE)(environ, start)
    })
    await get()
    version = 'v2'
    clock.advance(11_000)
    const stale = await get()
    assert.deepEqual([stale.text, stale.header('x-cache')], ['v1', 'STALE'])
    assert.equal((await get()).text, 'v1')
    assert.equal(asked.length, 2)
    gate.open()
    await calm()
    assert.equal((await get()).text, 'v2')
    assert.equal(asked.length, 2)
  })

  it('ends after its time', async () => {
    const { get, clock } = cached(counting(WHILE))
    await get()
    clock.advance(40_000)
    assert.equal((await get()).text, 'answer 2')
  })

  it('sends no personal data in the background request', async () => {
    const { get, asked, clock } = cached(counting([...WHILE, ['Vary', 'X-Flavour']]))
    const headers = {
      Cookie: 'session=1',
      'X-Forwarded-For': '192.0.2.7',
      Forwarded: 'for=192.0.2.7;host=site.example;proto=https',
      'X-User': 'anna',
      'X-Flavour': 'sweet',
      'User-Agent': 'curl',
      Accept: 'text/html',
    }
    const request = { headers, remoteAddress: '192.0.2.7', environ: { 'app.user': 'anna', SSL_CLIENT: 'anna' } }
    await get(request)
    clock.advance(11_000)
    await get(request)
    await calm()
    const environ = asked[1] as Environ
    const values = JSON.stringify([environ, environ.gantry.rawHeaders])
    assert.doesNotMatch(values, /anna|session=|192\.0\.2\.7|curl/)
    assert.equal(environ['HTTP_X_FLAVOUR'], 'sweet')
    assert.equal(environ['HTTP_ACCEPT'], 'text/html')
    assert.equal(environ['HTTP_FORWARDED'], 'host=site.example;proto=https')
    assert.equal(environ['HTTP_HOST'], 'localhost')
    // The next request finds the new response.
    assert.equal((await get(request)).text, 'answer 2')
  })

  it("stores the response for the background request's own fields, if it varies on an omitted field", async () => {
    let varies = false
    const { get, clock } = cached((environ, start) => {
      start('200 OK', varies ? [...WHILE, ['Vary', 'Cookie']] : WHILE)
      return [Buffer.from(`for ${environ['HTTP_COOKIE'] ?? 'nobody'}`)]
    })
    const anna = { headers: { Cookie: 'anna' } }
    await get(anna)
    varies = true
    clock.advance(11_000)
    await get(anna)
    await calm()
    clock.advance(5_000)
    assert.equal((await get()).text, 'for nobody')
    assert.equal((await get(anna)).text, 'for anna')
  })

  it('does not start for an authenticated request, nor if the key would differ', async () => {
    const named = cached(counting([['Cache-Control', 'public, max-age=10, stale-while-revalidate=30']]))
    await named.get({ headers: { Authorization: 'x' } })
    named.clock.advance(11_000)
    assert.equal((await named.get({ headers: { Authorization: 'x' } })).text, 'answer 2')

    const tenants = cached(counting(WHILE), { key: (environ) => String(environ['tenant']) })
    const request = { environ: { tenant: 'a' } }
    await tenants.get(request)
    tenants.clock.advance(11_000)
    assert.equal((await tenants.get(request)).text, 'answer 2')

    const carried = cached(counting(WHILE), { key: (environ) => String(environ['tenant']), carry: ['tenant'] })
    await carried.get(request)
    carried.clock.advance(11_000)
    assert.equal((await carried.get(request)).text, 'answer 1')
    await calm()
    assert.equal((await carried.get(request)).text, 'answer 2')
  })

  it('logs a failure in one line, and retries after a second', async () => {
    let fails = false
    const { get, asked, clock, log } = cached((environ, start) => {
      if (fails) throw new Error('on purpose')
      return counting(WHILE)(environ, start)
    })
    await get()
    fails = true
    clock.advance(11_000)
    for (const _ of [1, 2, 3]) {
      assert.equal((await get()).header('x-cache'), 'STALE')
      await calm()
    }
    assert.equal(asked.length, 2)
    assert.deepEqual(log.messages('warn'), ['revalidating a stale response failed'])
    clock.advance(1_000)
    await get()
    await calm()
    assert.equal(asked.length, 3)
  })

  it('aborts a background request after its timeout, and limits their number', async () => {
    let hangs = false
    const signals: AbortSignal[] = []
    const { get, clock } = cached(
      (environ, start) => {
        if (!hangs) return counting(WHILE)(environ, start)
        signals.push(environ.gantry.signal)
        return new Promise((_, reject) =>
          environ.gantry.signal.addEventListener('abort', () => reject(environ.gantry.signal.reason)),
        )
      },
      { maxBackground: 2, backgroundTimeout: 5_000 },
    )
    for (const path of ['/a', '/b', '/c']) await get(path)
    hangs = true
    clock.advance(11_000)
    for (const path of ['/a', '/b', '/c']) assert.equal((await get(path)).header('x-cache'), 'STALE')
    assert.equal(signals.length, 2)
    clock.advance(5_250)
    await calm()
    assert.deepEqual(
      signals.map(({ reason }) => reason?.code),
      ['DEADLINE', 'DEADLINE'],
    )
    await get('/c')
    assert.equal(signals.length, 3)
  })

  it('comes from the option if the response has no directive of its own, and never overrides the response', async () => {
    const state = async (control: string): Promise<string | undefined> => {
      const { get, clock } = cached(counting([['Cache-Control', control]]), { staleWhileRevalidate: 30 })
      await get()
      clock.advance(11_000)
      return (await get()).header('x-cache')
    }
    assert.equal(await state('max-age=10'), 'STALE')
    assert.equal(await state('max-age=10, stale-while-revalidate=0'), 'MISS')
    assert.equal(await state('max-age=10, must-revalidate'), 'MISS')
    assert.equal(await state('max-age=10, proxy-revalidate, stale-while-revalidate=30'), 'MISS')
  })
})

describe('stale-if-error', () => {
  const failing = (control: string, status = '503 Service Unavailable') => {
    let fails = false
    const made = cached((environ, start) => {
      if (!fails) return counting([['Cache-Control', control]])(environ, start)
      if (status === '') throw new Error('on purpose')
      start(status, [])
      return [Buffer.from('failed')]
    })
    return { ...made, fail: () => (fails = true) }
  }

  it('serves the stale response instead of a failure, thrown or answered', async () => {
    for (const status of ['503 Service Unavailable', '500 Internal Server Error', '']) {
      const { get, clock, fail } = failing('max-age=10, stale-if-error=60', status)
      await get()
      fail()
      clock.advance(11_000)
      const stale = await get()
      assert.deepEqual([stale.status, stale.text, stale.header('x-cache')], [200, 'answer 1', 'STALE'])
      clock.advance(60_000)
      assert.ok((await get()).status >= 500)
    }
  })

  it('also applies if a request asks for it, but never against must-revalidate', async () => {
    const headers = { 'Cache-Control': 'stale-if-error=60' }
    const wished = failing('max-age=10')
    await wished.get()
    wished.fail()
    wished.clock.advance(11_000)
    assert.equal((await wished.get()).status, 503)
    assert.equal((await wished.get({ headers })).status, 200)
    const strict = failing('max-age=10, must-revalidate, stale-if-error=60')
    await strict.get()
    strict.fail()
    strict.clock.advance(11_000)
    assert.equal((await strict.get({ headers })).status, 503)
  })

  it('does not apply to a 404', async () => {
    const { get, clock, fail, cache } = failing('max-age=10, stale-if-error=60', '404 Not Found')
    await get()
    fail()
    clock.advance(11_000)
    assert.equal((await get()).status, 404)
    assert.equal(cache.stats().entries, 0)
  })
})

describe('a draining process', () => {
  it('starts no background request, and aborts those in progress', async () => {
    let hangs = false
    const signals: AbortSignal[] = []
    const { application, get, clock } = cached((environ, start) => {
      if (!hangs) return counting(WHILE)(environ, start)
      signals.push(environ.gantry.signal)
      return new Promise((_, reject) =>
        environ.gantry.signal.addEventListener('abort', () => reject(environ.gantry.signal.reason)),
      )
    })
    await get('/a')
    await get('/b')
    hangs = true
    clock.advance(11_000)
    const ask = (target: string, isDraining: () => boolean): void => {
      const environ = makeEnviron({ target, headers: ['Host', 'localhost'] })
      Object.defineProperty(environ.gantry, 'draining', { get: isDraining })
      application(environ, () => async () => {})
    }
    let draining = false
    ask('/a', () => draining)
    assert.equal(signals.length, 1)
    draining = true
    ask('/b', () => draining)
    assert.equal(signals.length, 1)
    clock.advance(250)
    await calm()
    assert.equal(signals[0]?.reason?.code, 'DRAIN_TIMEOUT')
  })
})
