import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Application, Body, Headers } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import type { AbortError } from '../../../protocol/contract/errors.ts'
import { makeEnviron } from '../../support/call.ts'
import { cached, calm, Gate } from './cached.ts'

const FRESH: Headers = [['Cache-Control', 'max-age=60']]

describe('concurrent requests for the same resource', () => {
  it('share one call of the application', async () => {
    const gate = new Gate()
    const { get, asked, cache } = cached(async (_, start) => {
      await gate.passed
      start('200 OK', FRESH)
      return [Buffer.from('shared')]
    })
    const all = [get(), get(), get()]
    await calm()
    gate.open()
    const answers = await Promise.all(all)
    assert.deepEqual(
      answers.map(({ text }) => text),
      ['shared', 'shared', 'shared'],
    )
    assert.equal(asked.length, 1)
    assert.equal(cache.stats().collapsed, 2)
  })

  it('read the response as it arrives, if its length is known', async () => {
    const gate = new Gate()
    const { get, asked } = cached((_, start) => {
      start('200 OK', [...FRESH, ['Content-Length', '8']])
      return (async function* () {
        yield Buffer.from('half')
        await gate.passed
        yield Buffer.from('half')
      })()
    })
    const first = get()
    await calm()
    const second = get()
    await calm()
    gate.open()
    assert.deepEqual([(await first).text, (await second).text], ['halfhalf', 'halfhalf'])
    assert.equal(asked.length, 1)
    assert.equal((await get()).header('x-cache'), 'HIT')
  })

  it('are forwarded, all at once, if the response is private', async () => {
    const gate = new Gate()
    let running = 0
    let most = 0
    const { get, asked, cache } = cached(async (environ, start) => {
      most = Math.max(most, ++running)
      await gate.passed
      await calm()
      running--
      start('200 OK', [['Cache-Control', 'private, max-age=60']])
      return [Buffer.from(String(environ['HTTP_COOKIE']))]
    })
    const names = ['anna', 'bert', 'carl', 'dora']
    const all = names.map((Cookie) => get({ headers: { Cookie } }))
    await calm()
    assert.equal(asked.length, 1)
    gate.open()
    const answers = await Promise.all(all)
    assert.deepEqual(
      answers.map(({ text }) => text),
      names,
    )
    assert.equal(most, 3)
    assert.equal(cache.stats().entries, 0)
  })

  it('do not wait again after a private response, until a response can be shared', async () => {
    let gate = new Gate()
    let headers: Headers = [['Cache-Control', 'private']]
    const { get, asked } = cached(async (_, start) => {
      await gate.passed
      start('200 OK', headers)
      return [Buffer.from('x')]
    })
    gate.open()
    await get()
    gate = new Gate()
    const all = [get(), get()]
    await calm()
    assert.equal(asked.length, 3)
    headers = FRESH
    gate.open()
    await Promise.all(all)
    gate = new Gate()
    const later = [get(), get()]
    await calm()
    assert.equal(asked.length, 4)
    gate.open()
    await Promise.all(later)
  })

  it('are forwarded if the response has a cookie', async () => {
    const gate = new Gate()
    let calls = 0
    const { get } = cached(async (_, start) => {
      await gate.passed
      const id = ++calls
      start('200 OK', [...FRESH, ['Set-Cookie', `session=${id}`]])
      return [Buffer.from(`session ${id}`)]
    })
    const all = [get(), get()]
    await calm()
    gate.open()
    const [one, other] = await Promise.all(all)
    assert.deepEqual([one?.text, one?.header('set-cookie')], ['session 1', 'session=1'])
    assert.deepEqual([other?.text, other?.header('set-cookie')], ['session 2', 'session=2'])
  })

  it('get their own variant, and each variant is requested once', async () => {
    let gate = new Gate()
    const { get, asked } = cached(async (environ, start) => {
      const language = String(environ['HTTP_ACCEPT_LANGUAGE'])
      await gate.passed
      start('200 OK', [...FRESH, ['Vary', 'Accept-Language']])
      return [Buffer.from(language)]
    })
    const languages = ['de', 'en', 'de', 'fr', 'en', 'de']
    const all = languages.map((language) => get({ headers: { 'Accept-Language': language } }))
    await calm()
    const first = gate
    gate = new Gate()
    first.open()
    await calm()
    gate.open()
    const answers = await Promise.all(all)
    assert.deepEqual(
      answers.map(({ text }) => text),
      languages,
    )
    assert.equal(asked.length, 3)
  })

  it('are answered although the first client disconnects before the head', async () => {
    const gate = new Gate()
    let signal: AbortSignal | undefined
    const { get, asked } = cached(async (environ, start) => {
      signal = environ.gantry.signal
      await gate.passed
      start('200 OK', FRESH)
      return [Buffer.from('shared')]
    })
    const leaving = new AbortController()
    const first = get({ signal: leaving.signal })
    await calm()
    const second = get()
    await calm()
    leaving.abort()
    assert.equal((await first).aborted?.code, 'CLIENT_GONE')
    assert.equal(signal?.aborted, false)
    gate.open()
    assert.equal((await second).text, 'shared')
    assert.equal(asked.length, 1)
  })

  for (const length of [['Content-Length', '8'] as [string, string], undefined]) {
    it(`are answered although the first client disconnects in mid-body, length ${length ? '' : 'un'}known`, async () => {
      const gate = new Gate()
      const { get, asked } = cached((_, start) => {
        start('200 OK', length ? [...FRESH, length] : FRESH)
        return (async function* () {
          yield Buffer.from('half')
          await gate.passed
          yield Buffer.from('half')
        })()
      })
      const leaving = new AbortController()
      const first = get({ signal: leaving.signal })
      await calm()
      const second = get()
      await calm()
      leaving.abort()
      await first
      await calm()
      gate.open()
      const { text, aborted } = await second
      assert.deepEqual([text, aborted, asked.length], ['halfhalf', undefined, 1])
    })
  }

  it('fail for a client that has disconnected, and do not end as if complete', async () => {
    const gate = new Gate()
    const { application } = cached((_, start) => {
      start('200 OK', FRESH)
      return (async function* () {
        yield Buffer.from('half')
        await gate.passed
      })()
    })
    const ends: unknown[] = []
    const between: Application = async (environ, start) => {
      const body = (await application(environ, start)) as AsyncIterable<Uint8Array> & Body
      return {
        async *[Symbol.asyncIterator]() {
          try {
            yield* body
            ends.push('whole')
          } catch (error) {
            ends.push((error as AbortError).code)
            throw error
          }
        },
        close: () => body.close?.(),
      }
    }
    const leaving = new AbortController()
    const answer = call(between, { signal: leaving.signal })
    await calm()
    leaving.abort()
    await calm()
    assert.deepEqual(ends, ['CLIENT_GONE'])
    gate.open()
    await answer
  })

  it("abort the application's call after the last client has disconnected", async () => {
    let signal: AbortSignal | undefined
    let closed = 0
    const { get, cache } = cached((environ, start) => {
      signal = environ.gantry.signal
      start('200 OK', [...FRESH, ['Content-Length', '8']])
      const body = (async function* () {
        yield Buffer.from('half')
        await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal?.reason)))
      })()
      return Object.assign(body, {
        close() {
          closed++
        },
      })
    })
    const leaving = [new AbortController(), new AbortController()]
    const all = leaving.map((controller) => get({ signal: controller.signal }))
    await calm()
    leaving[0]?.abort()
    await calm()
    assert.equal(signal?.aborted, false)
    leaving[1]?.abort()
    await Promise.all(all)
    assert.equal(signal?.reason?.code, 'CLIENT_GONE')
    assert.equal(closed, 1)
    assert.deepEqual([cache.stats().entries, cache.stats().bytes], [0, 0])
  })

  it('are aborted if the application fails in mid-body, and forwarded if it fails before its head', async () => {
    const gate = new Gate()
    const middle = cached((_, start) => {
      start('200 OK', [...FRESH, ['Content-Length', '8']])
      return (async function* () {
        yield Buffer.from('half')
        await gate.passed
        throw new Error('on purpose')
      })()
    })
    const cut = [middle.get(), middle.get()]
    await calm()
    gate.open()
    for (const answer of await Promise.all(cut)) assert.ok(answer.aborted)

    let calls = 0
    const before = cached(async (_, start) => {
      const call = ++calls
      await calm()
      if (call === 1) throw new Error('on purpose')
      start('200 OK', FRESH)
      return [Buffer.from('well')]
    })
    const [failed, well] = await Promise.all([before.get(), before.get()])
    assert.equal(failed?.status, 500)
    assert.equal(well?.text, 'well')
  })

  it('wait no longer than waitLimit', async () => {
    const gate = new Gate()
    const { get, asked, clock } = cached(
      async (_, start) => {
        if (asked.length === 1) await gate.passed
        start('200 OK', FRESH)
        return [Buffer.from('x')]
      },
      { waitLimit: 1_000 },
    )
    const first = get()
    const second = get()
    await calm()
    assert.equal(asked.length, 1)
    clock.advance(1_000)
    assert.equal((await second).text, 'x')
    assert.equal(asked.length, 2)
    gate.open()
    await first
  })

  it('are forwarded if the response becomes too large to store', async () => {
    const gate = new Gate()
    const { get, asked, cache } = cached(
      (_, start) => {
        start('200 OK', FRESH)
        return (async function* () {
          yield Buffer.alloc(40, 'a')
          await gate.passed
          yield Buffer.alloc(40, 'b')
        })()
      },
      { maxObjectBytes: 64 },
    )
    const all = [get(), get()]
    await calm()
    assert.equal(asked.length, 1)
    gate.open()
    for (const { body } of await Promise.all(all)) {
      assert.equal(body.toString(), 'a'.repeat(40) + 'b'.repeat(40))
    }
    assert.equal(asked.length, 2)
    assert.equal(cache.stats().bytes, 0)
  })

  it('are not shared if they are authenticated, or ask for a fresh response', async () => {
    for (const headers of [{ Authorization: 'x' }, { 'Cache-Control': 'no-cache' }]) {
      const gate = new Gate()
      const { get, asked } = cached(async (_, start) => {
        await gate.passed
        start('200 OK', FRESH)
        return [Buffer.from('x')]
      })
      const all = [get({ headers }), get({ headers }), get()]
      await calm()
      assert.equal(asked.length, 3)
      gate.open()
      await Promise.all(all)
    }
  })

  it('do not get a response from before a POST', async () => {
    const gate = new Gate()
    let state = 'old'
    const { get, cache } = cached(async (environ, start) => {
      if (environ.REQUEST_METHOD === 'POST') {
        state = 'new'
        start('204 No Content', [])
        return []
      }
      const seen = state
      if (seen === 'old') await gate.passed
      start('200 OK', FRESH)
      return [Buffer.from(seen)]
    })
    const first = get()
    await calm()
    await get({ method: 'POST' })
    const second = get()
    await calm()
    assert.equal((await second).text, 'new')
    gate.open()
    assert.equal((await first).text, 'old')
    assert.equal((await get()).text, 'new')
    assert.equal(cache.stats().entries, 1)
  })
})

