import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { showRequestErrors } from '../../dev/request-errors.ts'
import type { Application, Body } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'
import { HttpError } from '../../protocol/contract/errors.ts'
import { RecordingLog } from '../support/log.ts'
import { places } from '../support/places.ts'

const HTML = { Accept: 'text/html' }
const TEXT: [string, string] = ['Content-Type', 'text/plain']

function failing(): { application: Application; closed(): number } {
  let closed = 0
  const application: Application = (environ, start) => {
    const path = environ.PATH_INFO
    const failure = new TypeError('told to whoever writes it')
    if (path === '/call') throw failure
    if (path === '/promise') return Promise.reject(failure)
    start('200 OK', [TEXT, ['Content-Length', '5']])
    if (path === '/started') throw failure
    const chunks = async function* (): AsyncGenerator<Uint8Array> {
      if (path === '/written') yield Buffer.from('be')
      if (path === '/first' || path === '/written') throw failure
      yield Buffer.from('whole')
    }
    const body: Body = path === '/sync' ? syncBody(failure) : chunks()
    return Object.assign(
      {
        [Symbol.asyncIterator]: () => (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]?.() ?? syncSteps(body),
      },
      {
        close: () => {
          closed++
        },
      },
    )
  }
  return { application, closed: () => closed }
}

function* syncBody(failure: Error): Generator<Uint8Array> {
  if (failure) throw failure
  yield Buffer.alloc(0)
}

async function* syncSteps(body: Body): AsyncGenerator<Uint8Array> {
  yield* body as Iterable<Uint8Array>
}

// In a proxy it would see only the error page of the container's exchange.
for (const place of places.filter(({ name }) => name !== 'in the proxy')) {
  describe(`showRequestErrors, ${place.name}`, () => {
    for (const path of ['/call', '/promise', '/started', '/first', '/sync']) {
      it(`shows what failed before the head has left: ${path}`, async () => {
        const log = new RecordingLog()
        const { application, closed } = failing()
        await using placed = await place.put(showRequestErrors({ log, shown: 's.1' }), application)
        const answer = await call(placed.application, { path, headers: HTML })
        assert.equal(answer.status, 500)
        assert.equal(answer.header('content-type'), 'text/html; charset=utf-8')
        assert.match(answer.text, /told to whoever writes it/)
        assert.match(answer.text, /errors\.test\.ts/)
        assert.deepEqual(log.messages('error'), ['the application failed'])
        assert.equal(closed(), path === '/first' || path === '/sync' ? 1 : 0)
      })
    }

    it('lets a response that fails after its head was sent be aborted', async () => {
      const log = new RecordingLog()
      const { application, closed } = failing()
      await using placed = await place.put(showRequestErrors({ log, shown: 's.1' }), application)
      const answer = await call(placed.application, { path: '/written', headers: HTML })
      assert.equal(answer.status, 200)
      assert.ok(answer.aborted)
      assert.doesNotMatch(answer.text, /told to/)
      assert.equal(closed(), 1)
    })

    it('passes on responses that do not fail', async () => {
      const { application, closed } = failing()
      await using placed = await place.put(showRequestErrors({ log: new RecordingLog(), shown: 's.1' }), application)
      const answer = await call(placed.application, { path: '/' })
      assert.equal(answer.text, 'whole')
      assert.equal(closed(), 1)
    })
  })
}

describe('showRequestErrors', () => {
  const throwing =
    (error: unknown): Application =>
    () => {
      throw error
    }

  it('passes an array on unchanged', () => {
    const body = [Buffer.from('whole')]
    const application: Application = (_environ, start) => {
      start('200 OK', [TEXT])
      return body
    }
    let given: unknown
    const outer: Application = (environ, start) => {
      given = showRequestErrors({ log: new RecordingLog(), shown: 's.1' })(application)(environ, start)
      return given as Body
    }
    return call(outer).then(() => assert.equal(given, body))
  })

  it('leaves errors that are meant as answers alone', async () => {
    const log = new RecordingLog()
    const middleware = showRequestErrors({ log, shown: 's.1' })
    const { status, text } = await call(middleware(throwing(new HttpError(413, 'TOO_LARGE', 'no'))), { headers: HTML })
    assert.equal(status, 413)
    assert.doesNotMatch(text, /errors\.test\.ts/)
    assert.deepEqual(log.lines, [])
  })

  it('answers in JSON and in text to those who ask for it', async () => {
    const middleware = showRequestErrors({ log: new RecordingLog(), shown: 's.1' })
    const application = middleware(throwing(new RangeError('out', { cause: new Error('deeper') })))
    const json = JSON.parse((await call(application, { headers: { Accept: 'application/json' } })).text) as Record<
      string,
      unknown
    >
    assert.deepEqual(
      [json['status'], json['name'], json['message'], json['cause']],
      [500, 'RangeError', 'out', 'Error: deeper'],
    )
    const text = await call(application)
    assert.equal(text.header('content-type'), 'text/plain; charset=utf-8')
    assert.match(text.text, /^The application failed\n/)
    assert.doesNotMatch(text.text, /\x1b/)
  })

  it('shows a thrown value that is not an Error', async () => {
    const application = showRequestErrors({ log: new RecordingLog(), shown: 's.1' })(throwing('a mere text'))
    assert.match((await call(application)).text, /the application threw a mere text, which is not an Error/)
  })

  it('reloads only pages of safe methods, and escapes the text that it shows', async () => {
    const application = showRequestErrors({ log: new RecordingLog(), shown: 's.1' })(
      throwing(new Error('<script>alert(1)</script>')),
    )
    const path = '/?q=<script>alert(2)</script>'
    const get = await call(application, { path, headers: HTML })
    assert.match(get.text, /"path":"\/\.gantry\/dev\/events\?shown=s\.1","again":true/)
    assert.doesNotMatch(get.text, /<script>alert/)
    const post = await call(application, { method: 'POST', headers: HTML })
    assert.match(post.text, /"again":false/)
  })

  it('shows the environ without what is secret', async () => {
    // Not in this file, because the page shows its lines.
    const secret = ['tell', 'nobody'].join('-')
    const application = showRequestErrors({ log: new RecordingLog(), shown: 's.1' })(throwing(new Error('oh')))
    const headers = {
      ...HTML,
      Cookie: `a=${secret}`,
      Authorization: `Basic ${secret}`,
      'X-Api-Key': secret,
      'X-Seen': 'shown',
    }
    const { text } = await call(application, { headers })
    assert.match(text, /HTTP_X_SEEN/)
    assert.match(text, /HTTP_COOKIE/)
    assert.equal(text.includes(secret), false)
  })

  it('shows nothing under a foreign host name, and logs the reason once', async () => {
    const log = new RecordingLog()
    const application = showRequestErrors({ log, shown: 's.1' })(throwing(new Error('told to nobody')))
    for (const _ of [1, 2]) {
      const { status, text } = await call(application, { headers: { ...HTML, Host: 'rebound.example' } })
      assert.equal(status, 500)
      assert.doesNotMatch(text, /told to nobody/)
    }
    assert.equal(log.messages('warn').length, 1)
  })
})
