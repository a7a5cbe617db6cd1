/** Responses that code writes to raw sockets, whole and byte by byte. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type RawHead, RawResponse } from '../../../../interfaces/node/codec/raw-response.ts'
import { LocalProtocolError } from '../../../../protocol/contract/errors.ts'

interface Read {
  head: RawHead | undefined
  body: string
  done: boolean
}

function read(text: string, size: number, method: string = 'GET'): Read {
  const response = new RawResponse(method)
  const bytes = Buffer.from(text, 'latin1')
  let head: RawHead | undefined
  let body = ''
  for (let at = 0; at < bytes.length; at += size) {
    const step = response.feed(bytes.subarray(at, at + size))
    if (step.head) {
      assert.equal(head, undefined)
      head = step.head
    }
    body += Buffer.concat(step.body).toString('latin1')
  }
  return { head, body, done: response.done }
}

const cases: [title: string, text: string, status: string, body: string, done: boolean, method?: string][] = [
  [
    'a 101, followed by the new protocol',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw',
    '101 Switching Protocols',
    'raw',
    false,
  ],
  ['a body by its length', 'HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad', '400 Bad Request', 'bad', true],
  ['an incomplete body', 'HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\nbad', '400 Bad Request', 'bad', false],
  ['an empty body', 'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n', '400 Bad Request', '', true],
  [
    'a body in chunks',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n',
    '200 OK',
    'abc0123456789',
    true,
  ],
  [
    'chunks and trailer fields',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: 1\r\n\r\n',
    '200 OK',
    'a',
    true,
  ],
  [
    'chunks without the last',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
    '200 OK',
    'abc',
    false,
  ],
  ['a body up to the end', 'HTTP/1.0 200 OK\r\n\r\nall', '200 OK', 'all', false],
  [
    'a 304 with a last chunk',
    'HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    '304 Not Modified',
    '',
    true,
  ],
  ['the answer to a HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', '200 OK', '', true, 'HEAD'],
  [
    'an informational response before the final one',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
    '204 No Content',
    '',
    true,
  ],
  ['a status line without a reason', 'HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n', '404 Unknown', '', true],
]

describe('RawResponse', () => {
  for (const [title, text, status, body, done, method] of cases) {
    for (const size of [text.length, 1]) {
      it(`reads ${title}, ${size === 1 ? 'byte by byte' : 'whole'}`, () => {
        const seen = read(text, size, method)
        assert.equal(seen.head?.status, status)
        assert.equal(seen.body, body)
        assert.equal(seen.done, done)
      })
    }
  }

  it('keeps the order of fields, and trims their values', () => {
    const { head } = read('HTTP/1.1 101 x\r\nUpgrade:websocket \r\nset-cookie: a=1\r\nSet-Cookie:  b\r\n\r\n', 1)
    assert.deepEqual(head?.headers, [
      ['Upgrade', 'websocket'],
      ['set-cookie', 'a=1'],
      ['Set-Cookie', 'b'],
    ])
  })

  it('ends a body without a length when its writer ends, and no other incomplete body', () => {
    const open = new RawResponse('GET')
    open.feed(Buffer.from('HTTP/1.1 200 OK\r\n\r\nabc'))
    assert.equal(open.end(), true)
    const short = new RawResponse('GET')
    short.feed(Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc'))
    assert.equal(short.end(), false)
    assert.equal(new RawResponse('GET').end(), false)
  })

  for (const [title, text] of [
    ['bytes that are not HTTP', '\x81\x02hi\r\n\r\n'],
    ['HTTP/2', 'HTTP/2 200\r\n\r\n'],
    ['a field without a name', 'HTTP/1.1 200 OK\r\n: x\r\n\r\n'],
    ['a length that is none', 'HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n'],
    ['another coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n'],
    ['a chunk size that is none', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'],
    ['a chunk that is too long', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc'],
    ['bytes after the end', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab'],
    ['a head without an end', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}`],
  ] as const) {
    it(`refuses ${title}`, () => {
      assert.throws(() => read(text, text.length), LocalProtocolError)
    })
  }
})
