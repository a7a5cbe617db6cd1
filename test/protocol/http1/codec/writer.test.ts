import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { chunkHead, informHead, lastChunk, plainAnswer, responseHead } from '../../../../protocol/http1/codec/writer.ts'
import { DateField } from '../../../../protocol/http1/date-field.ts'
import { FakeClock } from '../../../support/clock.ts'

const DATE = 'Date: Tue, 14 Nov 2023 22:13:21 GMT\r\n'
const date = (): DateField => new DateField(new FakeClock())

describe('a response head', () => {
  it('gets Server and Date, and nothing else', () => {
    assert.equal(
      responseHead('200 OK', [['A', 'b']], 'length', '', date()),
      `HTTP/1.1 200 OK\r\nA: b\r\nServer: gantry\r\n${DATE}\r\n`,
    )
  })

  it("keeps the application's own Server and Date, in any case", () => {
    assert.equal(
      responseHead(
        '200 OK',
        [
          ['SERVER', 'mine'],
          ['date', 'today'],
        ],
        'length',
        '',
        date(),
      ),
      'HTTP/1.1 200 OK\r\nSERVER: mine\r\ndate: today\r\n\r\n',
    )
  })

  it('has the fields for its framing and for the connection', () => {
    assert.equal(
      responseHead('200 OK', [], 'chunked', 'close', date()),
      `HTTP/1.1 200 OK\r\nServer: gantry\r\n${DATE}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n`,
    )
  })

  it('keeps repeated fields separate and in order', () => {
    const head = responseHead(
      '200 OK',
      [
        ['Set-Cookie', 'a'],
        ['Set-Cookie', 'b'],
      ],
      'length',
      '',
      date(),
    )
    assert.match(head, /Set-Cookie: a\r\nSet-Cookie: b\r\n/)
  })

  it('accepts an empty reason', () => {
    assert.ok(responseHead('299 ', [], 'length', '', date()).startsWith('HTTP/1.1 299 \r\n'))
  })
})

describe('the Date field', () => {
  it('is formatted anew each second, and not within one', () => {
    const clock = new FakeClock()
    let asked = 0
    const date = new DateField({
      now: () => clock.now(),
      after: clock.after.bind(clock),
      wall: () => {
        asked++
        return clock.wall()
      },
    })
    const first = date.line
    clock.advance(999)
    assert.equal(date.line, first)
    clock.advance(1)
    assert.equal(date.line, 'Date: Tue, 14 Nov 2023 22:13:22 GMT\r\n')
    assert.equal(asked, 3)
  })
})

describe('the rest of a response', () => {
  it('has informational heads without Server and Date', () => {
    assert.equal(informHead('103 Early Hints', [['Link', '<a>']]), 'HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n')
  })

  it('has chunk sizes in hexadecimal', () => {
    assert.equal(chunkHead(1), '1\r\n')
    assert.equal(chunkHead(65_536), '10000\r\n')
  })

  it('ends with a last chunk and trailers', () => {
    assert.equal(lastChunk(undefined), '0\r\n\r\n')
    assert.equal(lastChunk([]), '0\r\n\r\n')
    assert.equal(
      lastChunk([
        ['A', 'b'],
        ['C', ''],
      ]),
      '0\r\nA: b\r\nC: \r\n\r\n',
    )
  })

  it('can be a complete response of the server itself', () => {
    const head =
      'HTTP/1.1 414 URI Too Long\r\nContent-Type: text/plain\r\nContent-Length: 17\r\nCache-Control: no-store\r\n' +
      `X: y\r\nServer: gantry\r\n${DATE}Connection: close\r\n\r\n`
    assert.equal(plainAnswer(414, [['X', 'y']], false, 'close', date()), `${head}414 URI Too Long\n`)
    assert.equal(plainAnswer(414, [['X', 'y']], true, 'close', date()), head)
  })
})
