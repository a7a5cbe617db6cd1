import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Http1ServerConnection } from '../../../../protocol/http1/codec/connection.ts'
import { defaultLimits } from '../../../../protocol/http1/codec/limits.ts'
import { DateField } from '../../../../protocol/http1/date-field.ts'
import { FakeClock } from '../../../support/clock.ts'

/** A connection that has received these bytes, and has no event left. */
function given(text: string): Http1ServerConnection {
  const http = new Http1ServerConnection(defaultLimits, new DateField(new FakeClock()))
  give(http, text)
  return http
}

function give(http: Http1ServerConnection, text: string): string[] {
  http.parser.push(Buffer.from(text, 'latin1'))
  const events: string[] = []
  for (let event = http.read(); event !== 'more'; event = http.read()) {
    events.push(event)
    if (event === 'error') break
  }
  return events
}

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const request = (...fields: string[]): string => `POST / HTTP/1.1\r\n${['Host: a', ...fields].join('\r\n')}\r\n\r\n`
const connectionOf = (head: string): string | undefined => /\r\nConnection: (.*)\r\n/.exec(head)?.[1]

describe('a server’s connection', () => {
  it('refuses an empty Host also as the first Host in this process', () => {
    assert.equal(given('GET / HTTP/1.1\r\nHost:\r\n\r\n').parser.error?.code, 'BAD_HOST')
  })

  it('does not read a further request before the current one is complete', () => {
    const http = given(GET + GET)
    assert.equal(http.request, 'done')
    assert.equal(http.read(), 'more')
    assert.equal(http.parser.buffered, GET.length)
    assert.throws(() => http.next(), { code: 'NOT_OVER' })
    http.head('200 OK', [], 0, true)
    http.end(undefined)
    assert.equal(http.afterResponse(), 'next')
    http.next()
    assert.equal(http.read(), 'head')
  })

  it('sends one final response per request, and none without a request', () => {
    const http = given(GET)
    http.head('200 OK', [], 0, true)
    assert.throws(() => http.head('200 OK', [], 0, true), { code: 'RESPONSE_TWICE' })
    assert.throws(() => given('').head('200 OK', [], 0, true), { code: 'RESPONSE_TWICE' })
  })

  it('frames a body by its length, by chunks or by the end of the connection', () => {
    const cases = [
      ['HTTP/1.1', 3, 'length', undefined],
      ['HTTP/1.1', -1, 'chunked', undefined],
      ['HTTP/1.0', 3, 'length', 'keep-alive'],
      ['HTTP/1.0', -1, 'close', 'close'],
    ] as const
    for (const [version, length, framing, connection] of cases) {
      const http = given(`GET / ${version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n`)
      const head = http.head('200 OK', [], length, false)
      assert.equal(http.framing, framing)
      assert.equal(connectionOf(head), connection)
      assert.equal(/\r\nTransfer-Encoding: chunked\r\n/.test(head), framing === 'chunked')
      assert.equal(http.end(undefined), framing === 'chunked' ? '0\r\n\r\n' : '')
      assert.equal(http.afterResponse(), framing === 'close' ? 'close' : 'next')
    }
  })

  it('omits trailers if the framing cannot carry them', () => {
    const http = given(GET)
    http.head('200 OK', [], 3, false)
    assert.equal(http.end([['A', 'b']]), '')
  })

  it('sends 100 Continue once, before the final head, and only to a client that waits', () => {
    const waiting = given(request('Content-Length: 3', 'Expect: 100-continue'))
    assert.equal(waiting.awaitsContinue, true)
    assert.equal(waiting.continue(), 'HTTP/1.1 100 Continue\r\n\r\n')
    assert.equal(waiting.continue(), '')
    const answered = given(request('Content-Length: 3', 'Expect: 100-continue'))
    answered.head('200 OK', [], 3, false)
    assert.equal(answered.continue(), '')
    const impatient = given(`${request('Content-Length: 3', 'Expect: 100-continue')}a`)
    assert.equal(impatient.continue(), '')
    assert.equal(given(request('Content-Length: 3')).continue(), '')
  })

  it('closes after a response to a client that still waits for 100 Continue', () => {
    const http = given(request('Content-Length: 3', 'Expect: 100-continue'))
    assert.equal(connectionOf(http.head('200 OK', [], 0, true)), 'close')
    http.end(undefined)
    assert.equal(http.afterResponse(), 'close')
  })

  it('discards a small rest of a body, and closes before a large one', () => {
    const little = given(request('Content-Length: 65536'))
    assert.equal(connectionOf(little.head('200 OK', [], 0, true)), undefined)
    little.end(undefined)
    assert.equal(little.afterResponse(), 'discard')
    assert.equal(little.discard(65_536), true)
    const much = given(request('Content-Length: 65537'))
    assert.equal(connectionOf(much.head('200 OK', [], 0, true)), 'close')
    much.end(undefined)
    assert.equal(much.afterResponse(), 'close')
    const unknown = given(request('Transfer-Encoding: chunked'))
    unknown.head('200 OK', [], 0, true)
    unknown.end(undefined)
    assert.equal(unknown.afterResponse(), 'discard')
    assert.equal(unknown.discard(65_536), true)
    assert.equal(unknown.discard(1), false)
  })

  it('does not announce a close while the body may still be read for the response', () => {
    const http = given(request('Content-Length: 1000000'))
    assert.equal(connectionOf(http.head('200 OK', [], -1, false)), undefined)
  })

  it('closes after an error, and reads nothing more', () => {
    const http = given(`GET / HTTP/1.1\r\n\r\n${GET}`)
    assert.equal(http.request, 'failed')
    assert.match(
      http.answer(400, [], true),
      /^HTTP\/1\.1 400 Bad Request\r\n.*Connection: close\r\n\r\n400 Bad Request\n$/s,
    )
    assert.equal(http.afterResponse(), 'close')
    assert.deepEqual(give(http, GET), ['error'])
    assert.throws(() => http.next(), { code: 'NOT_OVER' })
  })

  it('answers HEAD without a body, also if the body of the request was invalid', () => {
    const http = given('HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nX')
    assert.equal(http.request, 'failed')
    assert.ok(http.answer(400, [], true).endsWith('\r\n\r\n'))
  })

  it('announces an early close, and closes', () => {
    const http = given(GET)
    http.closeAfterResponse()
    assert.equal(connectionOf(http.head('200 OK', [], 0, true)), 'close')
    http.end(undefined)
    assert.equal(http.afterResponse(), 'close')
  })

  it('closes after a response whose head did not announce it, if it is closed meanwhile', () => {
    const http = given(GET)
    http.head('200 OK', [], -1, false)
    http.closeAfterResponse()
    http.end(undefined)
    assert.equal(http.afterResponse(), 'close')
  })

  it('sends informational responses only to HTTP/1.1, and none after the final head', () => {
    const http = given(GET)
    assert.equal(http.inform('103 Early Hints', []), 'HTTP/1.1 103 Early Hints\r\n\r\n')
    http.head('200 OK', [], 0, true)
    assert.equal(http.inform('103 Early Hints', []), '')
    assert.equal(given('GET / HTTP/1.0\r\n\r\n').inform('103 Early Hints', []), '')
  })

  it('frames nothing after a 101, and returns the bytes that arrived early', () => {
    const http = given('GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly')
    const head = http.head('101 Switching Protocols', [['Connection', 'Upgrade']], -1, false)
    assert.doesNotMatch(head, /Transfer-Encoding|close/)
    assert.equal(http.upgrade().toString(), 'early')
    assert.deepEqual(give(http, GET), ['error'])
  })
})
