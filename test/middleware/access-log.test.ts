import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { accessLog } from '../../middleware/access-log.ts'
import { AbortError } from '../../protocol/errors.ts'
import { run } from '../support/exchange.ts'
import { RecordingLog } from '../support/log.ts'

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
