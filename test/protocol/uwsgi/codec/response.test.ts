import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { RemoteProtocolError } from '../../../../protocol/contract/errors.ts'
import { type ResponseEvent, ResponseReader } from '../../../../protocol/uwsgi/codec/response.ts'

/** The events of a whole connection, with data put together. */
function read(pieces: readonly Buffer[], method: string = 'GET', maxHead?: number): ResponseEvent[] {
  const reader = new ResponseReader(method, maxHead)
  const events: ResponseEvent[] = []
  const take = (more: ResponseEvent[]): void => {
    for (const event of more) {
      const last = events.at(-1)
      if (event.type === 'data' && last?.type === 'data') last.chunk = Buffer.concat([last.chunk, event.chunk])
      else events.push(event.type === 'data' ? { type: 'data', chunk: Buffer.from(event.chunk) } : event)
    }
  }
  for (const piece of pieces) take(reader.receive(piece))
  take(reader.end())
  return events
}

const text = (value: string): Buffer => Buffer.from(value, 'latin1')
const data = (value: string): ResponseEvent => ({ type: 'data', chunk: text(value) })
const head = (status: string, length: number, ...headers: [string, string][]): ResponseEvent => ({
  type: 'head',
  status,
  headers,
  length,
})
const end: ResponseEvent = { type: 'end' }

const table: [what: string, bytes: string, events: ResponseEvent[], method?: string][] = [
  [
    'a status line and a body to Content-Length',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX:  y \r\n\r\nhi',
    [head('200 OK', 2, ['Content-Length', '2'], ['X', 'y']), data('hi'), end],
  ],
  [
    'a body to the end of the connection',
    'HTTP/1.0 404 Not Found\r\n\r\nno such thing',
    [head('404 Not Found', -1), data('no such thing'), end],
  ],
  [
    'a Status field instead of a status line',
    'Content-Type: text/plain\r\nStatus: 403 Forbidden\r\n\r\n',
    [head('403 Forbidden', -1, ['Content-Type', 'text/plain']), end],
  ],
  [
    'fields alone',
    'Content-Type: text/plain\n\nhi',
    [head('200 OK', -1, ['Content-Type', 'text/plain']), data('hi'), end],
  ],
  ['a Location without a status', 'Location: /x\r\n\r\n', [head('302 Found', -1, ['Location', '/x']), end]],
  ['a status without a reason', 'Status: 204\r\n\r\n', [head('204 No Content', 0), end]],
  ['a status that nobody knows', 'Status: 299 \r\n\r\n', [head('299 Unknown', -1), end]],
  [
    'the answer to HEAD',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
    [head('200 OK', 0, ['Content-Length', '5']), end],
    'HEAD',
  ],
  [
    'a 304',
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
    [head('304 Not Modified', 0, ['Content-Length', '5']), end],
  ],
  [
    'an interim response first',
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    [
      { type: 'inform', status: '103 Early Hints', headers: [['Link', '</a>']] },
      head('200 OK', 0, ['Content-Length', '0']),
      end,
    ],
  ],
  [
    'bytes after the body',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n',
    [head('200 OK', 2, ['Content-Length', '2']), data('hi'), end],
  ],
]

describe('a response of a uwsgi server', () => {
  for (const [what, bytes, events, method] of table) {
    it(`with ${what} is read at once`, () => assert.deepEqual(read([text(bytes)], method), events))

    it(`with ${what} is read byte by byte`, () => {
      assert.deepEqual(
        read(
          Array.from(text(bytes), (byte) => Buffer.of(byte)),
          method,
        ),
        events,
      )
    })
  }

  for (const [what, bytes, code] of [
    ['a transfer coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 'RESPONSE_FRAMING'],
    ['a Content-Length that is none', 'HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n', 'RESPONSE_FRAMING'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n', 'RESPONSE_FRAMING'],
    ['a body shorter than its length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi', 'RESPONSE_TRUNCATED'],
    ['half a head', 'HTTP/1.1 200 OK\r\nContent-', 'RESPONSE_TRUNCATED'],
    ['nothing', '', 'RESPONSE_TRUNCATED'],
    ['an empty head', '\r\n\r\n', 'RESPONSE_HEAD'],
    ['a line that is no field', 'HTTP/1.1 200 OK\r\nnonsense\r\n\r\n', 'RESPONSE_HEAD'],
    ['a folded field', 'HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n', 'RESPONSE_HEAD'],
    ['a bare CR in a field', 'HTTP/1.1 200 OK\r\nA: b\rX: c\r\n\r\n', 'RESPONSE_HEAD'],
    ['a status that is none', 'Status: fine\r\n\r\n', 'RESPONSE_HEAD'],
    ['another protocol’s bytes', '\x15\x03\x01\x00\n\n', 'RESPONSE_HEAD'],
  ] as const) {
    it(`with ${what} is a RemoteProtocolError`, () => {
      assert.throws(
        () => read([text(bytes)]),
        (error) => error instanceof RemoteProtocolError && error.code === code && error.status === 502,
      )
    })
  }

  it('with a head above the limit is refused before the head is complete', () => {
    const reader = new ResponseReader('GET', 100)
    assert.throws(
      () => reader.receive(text(`HTTP/1.1 200 OK\r\nA: ${'x'.repeat(100)}`)),
      (error) => error instanceof RemoteProtocolError && error.code === 'RESPONSE_HEAD',
    )
  })

  it('of random bytes gives events or a RemoteProtocolError', () => {
    const line = fc.constantFrom('HTTP/1.1 200 OK\r\n', 'Content-Length: 3\r\n', '\r\n', '\n', 'a: b\r\n', 'x')
    const piece = fc.oneof(
      line.map(text),
      fc.uint8Array({ maxLength: 9 }).map((bytes) => Buffer.from(bytes)),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        try {
          read(pieces)
        } catch (error) {
          assert.ok(error instanceof RemoteProtocolError)
        }
      }),
    )
  })
})