describe('a response that is being stored', () => {
  it('reaches the server as the thrown error if it fails before its head, and is logged once', async () => {
    const thrown = new Error('on purpose')
    const { application, get, log } = cached(async () => {
      await calm()
      throw thrown
    })
    await assert.rejects(async () => application(makeEnviron(), () => async () => {}), thrown)
    const both = await Promise.all([get('/both'), get('/both')])
    assert.deepEqual(
      both.map(({ status }) => status),
      [500, 500],
    )
    assert.deepEqual(log.messages('error'), ['the application failed', 'the application failed'])
  })

  it('is read from the application only as fast as its client reads', async () => {
    let made = 0
    const { application } = cached((_, start) => {
      start('200 OK', FRESH)
      return (async function* () {
        for (; made < 100; made++) yield Buffer.alloc(1_000)
      })()
    })
    const body = await application(makeEnviron(), () => async () => {})
    const iterator = (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]()
    for (let read = 0; read < 3; read++) await iterator.next()
    await calm()
    assert.ok(made <= 4, `${made} chunks were made for 3 that were read`)
    await iterator.return?.()
    await body.close?.()
  })

  it('does not change when the application reuses its buffer', async () => {
    const { get } = cached((_, start) => {
      start('200 OK', FRESH)
      const buffer = Buffer.alloc(1)
      return (async function* () {
        for (const letter of 'abc') {
          buffer.write(letter)
          yield buffer
          buffer.fill('!')
        }
      })()
    })
    await get()
    assert.equal((await get()).text, 'abc')
  })

  it('passes on early hints, and an empty write as the head', async () => {
    const { get, application } = cached(async (environ, start) => {
      environ.gantry.earlyHints([['Link', '</a>; rel=preload']])
      const write = start('200 OK', FRESH)
      void write(new Uint8Array(0))
      await calm()
      return [Buffer.from('x')]
    })
    assert.equal((await get()).informed.length, 1)
    const written: number[] = []
    const environ = makeEnviron({ target: '/other' })
    const body = await application(environ, () => async (chunk) => void written.push(chunk.length))
    assert.deepEqual(written, [0])
    await body.close?.()
  })

  it("closes the application's body once, and holds the slot until it is closed", async () => {
    const gate = new Gate()
    let closed = 0
    const { get } = cached((_, start) => {
      start('200 OK', FRESH)
      return Object.assign([Buffer.from('x')], {
        async close() {
          await gate.passed
          closed++
        },
      })
    })
    let over = false
    const asked = get().then(() => {
      over = true
    })
    await calm()
    assert.equal(over, false)
    gate.open()
    await asked
    assert.equal(closed, 1)
  })
})
