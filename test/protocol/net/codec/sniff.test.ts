import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { SNIFF_BYTES, sniff, type Wire } from '../../../../protocol/net/codec/sniff.ts'

const V2 = '\r\n\r\n\0\r\nQUIT\n'

const table: [what: string, bytes: string, wire: Wire][] = [
  ['our HELLO', '\xc1gantry', 'frames'],
  ['a uwsgi request', '\x00\x10\x00\x00', 'uwsgi'],
  ['a uwsgi request with modifier1 30', '\x1e\x10\x00\x00', 'uwsgi'],
  ['a uwsgi ping', '\x64\x00\x00\x00', 'uwsgi'],
  ['a FastCGI BEGIN_REQUEST', '\x01\x01\x00\x01', 'fastcgi'],
  ['an SCGI netstring', '70:CONTENT_LENGTH\x000\x00', 'scgi'],
  ['a GET', 'GET / HTTP/1.1\r\n', 'http'],
  ['a POST', 'POST / HTTP/1.1\r\n', 'http'],
  ['a PUT', 'PUT / HTTP/1.1\r\n', 'http'],
  ['a PROPFIND', 'PROPFIND / HTTP/1.1\r\n', 'http'],
  ['a method that begins as the HTTP/2 preface does', 'PRI /x HTTP/1.1\r\n', 'http'],
  ['an HTTP request after a CRLF', '\r\nGET / HTTP/1.1\r\n', 'http'],
  ['an HTTP request after two CRLFs', '\r\n\r\nGET / HTTP/1.1\r\n', 'http'],
  ['the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'h2c'],
  ['a PROXY protocol line', 'PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n', 'proxy-v1'],
  ['a PROXY protocol v2 header', `${V2}\x21\x11`, 'proxy-v2'],
  ['a TLS ClientHello', '\x16\x03\x01\x02\x00', 'tls'],
  ['an SSH banner begins as HTTP might', 'SSH-2.0-OpenSSH_9.2', 'http'],
  ['a bare carriage return', '\rGET', 'unknown'],
  ['a bare line feed', '\nGET', 'unknown'],
  ['a lower-case method', 'get / HTTP/1.1', 'unknown'],
  ['0xFF', '\xff\xff', 'unknown'],
]

describe('sniff', () => {
  for (const [what, text, wire] of table) {
    const bytes = Buffer.from(text, 'latin1')

    it(`recognises ${what} as ${wire}`, () => {
      assert.equal(sniff(bytes), wire)
    })

    it(`needs more bytes or returns the same at every byte of ${what}`, () => {
      const answers = Array.from(bytes, (_, index) => sniff(bytes.subarray(0, index + 1)))
      const first = answers.findIndex((answer) => answer !== undefined)
      assert.deepEqual(answers.slice(0, first), new Array(first).fill(undefined))
      assert.deepEqual(new Set(answers.slice(first)), new Set([wire]))
    })
  }

  it('needs more bytes if nothing has arrived', () => {
    assert.equal(sniff(new Uint8Array()), undefined)
  })

  it('needs the whole signature of PROXY protocol v2, of which a part may precede HTTP', () => {
    const signature = Buffer.from(V2, 'latin1')
    assert.equal(sniff(signature.subarray(0, 11)), undefined)
    assert.equal(sniff(signature), 'proxy-v2')
    assert.equal(sniff(Buffer.concat([signature.subarray(0, 4), Buffer.from('G')])), 'http')
  })

  it('always decides within SNIFF_BYTES, and never changes its decision', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: SNIFF_BYTES, maxLength: 40 }), (bytes) => {
        const answer = sniff(bytes.subarray(0, SNIFF_BYTES))
        assert.notEqual(answer, undefined)
        assert.equal(sniff(bytes), answer)
        for (let length = 0; length < SNIFF_BYTES; length++) {
          const early = sniff(bytes.subarray(0, length))
          if (early !== undefined) assert.equal(early, answer)
        }
      }),
    )
  })
})
