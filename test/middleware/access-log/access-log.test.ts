import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
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
  it('says what was asked and how it ended, in one line', () => {
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

  it('says why a request that was cut short was', () => {
    const log = new RecordingLog()
    const { exchange } = run(accessLog({ log })(() => new Promise(() => {})))
    exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
    assert.equal(log.lines[0]?.fields['aborted'], 'CLIENT_GONE')
    assert.equal(log.lines[0]?.fields['status'], 0)
  })

  it('leaves an array an array, so that it leaves in one piece', () => {
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
  it('are JSON with a time, unless told otherwise', async () => {
    const lines: string[] = []
    await call(accessLog({ to: (line) => lines.push(line), clock: new FakeClock() })(hello), { path: '/a' })
    await turn()
    assert.equal(lines.length, 1)
    const { time, url, status, bytes } = JSON.parse(lines[0]!) as Record<string, unknown>
    assert.deepEqual([time, url, status, bytes], [1_700_000_001_000, '/a', 200, 5])
  })

  it('are combined when that is asked for, with the user that the application found', async () => {
    const lines: string[] = []
    const application: Application = (environ, start) => {
      environ['REMOTE_USER'] = 'ann'
      return hello(environ, start)
    }
    await call(accessLog({ format: 'combined', to: (line) => lines.push(line) })(application), { path: '/a' })
    await turn()
    assert.match(lines[0]!, /^127\.0\.0\.1 - ann \[.*\] "GET \/a HTTP\/1\.1" 200 5 "-" "-"\n$/)
  })

  it('go to a stream as well', async () => {
    const lines: string[] = []
    await call(accessLog({ format: 'combined', to: { write: (line) => lines.push(line) } })(hello))
    await turn()
    assert.equal(lines.length, 1)
  })

  it('are left out for what is not worth one', async () => {
    const log = new RecordingLog()
    const application = accessLog({ log, skip: (environ) => environ.PATH_INFO === '/healthz' })(hello)
    await call(application, { path: '/healthz' })
    await call(application, { path: '/' })
    assert.deepEqual(
      log.lines.map(({ fields }) => fields['url']),
      ['/'],
    )
  })

  it('go to standard output without options', () => {
    assert.equal(typeof accessLog(), 'function')
  })

  it('are refused a format that there is not, and two destinations', () => {
    assert.throws(
      () => accessLog({ format: 'common' as never }),
      /the option format is "common", expected 'json' or 'combined'/,
    )
    assert.throws(() => accessLog({ log: new RecordingLog(), format: 'json' }), /one or the other/)
  })
})

for (const place of places) {
  describe(`the access log ${place.name}`, () => {
    it('keeps the contract and counts what was sent', async () => {
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
