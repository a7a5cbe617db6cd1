/** The middleware of a usual deployment around applications of every kind: it must not change their responses. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { accessLog } from '../../middleware/access-log/access-log.ts'
import { basicAuth } from '../../middleware/auth/basic-auth.ts'
import { bodyLimit } from '../../middleware/body-limit.ts'
import { compose } from '../../middleware/compose.ts'
import { errorPage } from '../../middleware/error-page/error-page.ts'
import { healthCheck } from '../../middleware/health-check.ts'
import { requestId } from '../../middleware/request-id.ts'
import { securityHeaders } from '../../middleware/security-headers.ts'
import { signals } from '../../middleware/signals.ts'
import { timeout } from '../../middleware/timeout.ts'
import type { Application, Body, Environ, Middleware, StartResponse } from '../../protocol/contract/application.ts'
import { type CallRequest, call } from '../../protocol/contract/call.ts'
import { RecordingLog } from '../support/log.ts'
import { places } from '../support/places.ts'

const type: [string, string][] = [['Content-Type', 'text/plain']]
const bytes = (text: string): Uint8Array => Buffer.from(text)

const applications: Record<string, Application> = {
  'an array': (_, start) => {
    start('200 OK', type)
    return [bytes('one '), bytes('two')]
  },
  'a generator, whose head comes late': function* (_: Environ, start: StartResponse): Generator<Uint8Array> {
    start('201 Created', type)
    yield bytes('one ')
    yield bytes('')
    yield bytes('two')
  } as unknown as Application,
  'an asynchronous generator': async function* (_: Environ, start: StartResponse): AsyncGenerator<Uint8Array> {
    start('200 OK', type)
    yield bytes('one ')
    yield bytes('two')
  } as unknown as Application,
  'a promise of what was written and given': async (_, start) => {
    const write = start('200 OK', type)
    await write(bytes('one '))
    return [bytes('two')]
  },
  'what was replaced with excInfo': async (_, start) => {
    start('200 OK', type)
    start('503 Service Unavailable', [...type, ['Retry-After', '1']], new Error('changed its mind'))
    return [bytes('later')]
  },
  'an error with a body': (_, start) => {
    start('404 Not Found', type)
    return [bytes('not here')].values()
  },
  'no content': (_, start) => {
    start('204 No Content', [])
    return []
  },
  'what it was sent': async (environ, start) => {
    const body = await environ['wsgi.input'].read()
    start('200 OK', type)
    return [body]
  },
}

/** All of the middleware, and what it logged. */
function everything(): { middleware: Middleware; told: string[]; log: RecordingLog } {
  const told: string[] = []
  const log = new RecordingLog()
  const requests = signals()
  requests.requestStarted.subscribe(() => told.push('started'))
  requests.requestFailed.subscribe(() => told.push('failed'))
  requests.requestFinished.subscribe(() => told.push('finished'))
  const layers = [
    accessLog({ log }),
    requestId(),
    securityHeaders(),
    errorPage({ pages: { '4xx': applications['an array']! } }),
    healthCheck(),
    requests,
    timeout({ firstByte: 60_000, total: 60_000 }),
    bodyLimit({ limit: 100 }),
    basicAuth({ verify: async () => true }),
  ]
  return { middleware: (application) => compose(...layers, application), told, log }
}

const headers = { Authorization: 'Basic dTpw' }
const requests: Record<string, CallRequest> = {
  GET: { headers },
  HEAD: { headers, method: 'HEAD' },
  POST: { headers, method: 'POST', body: 'sent' },
}

for (const place of places) {
  describe(`all middleware together ${place.name}`, () => {
    for (const [name, application] of Object.entries(applications)) {
      it(`passes ${name} unchanged`, async () => {
        const { middleware, told, log } = everything()
        await using placed = await place.put(middleware, application)
        for (const [method, request] of Object.entries(requests)) {
          const [bare, around] = [await call(application, request), await call(placed.application, request)]
          assert.equal(around.status, bare.status, method)
          assert.equal(around.text, bare.text, method)
          assert.equal(around.header('retry-after'), bare.header('retry-after'))
          assert.ok(around.header('x-request-id'))
          assert.equal(around.aborted, undefined)
          assert.ok(around.closed)
        }
        assert.deepEqual(told, ['started', 'finished', 'started', 'finished', 'started', 'finished'])
        assert.deepEqual(
          log.lines.map(({ fields }) => fields['method']),
          Object.keys(requests),
        )
      })
    }

    it('closes a body whose client disconnects in mid-body', async () => {
      let closed = 0
      const leaving = new AbortController()
      const endless: Application = (_, start) => {
        start('200 OK', type)
        const body: Body = {
          async *[Symbol.asyncIterator]() {
            for (let at = 0; ; at++) {
              yield bytes('more')
              if (at === 3) leaving.abort()
              await new Promise((resolve) => setImmediate(resolve))
            }
          },
          close: () => void closed++,
        }
        return body
      }
      const { middleware, told } = everything()
      {
        await using placed = await place.put(middleware, endless)
        const { aborted } = await call(placed.application, { headers, signal: leaving.signal })
        assert.equal(aborted?.code, 'CLIENT_GONE')
      }
      assert.equal(closed, 1)
      assert.deepEqual(told, ['started', 'finished'])
    })
  })
}
