import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Application } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import { HttpError } from '../../../protocol/contract/errors.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { RecordingLog } from '../../support/log.ts'
import { places } from '../../support/places.ts'

const text: [string, string][] = [['Content-Type', 'text/plain']]

const echo: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', [...text, ['X-Method', environ.REQUEST_METHOD], ['X-Query', environ.QUERY_STRING]])
  return [body]
}

describe('call', () => {
  test('returns the whole response', async () => {
    const answer = await call(lint(echo), { method: 'POST', path: '/a?b=c', body: 'hello' })
    assert.deepEqual([answer.status, answer.reason, answer.text], [200, 'OK', 'hello'])
    assert.deepEqual(
      [answer.header('x-method'), answer.header('X-QUERY'), answer.header('none')],
      ['POST', 'b=c', undefined],
    )
    assert.deepEqual([answer.aborted, answer.closed], [undefined, true])
  })

  test('returns the error of the application, before and after the head was sent', async () => {
    const bug = new Error('a bug')
    const early = await call(() => {
      throw bug
    })
    assert.deepEqual([early.status, early.failure], [500, bug])
    assert.equal(early.text.includes('a bug'), false)
    const late = await call(async function* (_environ, startResponse) {
      startResponse('200 OK', text)
      yield Buffer.from('half')
      throw bug
    })
    assert.deepEqual([late.status, late.text, late.failure], [200, 'half', bug])
    const broken = await call(lint(async () => 'text' as unknown as Uint8Array[]))
    assert.match(String(broken.failure), /BODY_ITERABLE/)
    const meant = await call(() => {
      throw new HttpError(404, 'NO_SUCH_PAGE', 'there is none')
    })
    assert.deepEqual([meant.status, meant.failure], [404, undefined])
    const answer = await call(echo)
    assert.equal(answer.failure, undefined)
  })

  test('sends headers and additional variables, and adds a Host if there is none', async () => {
    const seen: unknown[] = []
    const application: Application = (environ, startResponse) => {
      seen.push(
        environ['HTTP_HOST'],
        environ['HTTP_X_A'],
        environ.REMOTE_ADDR,
        environ['wsgi.url_scheme'],
        environ['my.key'],
      )
      startResponse('204 No Content', [])
      return []
    }
    const environ = { 'my.key': 1 }
    await call(application, { headers: { 'X-A': '1' }, environ, scheme: 'https', remoteAddress: '192.0.2.1' })
    await call(application, {
      headers: [
        ['host', 'a.example'],
        ['X-A', '1'],
        ['X-A', '2'],
      ],
    })
    assert.deepEqual(seen, [
      'localhost',
      '1',
      '192.0.2.1',
      'https',
      1,
      'a.example',
      '1, 2',
      '127.0.0.1',
      'http',
      undefined,
    ])
  })

  test('requests a chunk of a streamed body only when the application reads', async () => {
    let asked = 0
    async function* chunks(): AsyncGenerator<Uint8Array> {
      for (;;) {
        asked++
        yield Buffer.from(`${asked};`)
      }
    }
    const first: Application = async (environ, startResponse) => {
      startResponse('200 OK', text)
      return [await environ['wsgi.input'].read1()]
    }
    const answer = await call(lint(first), { method: 'POST', body: chunks() })
    assert.equal(answer.text, '1;')
    assert.ok(asked < 40, `${asked} chunks were asked for`)
    assert.equal((await call(echo, { method: 'POST', body: letters() })).text, 'abc')
  })

  test('responds with 500 if the application throws, as a server does, and logs the error', async () => {
    const log = new RecordingLog()
    const failing: Application = () => {
      throw new Error('a bug')
    }
    assert.equal((await call(failing, { log })).status, 500)
    assert.ok(log.lines.some(({ level }) => level === 'error'))
    const refusing: Application = () => {
      throw new HttpError(418, 'TEAPOT', 'no coffee')
    }
    assert.equal((await call(refusing)).status, 418)
  })

  test('reports that a response was aborted, and that the body was closed', async () => {
    let closed = 0
    const cut: Application = (_environ, startResponse) => {
      startResponse('200 OK', text)
      return {
        async *[Symbol.asyncIterator]() {
          yield Buffer.from('half')
          throw new Error('broken')
        },
        close() {
          closed++
        },
      }
    }
    const answer = await call(lint(cut))
    assert.deepEqual([answer.status, answer.text, answer.closed, closed], [200, 'half', true, 1])
    assert.ok(answer.aborted)
  })

  test('disconnects when its signal aborts', async () => {
    const gone = new AbortController()
    const waiting: Application = async (environ) => {
      queueMicrotask(() => gone.abort())
      await new Promise((_resolve, reject) => {
        const leave = (): void => reject(environ.gantry.signal.reason)
        environ.gantry.signal.addEventListener('abort', leave)
      })
      return []
    }
    const answer = await call(waiting, { signal: gone.signal })
    assert.deepEqual([answer.status, answer.aborted?.code], [0, 'CLIENT_GONE'])
    // The second call: its signal has aborted before the request begins.
    assert.equal((await call(waiting, { signal: gone.signal })).aborted?.code, 'CLIENT_GONE')
  })

  test('returns no body for HEAD, and returns trailers and early hints', async () => {
    const rich: Application = (environ, startResponse) => {
      environ.gantry.earlyHints([['Link', '</a>; rel=preload']])
      environ.gantry.trailers(() => [['X-Sum', '1']])
      startResponse('200 OK', text)
      return (async function* () {
        yield Buffer.from('body')
      })()
    }
    const answer = await call(lint(rich))
    assert.deepEqual(answer.trailers, [['X-Sum', '1']])
    assert.deepEqual(
      answer.informed.map(({ status }) => status),
      ['103 Early Hints'],
    )
    assert.equal((await call(lint(echo), { method: 'HEAD' })).body.length, 0)
  })
})

async function* letters(): AsyncGenerator<Uint8Array> {
  for (const letter of 'abc') yield Buffer.from(letter)
}

for (const place of places) {
  test(`an application ${place.name} is called in the same way`, async () => {
    await using placed = await place.put((application) => application, echo)
    const answer = await call(placed.application, { method: 'PUT', path: '/x', body: 'over there' })
    assert.deepEqual([answer.status, answer.text, answer.header('X-Method')], [200, 'over there', 'PUT'])
  })
}
