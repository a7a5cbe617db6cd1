import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { conditional } from '../../../middleware/conditional/conditional.ts'
import type { Application, Headers } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { places } from '../../support/places.ts'

const TEXT = Buffer.from('some text')
const CHANGED = 'Fri, 01 Mar 2024 12:00:00 GMT'

/** Answers with `headers`; counts how often its body was read and closed. */
function answering(headers: Headers, status = '200 OK'): { application: Application; read: number; closed: number } {
  const counts = {
    read: 0,
    closed: 0,
    application: ((_, start) => {
      start(status, [['Content-Type', 'text/plain'], ...headers])
      return {
        *[Symbol.iterator]() {
          counts.read++
          yield TEXT
        },
        close: () => void counts.closed++,
      }
    }) satisfies Application,
  }
  return counts
}

const whole: Application = (_, start) => {
  start('200 OK', [
    ['Content-Type', 'text/plain'],
    ['Cache-Control', 'max-age=5'],
    ['Set-Cookie', 'a=b'],
  ])
  return [TEXT]
}

for (const place of places) {
  describe(`conditional, ${place.name}`, () => {
    it('answers 304 if the client has the response, and closes the body unread', async () => {
      const app = answering([
        ['ETag', '"v1"'],
        ['Vary', 'Accept'],
        ['Content-Length', '9'],
      ])
      {
        await using placed = await place.put(conditional(), app.application)
        const result = await call(placed.application, { headers: { 'If-None-Match': 'W/"v1"' } })
        assert.equal(result.status, 304)
        assert.equal(result.body.length, 0)
        assert.equal(result.header('ETag'), '"v1"')
        assert.equal(result.header('Vary'), 'Accept')
        assert.equal(result.header('Content-Type'), undefined)
        assert.equal(result.header('Content-Length'), undefined)
      }
      assert.equal(app.closed, 1)
    })

    it('answers 412 if the condition fails', async () => {
      const app = answering([['ETag', '"v1"']])
      {
        await using placed = await place.put(conditional(), app.application)
        assert.equal((await call(placed.application, { headers: { 'If-Match': '"v0"' } })).status, 412)
      }
      assert.equal(app.closed, 1)
    })

    it('passes all other responses', async () => {
      const app = answering([['ETag', '"v1"']])
      await using placed = await place.put(conditional(), app.application)
      for (const headers of [{}, { 'If-None-Match': '"v2"' }, { 'If-Match': '"v1"' }] as Record<string, string>[]) {
        const result = await call(placed.application, { headers })
        assert.equal(result.status, 200)
        assert.equal(result.text, 'some text')
      }
      const posted = await call(placed.application, { method: 'POST', headers: { 'If-None-Match': '"v1"' } })
      assert.equal(posted.status, 200)
    })
  })
}

describe('conditional', () => {
  const wrapped = (application: Application, size?: number): Application =>
    lint(conditional(size === undefined ? {} : { etagMaxSize: size })(lint(application)))

  it('uses Last-Modified if there is no ETag', async () => {
    const app = answering([['Last-Modified', CHANGED]])
    const ask = async (name: string, value: string): Promise<number> =>
      (await call(wrapped(app.application), { headers: { [name]: value } })).status
    assert.equal(await ask('If-Modified-Since', CHANGED), 304)
    assert.equal(await ask('If-Modified-Since', 'Thu, 29 Feb 2024 12:00:00 GMT'), 200)
    assert.equal(await ask('If-Unmodified-Since', 'Thu, 29 Feb 2024 12:00:00 GMT'), 412)
  })

  it('answers a HEAD like the GET', async () => {
    const app = answering([['ETag', '"v1"']])
    const result = await call(wrapped(app.application), { method: 'HEAD', headers: { 'If-None-Match': '"v1"' } })
    assert.equal(result.status, 304)
    assert.equal(app.closed, 1)
  })

  it('tags a complete response, and recognises the tag', async () => {
    const first = await call(wrapped(whole))
    const etag = first.header('ETag')!
    assert.match(etag, /^W\/"[\w-]{27}"$/)
    assert.equal(first.text, 'some text')
    const again = await call(wrapped(whole), { headers: { 'If-None-Match': etag } })
    assert.equal(again.status, 304)
    assert.equal(again.header('Cache-Control'), 'max-age=5')
    assert.equal(again.header('Set-Cookie'), 'a=b')
    assert.equal(again.header('ETag'), etag)
    const other: Application = (_, start) => {
      start('200 OK', [['Content-Type', 'text/plain']])
      return [Buffer.from('other text')]
    }
    assert.notEqual((await call(wrapped(other))).header('ETag'), etag)
  })

  it('does not tag a stream, a large response, an error, no-store, or a response that names a file', async () => {
    const of = async (application: Application, size?: number): Promise<string | undefined> =>
      (await call(wrapped(application, size))).header('ETag')
    assert.equal(await of(answering([]).application), undefined)
    assert.equal(await of(whole, 8), undefined)
    assert.equal(await of(whole, 0), undefined)
    assert.ok(await of(whole, 9))
    const answered =
      (status: string, headers: Headers): Application =>
      (_, start) => {
        start(status, [['Content-Type', 'text/plain'], ...headers])
        return [TEXT]
      }
    assert.equal(await of(answered('404 Not Found', [])), undefined)
    assert.equal(await of(answered('200 OK', [['Cache-Control', 'private, no-store']])), undefined)
    assert.equal(await of(answered('200 OK', [['X-Sendfile', '/srv/a']])), undefined)
  })

  it('does not change an error, whatever its tag', async () => {
    const app = answering([['ETag', '"v1"']], '404 Not Found')
    assert.equal((await call(wrapped(app.application), { headers: { 'If-None-Match': '"v1"' } })).status, 404)
  })

  it('refuses an invalid size', () => {
    assert.throws(
      () => conditional({ etagMaxSize: -1 }),
      /etagMaxSize is -1, expected a whole number of bytes, 0 or more/,
    )
  })
})
