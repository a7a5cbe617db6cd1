/** Chunk extensions with white space, whole and in pieces. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { defaultLimits } from '../../../../protocol/http1/codec/limits.ts'
import { RequestParser } from '../../../../protocol/http1/codec/parser.ts'
import { seeded } from '../../../support/random.ts'

const HEAD = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'
/** The grammar of RFC 9112 §7.1.1; lines that have white space outside quotes. */
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const VALUE = `(?:${TOKEN}|"(?:[\\t \\x21\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\t \\x21-\\x7e\\x80-\\xff])*")`
const LINE = new RegExp(`^[0-9A-Fa-f]+(?:[\\t ]*;[\\t ]*${TOKEN}(?:[\\t ]*=[\\t ]*${VALUE})?)*$`)

/** The body of a chunked message that is read in pieces of `size` bytes; if it is refused, the code of the error. */
function read(body: string, size: number): string {
  const parser = new RequestParser(defaultLimits)
  const bytes = Buffer.from(HEAD + body, 'latin1')
  let text = ''
  for (let at = 0; at < bytes.length; at += size) {
    // A copy: the parser must return the client's bytes, whatever it writes while it reads them.
    parser.push(Buffer.from(bytes.subarray(at, at + size)))
    for (let event = parser.next(); event !== 'more'; event = parser.next()) {
      if (event === 'data') text += Buffer.from(parser.data).toString('latin1')
      if (event === 'end') return text
      if (event === 'error') return parser.error!.code
    }
  }
  return 'MORE'
}

const PARTS = ['3', ' ', '\t', ';', 'a', 'b1', '=', '"', '"c d"', '\\', '\\"', '\x01', '\xe9', '"\\""', '-']

suite('a chunk line', () => {
  test('is accepted if the grammar allows it, in pieces of every size', () => {
    const next = seeded(20_261_130)
    const taken = [0, 0]
    for (let round = 0; round < 20_000; round++) {
      let line = '3'
      for (let count = Math.floor(next() * 9); count > 0; count--) line += PARTS[Math.floor(next() * PARTS.length)]!
      // llhttp judges lines without white space outside quotes, and accepts a little more.
      const outside = line.replace(/"(?:[^"\\]|\\.)*"/g, '')
      const valid = LINE.test(line)
      if (!valid && !/[\t ]/.test(outside)) continue
      const length = Number.parseInt(line, 16)
      if (length > 4096) continue
      const data = '; '.repeat(length).slice(0, length)
      const body = `${line}\r\n${data}\r\n0 ; ${valid ? 'z' : 'a b'}\r\n\r\n`
      const results = [1, 3, 1000].map((size) => read(body, size))
      assert.deepEqual(
        results,
        results.map(() => (valid ? data : 'BAD_CHUNK')),
        JSON.stringify(line),
      )
      taken[valid ? 1 : 0]!++
    }
    assert.ok(
      taken.every((count) => count > 500),
      taken.join(),
    )
  })

  test('does not change the bytes of the client', () => {
    const body = Buffer.from(`${HEAD}3 ; a = "b"\r\n; =\r\n0\r\n\r\n`, 'latin1')
    const before = Buffer.from(body)
    const parser = new RequestParser(defaultLimits)
    parser.push(body)
    while (!['end', 'error', 'more'].includes(parser.next())) {}
    assert.deepEqual(body, before)
  })
})
