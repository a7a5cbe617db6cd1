import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setImmediate as iterationEnd } from 'node:timers/promises'
import { accessLog } from '../../../middleware/access-log/access-log.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { FakeClock } from '../../support/clock.ts'
import { run } from '../../support/exchange.ts'
import { RecordingLog } from '../../support/log.ts'
import { places } from '../../support/places.ts'

const hello: Application = (_, start) => {
  start('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from('hello')]
}

describe('the access log', () => {
  it('has the request and its outcome in one line', () => {
    const log = new RecordingLog()
    const { environ } = run(
      accessLog({ log })((_, start) => {
        start('201 Created', [])
        return [Buffer.from('abc')]
      }),
      { target: '/a?b=c', headers: ['Host', 'h', 'User-Agent', 'curl/8', 'Referer', 'http://r/'] },
    )
    assert.deepEqual(
      log.lines.map((line) => line.fields),
      [
        {
          requestId: environ.gantry.requestId,
          remote: '192.0.2.1',
          method: 'GET',
          url: '/a?b=c',
          protocol: 'HTTP/1.1',
          status: 201,
          bytes: 3,
          ms: 0,
          referer: 'http://r/',
          userAgent: 'curl/8',
        },
      ],
    )
  })

  it('has the code of the abort of an aborted request', () => {
    const log = new RecordingLog()
    const { exchange } = run(accessLog({ log })(() => new Promise(() => {})))
    exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
    assert.equal(log.lines[0]?.fields['aborted'], 'CLIENT_GONE')
    assert.equal(log.lines[0]?.fields['status'], 0)
  })

  it('passes an array on as an array, so that it is sent in one piece', () => {
    const body = [Buffer.from('abc')]
    const { sink } = run(
      accessLog({ log: new RecordingLog() })((_, start) => {
        start('200 OK', [])
        return body
      }),
    )
    assert.deepEqual(sink.calls, ['head 200 3 end'])
  })
})

describe('the lines of an access log', () => {
  it('are JSON with a time by default', async () => {
    const lines: string[] = []
    await call(accessLog({ to: (line) => lines.push(line), clock: new FakeClock() })(hello), { path: '/a' })
    await iterationEnd()
    assert.equal(lines.length, 1)
    const { time, url, status, bytes } = JSON.parse(lines[0]!) as Record<string, unknown>
    assert.deepEqual([time, url, status, bytes], [1_700_000_001_000, '/a', 200, 5])
  })

  it('are in the combined format if the option says so, with the user that the application sets', async () => {
    const lines: string[] = []
    const application: Application = (environ, start) => {
      environ['REMOTE_USER'] = 'ann'
      return hello(environ, start)
    }
    await call(accessLog({ format: 'combined', to: (line) => lines.push(line) })(application), { path: '/a' })
    await iterationEnd()
    assert.match(lines[0]!, /^127\.0\.0\.1 - ann \[.*\] "GET \/a HTTP\/1\.1" 200 5 "-" "-"\n$/)
  })

  it('are written to a stream', async () => {
    const lines: string[] = []
    await call(accessLog({ format: 'combined', to: { write: (line) => lines.push(line) } })(hello))
    await iterationEnd()
    assert.equal(lines.length, 1)
  })

  it('are not written for skipped requests', async () => {
    const log = new RecordingLog()
    const application = accessLog({ log, skip: (environ) => environ.PATH_INFO === '/healthz' })(hello)
    await call(application, { path: '/healthz' })
    await call(application, { path: '/' })
    assert.deepEqual(
      log.lines.map(({ fields }) => fields['url']),
      ['/'],
    )
  })

  it('go to standard output by default', () => {
    assert.equal(typeof accessLog(), 'function')
  })

  it('are refused with an unknown format, and with two destinations', () => {
    assert.throws(
      () => accessLog({ format: 'common' as never }),
      /the option format is "common", expected 'json' or 'combined'/,
    )
    assert.throws(() => accessLog({ log: new RecordingLog(), format: 'json' }), /one or the other/)
  })
})

for (const place of places) {
  describe(`the access log ${place.name}`, () => {
    it('keeps the contract and counts the bytes that were sent', async () => {
      const log = new RecordingLog()
      await using placed = await place.put(accessLog({ log }), hello)
      const { text } = await call(placed.application)
      assert.equal(text, 'hello')
      assert.deepEqual(
        log.lines.map(({ fields }) => [fields['status'], fields['bytes']]),
        [[200, 5]],
      )
    })
  })
}
