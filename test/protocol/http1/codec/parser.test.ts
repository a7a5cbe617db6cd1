import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { RemoteProtocolError } from '../../../../protocol/contract/errors.ts'
import type { ParsedHead } from '../../../../protocol/http1/codec/head.ts'
import { defaultLimits, type Http1Limits } from '../../../../protocol/http1/codec/limits.ts'
import { RequestParser } from '../../../../protocol/http1/codec/parser.ts'
import { BAD, GOOD, type Good } from '../requests.ts'

interface Message {
  head: ParsedHead
  body: string
  trailers: string[]
  ended: boolean
}

interface Result {
  messages: Message[]
  error: { status: number; code: string } | undefined
}

/** The parser's events for these pieces, independent of where the pieces are split. */
function parse(pieces: Iterable<Uint8Array>, limits: Http1Limits = defaultLimits): Result {
  const parser = new RequestParser(limits)
  const messages: Message[] = []
  let error: RemoteProtocolError | undefined
  for (const piece of pieces) {
    parser.push(piece)
    for (let event = parser.next(); event !== 'more'; event = parser.next()) {
      const last = messages.at(-1)
      if (event === 'head') messages.push({ head: parser.head, body: '', trailers: [], ended: false })
      else if (event === 'data') {
        assert.ok(parser.data.length > 0, 'data is never empty')
        last!.body += Buffer.from(parser.data).toString('latin1')
      } else if (event === 'end') {
        last!.ended = true
        last!.trailers = parser.trailers
      } else {
        error ??= parser.error
        break
      }
    }
  }
  parser.free()
  return { messages, error: error && { status: error.status, code: error.code } }
}

const whole = (text: string): Buffer[] => [Buffer.from(text, 'latin1')]
const byByte = (text: string): Buffer[] => {
  const bytes = Buffer.from(text, 'latin1')
  return Array.from(bytes, (_, at) => bytes.subarray(at, at + 1))
}
const NEXT = 'GET /next HTTP/1.1\r\nHost: next\r\n\r\n'

function expected(good: Good): Omit<Message, 'ended'> {
  const coding = good.headers.findIndex((name) => name.toLowerCase() === 'transfer-encoding')
  return {
    head: {
      method: good.method,
      target: good.target,
      minor: good.minor ?? 1,
      headers: good.headers,
      upgrade: good.upgrade ?? false,
      bodyLength: coding !== -1 ? -1 : (good.body ?? '').length,
      keepAlive: good.keepAlive ?? true,
      expectContinue: good.expectContinue ?? false,
    },
    body: good.body ?? '',
    trailers: good.trailers ?? [],
  }
}

describe('the tables', () => {
  it('have the expected number of entries', () => {
    assert.ok(BAD.length >= 80, `${BAD.length} bad requests`)
    assert.ok(GOOD.length >= 60, `${GOOD.length} good requests`)
    for (const table of [BAD, GOOD]) assert.equal(new Set(table.map(({ bytes }) => bytes)).size, table.length)
  })
})

describe('a request that must be refused:', () => {
  for (const { title, bytes, status, code, inBody } of BAD) {
    it(`${title} (${status})`, () => {
      const once = parse(whole(bytes))
      assert.deepEqual(once.error, { status, code })
      assert.equal(once.messages.length, inBody ? 1 : 0, 'requests seen')
      assert.ok(!once.messages[0]?.ended, 'not ended')
      assert.deepEqual(parse(byByte(bytes)), once, 'byte by byte')
      assert.deepEqual(parse(whole(bytes + NEXT)), once, 'with another request after it')
      assert.deepEqual(parse(whole(NEXT + bytes)).error, once.error, 'with another request before it')
    })
  }
})

describe('a request that must be accepted:', () => {
  for (const good of GOOD) {
    it(good.title, () => {
      const message = { ...expected(good), ended: true }
      assert.deepEqual(parse(whole(good.bytes)), { messages: [message], error: undefined })
      assert.deepEqual(parse(byByte(good.bytes)), { messages: [message], error: undefined }, 'byte by byte')
      const next = { head: parse(whole(NEXT)).messages[0]!.head, body: '', trailers: [], ended: true }
      const pipelined = parse(whole(good.bytes + NEXT))
      assert.deepEqual(pipelined, { messages: [message, next], error: undefined }, 'with another request after it')
      assert.deepEqual(parse(byByte(good.bytes + NEXT)), pipelined, 'both byte by byte')
    })
  }
})

