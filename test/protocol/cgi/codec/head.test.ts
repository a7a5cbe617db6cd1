import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type CgiHead, CgiHeadReader, cgiHead } from '../../../../protocol/cgi/codec/head.ts'
import { RemoteProtocolError } from '../../../../protocol/contract/errors.ts'

/** The head of `text`, parsed whole, byte by byte and in two pieces; and the bytes after it. */
function read(text: string): { head: CgiHead; rest: string } {
  const bytes = Buffer.from(text, 'latin1')
  const results = [
    [bytes],
    [...bytes].map((byte) => Buffer.from([byte])),
    [bytes.subarray(0, 7), bytes.subarray(7)],
  ].map((pieces) => {
    const reader = new CgiHeadReader()
    for (let at = 0; at < pieces.length; at++) {
      const head = reader.receive(pieces[at]!)
      if (head) return { head, rest: Buffer.concat([reader.rest, ...pieces.slice(at + 1)]).toString('latin1') }
    }
    throw new Error('no head')
  })
  assert.deepEqual(results[1], results[0])
  assert.deepEqual(results[2], results[0])
  return results[0]!
}

const response = (status: string, ...headers: [string, string][]): CgiHead => ({ kind: 'response', status, headers })
const TEXT: [string, string] = ['Content-Type', 'text/plain']

describe('a CGI response head', () => {
  for (const [what, text, head] of [
    ['a document', 'Content-Type: text/plain\n\n', response('200 OK', TEXT)],
    ['lines that end in CRLF', 'Content-Type: text/plain\r\n\r\n', response('200 OK', TEXT)],
    ['lines that end either way', 'Content-Type: text/plain\r\n\n', response('200 OK', TEXT)],
    ['a status', 'Status: 404 Not There\nContent-Type: text/plain\n\n', response('404 Not There', TEXT)],
    ['a status without its reason', 'status:404\n\n', response('404 Not Found')],
    ['a status nobody knows', 'Status: 299\n\n', response('299 Unknown')],
    [
      'repeated fields',
      'Set-Cookie: a\nSet-Cookie: b\n\n',
      response('200 OK', ['Set-Cookie', 'a'], ['Set-Cookie', 'b']),
    ],
    ['an empty value, and spaces', 'X-A:\nX-B: \t b \t\n\n', response('200 OK', ['X-A', ''], ['X-B', 'b'])],
    ['a length said twice', 'Content-Length: 5\nContent-Length: 5\n\n', response('200 OK', ['Content-Length', '5'])],
    ['fields of the connection', 'X-A: 1\nConnection: close\nKeep-Alive: 5\n\n', response('200 OK', ['X-A', '1'])],
    ['a client redirect', 'Location: http://h/\n\n', response('302 Found', ['Location', 'http://h/'])],
    ['another host’s path', 'Location: //h/p\n\n', response('302 Found', ['Location', '//h/p'])],
    ['a redirect with a document', 'Status: 303 See\nLocation: /p\n\n', response('303 See', ['Location', '/p'])],
    ['a path with other fields', 'Location: /p\nX-A: 1\n\n', response('302 Found', ['Location', '/p'], ['X-A', '1'])],
    ['a local redirect', 'Location: /p?q=1\n\n', { kind: 'local-redirect', target: '/p?q=1' }],
  ] as [string, string, CgiHead][]) {
    it(`is read: ${what}`, () => {
      assert.deepEqual(read(`${text}body\n\nmore`), { head, rest: 'body\n\nmore' })
    })
  }

  for (const [what, text, code, message] of [
    ['an HTTP response (non-parsed headers)', 'HTTP/1.1 200 OK\r\n\r\n', 'CGI_NPH', /Status: 200 OK/],
    [
      'a line that is no field',
      'Content-Type: text/plain\nTraceback (most recent call last)\n\n',
      'CGI_HEAD',
      /Traceback/,
    ],
    ['a folded line', 'X-A: 1\n 2\n\n', 'CGI_HEAD', /invalid header field/],
    ['a name with a space before its colon', 'X-A : 1\n\n', 'CGI_HEAD', /invalid header field/],
    ['a control character', 'X-A: \x01\n\n', 'CGI_HEAD', /invalid header field/],
    ['a bare CR', 'X-A: 1\rX-B: 2\n\n', 'CGI_HEAD', /invalid header field/],
    ['no field at all', '\n', 'CGI_HEAD', /without fields/],
    ['a status that is none', 'Status: OK\n\n', 'CGI_HEAD', /final status/],
    ['an informational status', 'Status: 101 Switching\n\n', 'CGI_HEAD', /final status/],
    ['two statuses', 'Status: 200\nStatus: 404\n\n', 'CGI_HEAD', /twice/],
    ['two locations', 'Location: /a\nLocation: /b\n\n', 'CGI_HEAD', /twice/],
    ['two lengths', 'Content-Length: 1\nContent-Length: 2\n\n', 'CGI_HEAD', /two values of Content-Length/],
    ['a length that is none', 'Content-Length: -1\n\n', 'CGI_HEAD', /not a number of bytes/],
    ['a transfer coding', 'Transfer-Encoding: chunked\n\n', 'CGI_HEAD', /the server frames the response/],
    ['more than its limit', `X-A: ${'a'.repeat(70_000)}\n\n`, 'CGI_HEAD', /longer than 65536/],
  ] as [string, string, string, RegExp][]) {
    it(`is refused: ${what}`, () => {
      assert.throws(
        () => read(text),
        (error) => {
          assert.ok(error instanceof RemoteProtocolError)
          assert.deepEqual([error.code, error.status], [code, 502])
          assert.match(error.message, message)
          return true
        },
      )
    })
  }

  it('is refused as soon as it is too long, although it is incomplete', () => {
    const reader = new CgiHeadReader(100)
    assert.equal(reader.receive(Buffer.from('X-A: ')), undefined)
    assert.throws(() => reader.receive(Buffer.alloc(100, 'a')), /longer than 100 bytes/)
  })

  it('reports what is missing if the output ends early', () => {
    assert.match(new CgiHeadReader().ended().message, /without a response/)
    const reader = new CgiHeadReader()
    reader.receive(Buffer.from('X-A: 1\n'))
    assert.match(reader.ended().message, /empty line/)
  })

  it('gives a head or a RemoteProtocolError for any bytes', () => {
    const line = fc.constantFrom('Status: 200 OK\n', 'Location: /x\n', 'X: y\r\n', '\n', '\r\n', 'HTTP/1.1 200 OK\n')
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 20 }),
      line.map((text) => new Uint8Array(Buffer.from(text))),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const reader = new CgiHeadReader(64)
        try {
          for (const bytes of pieces) if (reader.receive(bytes)) return
        } catch (error) {
          if (!(error instanceof RemoteProtocolError)) throw error
        }
      }),
    )
  })
})

describe('a CGI response head, written', () => {
  it('has a Status line, and each field', () => {
    const text = cgiHead('200 OK', [TEXT, ['Set-Cookie', 'a'], ['Set-Cookie', 'b']])
    assert.equal(text, 'Status: 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n')
    assert.deepEqual(read(text).head, response('200 OK', TEXT, ['Set-Cookie', 'a'], ['Set-Cookie', 'b']))
  })
})