describe('limits', () => {
  const limits = { ...defaultLimits, body: 5 }

  it('refuse a declared body that is too large before its first byte', () => {
    const result = parse(whole('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef'), limits)
    assert.deepEqual(result, { messages: [], error: { status: 413, code: 'BODY_TOO_LARGE' } })
  })

  it('accept a declared body of exactly the limit', () => {
    const result = parse(whole('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde'), limits)
    assert.equal(result.messages[0]?.body, 'abcde')
    assert.equal(result.error, undefined)
  })

  it('refuse a chunked body at the first byte above the limit, however it is split', () => {
    const text = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n'
    const result = parse(whole(text), limits)
    assert.deepEqual(result.error, { status: 413, code: 'BODY_TOO_LARGE' })
    assert.equal(result.messages[0]?.body, 'abcde')
    assert.deepEqual(parse(byByte(text), limits), result)
  })

  it('count chunk overhead over the whole body, without plain framing', () => {
    const chunk = `1;${'x'.repeat(30)}\r\na\r\n`
    // Each chunk has 16 bytes of overhead; 16 KiB are 1,024 such chunks, minus the rest of the last one.
    const text = (chunks: number): string =>
      `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.repeat(chunks)}0\r\n\r\n`
    assert.equal(parse(whole(text(1000))).error, undefined)
    assert.equal(parse(whole(text(1200))).error?.code, 'CHUNK_OVERHEAD')
    assert.deepEqual(parse(byByte(text(1200))), parse(whole(text(1200))))
  })
})

describe('the parser', () => {
  it('returns a body without a copy', () => {
    const parser = new RequestParser(defaultLimits)
    const bytes = Buffer.from('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc', 'latin1')
    parser.push(bytes)
    parser.next()
    assert.equal(parser.next(), 'data')
    assert.equal(parser.data.buffer, bytes.buffer)
    parser.free()
  })

  it('does not change bytes that it received or returned', () => {
    const parser = new RequestParser(defaultLimits)
    const first = Buffer.from('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n', 'latin1')
    const copy = Buffer.from(first)
    parser.push(first)
    assert.equal(parser.next(), 'more')
    parser.push(Buffer.from('\r\nabc', 'latin1'))
    assert.deepEqual(first, copy)
    parser.next()
    parser.next()
    const data = parser.data
    parser.push(Buffer.from('def', 'latin1'))
    parser.next()
    parser.push(Buffer.from(NEXT, 'latin1'))
    assert.equal(Buffer.from(data).toString(), 'abc')
    parser.free()
  })

  it('returns names as they are spelled, also if the head before had another name at that position', () => {
    const heads = [
      'Host: a\r\nAccept: x\r\n',
      'HOST: a\r\naccept: y\r\n',
      'Accept: z\r\nHost: a\r\n',
      'Hosts: b\r\nHost: a\r\n',
    ]
    const { messages } = parse(whole(heads.map((fields) => `GET / HTTP/1.1\r\n${fields}\r\n`).join('')))
    assert.deepEqual(
      messages.map(({ head }) => head.headers),
      [
        ['Host', 'a', 'Accept', 'x'],
        ['HOST', 'a', 'accept', 'y'],
        ['Accept', 'z', 'Host', 'a'],
        ['Hosts', 'b', 'Host', 'a'],
      ],
    )
  })

  it('returns only its error after an error', () => {
    const parser = new RequestParser(defaultLimits)
    parser.push(Buffer.from('GET / HTTP/1.1\r\n\r\n', 'latin1'))
    assert.equal(parser.next(), 'error')
    parser.push(Buffer.from(NEXT, 'latin1'))
    assert.equal(parser.next(), 'error')
    assert.equal(parser.error?.code, 'HOST_MISSING')
    assert.equal(parser.buffered, 0)
  })

  it('returns the bytes after a head when the connection is upgraded', () => {
    const parser = new RequestParser(defaultLimits)
    parser.push(Buffer.from(`${NEXT}\x81\x00 anything`, 'latin1'))
    assert.equal(parser.next(), 'head')
    assert.equal(parser.detach().toString('latin1'), '\x81\x00 anything')
    assert.equal(parser.next(), 'error')
  })

  it('knows whether a further request has begun', () => {
    const parser = new RequestParser(defaultLimits)
    assert.equal(parser.between, true)
    parser.push(Buffer.from('GET', 'latin1'))
    parser.next()
    assert.equal(parser.between, false)
    parser.push(Buffer.from(' / HTTP/1.1\r\nHost: a\r\n\r\n', 'latin1'))
    parser.next()
    parser.next()
    assert.equal(parser.between, true)
  })

  it('parses two chunked bodies on two connections alternately', () => {
    const parsers = [0, 1].map(() => new RequestParser(defaultLimits))
    const bodies = ['', '']
    const text = (letter: string): Buffer[] =>
      byByte(
        `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n${letter.repeat(3)}\r\n0\r\nT: ${letter}\r\n\r\n`,
      )
    const pieces = [text('x'), text('y')]
    for (let at = 0; at < pieces[0]!.length; at++) {
      for (const [index, parser] of parsers.entries()) {
        parser.push(pieces[index]![at]!)
        for (let event = parser.next(); event !== 'more'; event = parser.next()) {
          if (event === 'data') bodies[index] += Buffer.from(parser.data).toString('latin1')
          if (event === 'end') bodies[index] += parser.trailers.join()
        }
      }
    }
    assert.deepEqual(bodies, ['xxxT,x', 'yyyT,y'])
  })
})

describe('for any bytes, however they are split,', () => {
  /** Pieces of valid and invalid requests, and random bytes, joined at random. */
  const fragments = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...GOOD.map(({ bytes }) => bytes).filter((bytes) => bytes.length < 2000)) },
    { weight: 2, arbitrary: fc.constantFrom(...BAD.map(({ bytes }) => bytes).filter((bytes) => bytes.length < 2000)) },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        '\r\n',
        '\n',
        '\r',
        ' ',
        '\t',
        ':',
        'GET ',
        '/ HTTP/1.1',
        'Host: a\r\n',
        '0\r\n\r\n',
        '3\r\nabc\r\n',
      ),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('latin1')) },
  )
  const streams = fc.array(fragments, { maxLength: 6 }).map((parts) => Buffer.from(parts.join(''), 'latin1'))
  const cuts = fc.array(fc.nat(400), { maxLength: 12 })

  function cut(bytes: Buffer, at: number[]): Buffer[] {
    const points = [...new Set(at.map((point) => Math.min(point, bytes.length)))].sort((a, b) => a - b)
    return [...points, bytes.length].map((point, index) => bytes.subarray(index === 0 ? 0 : points[index - 1]!, point))
  }

  it('the events are the same', () => {
    fc.assert(
      fc.property(streams, cuts, (bytes, points) => {
        assert.deepEqual(parse(cut(bytes, points)), parse([bytes]))
      }),
      { numRuns: 1500 },
    )
  })

  it('a valid head contains nothing ambiguous', () => {
    fc.assert(
      fc.property(streams, (bytes) => {
        for (const { head } of parse([bytes]).messages) {
          assert.match(head.target, /^[\x21-\x7e]+$/)
          assert.match(head.method, /^[A-Z-]+$/)
          for (let at = 0; at < head.headers.length; at += 2) {
            assert.match(head.headers[at]!, /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/)
            assert.match(
              head.headers[at + 1]!,
              /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/,
            )
          }
          const names = head.headers.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase())
          const count = (wanted: string): number => names.filter((name) => name === wanted).length
          if (head.minor === 1) assert.equal(count('host'), 1)
          assert.ok(count('content-length') + count('transfer-encoding') <= 1)
          if (count('transfer-encoding') === 1) assert.equal(head.bodyLength, -1)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('bytes with one change give events or one error', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...GOOD.filter(({ bytes }) => bytes.length < 500)),
        fc.nat(),
        fc.nat(255),
        (good, at, value) => {
          const bytes = Buffer.from(good.bytes + NEXT, 'latin1')
          bytes[at % bytes.length] = value
          const result = parse([bytes])
          if (result.error)
            assert.ok([400, 413, 414, 417, 431, 501, 505].includes(result.error.status), `${result.error.status}`)
          assert.deepEqual(parse(Array.from(bytes, (_, index) => bytes.subarray(index, index + 1))), result)
        },
      ),
      { numRuns: 1500 },
    )
  })
})
