import assert from 'node:assert/strict'
import { describe, it, mock } from 'node:test'
import zlib from 'node:zlib'
import { type CompressOptions, compress, isCompressible } from '../../../middleware/compress/compress.ts'
import { CompressStream, codings, SYNC_MAX } from '../../../middleware/compress/content-coding.ts'
import type { Application, Headers } from '../../../protocol/contract/application.ts'
import { type CallRequest, type CallResult, call } from '../../../protocol/contract/call.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { run } from '../../support/exchange.ts'
import { RecordingLog } from '../../support/log.ts'
import { places } from '../../support/places.ts'

const sentence = 'Tell me where is fancy bred, or in the heart or in the head? '
const page = Buffer.from(sentence.repeat(100))
const html: Headers = [['Content-Type', 'text/html; charset=utf-8']]

function giving(headers: Headers = html, body: Uint8Array = page, status = '200 OK'): Application {
  return (_, start) => {
    start(status, headers)
    return [body]
  }
}

function streaming(headers: Headers = html): Application {
  return (_, start) => {
    start('200 OK', headers)
    return (function* () {
      for (let at = 0; at < page.length; at += 1000) yield page.subarray(at, at + 1000)
    })()
  }
}

function asked(application: Application, accepted?: string, options?: CompressOptions, request: CallRequest = {}) {
  const headers = { ...(accepted === undefined ? {} : { 'Accept-Encoding': accepted }), ...request.headers }
  return call(compress(options)(application), { ...request, headers: headers as Record<string, string> })
}

function decoded({ header, body }: CallResult): Buffer {
  const encoding = header('content-encoding')
  if (encoding === 'br') return zlib.brotliDecompressSync(body)
  if (encoding === 'zstd') return zlib.zstdDecompressSync(body)
  if (encoding === 'gzip') return zlib.gunzipSync(body)
  assert.equal(encoding, undefined)
  return body
}

describe('compress', () => {
  for (const coding of codings) {
    it(`compresses a whole body with ${coding}, with its length`, async () => {
      for (const body of [page, Buffer.alloc(SYNC_MAX * 3, sentence)]) {
        const result = await asked(giving(html, body), coding)
        assert.equal(result.header('content-encoding'), coding)
        assert.equal(result.header('content-length'), String(result.body.length))
        assert.equal(result.header('vary'), 'Accept-Encoding')
        assert.ok(result.body.length < body.length / 2)
        assert.deepEqual(decoded(result), body)
      }
    })

    it(`compresses a stream with ${coding}, without a length`, async () => {
      const result = await asked(streaming([...html, ['Content-Length', String(page.length)]]), coding)
      assert.equal(result.header('content-encoding'), coding)
      assert.equal(result.header('content-length'), undefined)
      assert.deepEqual(decoded(result), page)
    })

    it(`sends with ${coding} all of a chunk before it requests the next one`, async () => {
      const seen: string[] = []
      const decoder =
        coding === 'br'
          ? zlib.createBrotliDecompress()
          : coding === 'zstd'
            ? zlib.createZstdDecompress()
            : zlib.createGunzip()
      let text = ''
      decoder.on('data', (chunk: Buffer) => {
        text += chunk
      })
      const made = run(
        compress()(async function* (_, start) {
          start('200 OK', html)
          for (const word of ['one ', 'two ', 'three ']) {
            yield Buffer.from(word)
            // Only the bytes that have reached the client so far are decoded.
            const chunks = made.sink.chunks.splice(0)
            await new Promise<void>((resolve) => {
              decoder.write(Buffer.concat(chunks), () => resolve())
            })
            seen.push(text)
          }
        }),
        { headers: ['Host', 'h', 'Accept-Encoding', coding] },
      )
      await made.whenSettled
      decoder.destroy()
      assert.deepEqual(seen, ['one ', 'one two ', 'one two three '])
    })

    it(`ends an empty stream as ${coding} ends`, async () => {
      const result = await asked((_, start) => {
        start('200 OK', html)
        return [][Symbol.iterator]()
      }, coding)
      assert.equal(result.header('content-encoding'), coding)
      assert.equal(decoded(result).length, 0)
    })
  }

  it('chooses by q-values, and by its own order if they are equal', async () => {
    const cases: [accepted: string | undefined, coding: string | undefined][] = [
      [undefined, undefined],
      ['', undefined],
      ['gzip, deflate, br, zstd', 'br'],
      ['gzip, zstd', 'zstd'],
      ['br;q=0.5, gzip;q=0.8', 'gzip'],
      ['br;q=0, *', 'zstd'],
      ['*', 'br'],
      ['*;q=0', undefined],
      ['identity;q=0', undefined],
      ['identity;q=0, gzip', 'gzip'],
      ['gzip;q=0.5, identity', undefined],
      ['deflate', undefined],
      ['x-gzip', 'gzip'],
      ['GZIP', 'gzip'],
      ['gzip;q=0', undefined],
      [',;=,;q', undefined],
    ]
    for (const [accepted, coding] of cases) {
      const result = await asked(giving(), accepted)
      assert.equal(result.header('content-encoding'), coding, String(accepted))
      assert.equal(result.header('vary'), 'Accept-Encoding', String(accepted))
      assert.deepEqual(decoded(result), page)
    }
    const result = await asked(giving(), 'gzip, br', { encodings: ['gzip'] })
    assert.equal(result.header('content-encoding'), 'gzip')
  })

  it('passes other responses unchanged', async () => {
    const cases: [string, Application, Record<string, string>?][] = [
      ['an image', giving([['Content-Type', 'image/png']])],
      ['events', giving([['Content-Type', 'text/event-stream']])],
      ['no type', giving([])],
      ['no-transform', giving([...html, ['Cache-Control', 'private, no-transform']])],
      ['a request with no-transform', giving(), { 'Cache-Control': 'no-transform' }],
      ['what is encoded', giving([...html, ['Content-Encoding', 'deflate']])],
      ['a range', giving([...html, ['Content-Range', 'bytes 0-6099/9999']], page, '206 Partial Content')],
      ['ranges', giving([['Content-Type', 'multipart/byteranges; boundary=x']], page, '206 Partial Content')],
      ['what names a file', giving([...html, ['X-Sendfile', '/srv/a.html']])],
      ['what names a location', giving([...html, ['X-Accel-Redirect', '/files/a.html']])],
      ['what is short', giving([...html, ['Content-Length', '10']], page.subarray(0, 10))],
    ]
    for (const [name, application, headers = {}] of cases) {
      const bare = await call(application, { headers: { 'Accept-Encoding': 'gzip', ...headers } })
      const { body, headers: fields } = await asked(application, 'gzip', {}, { headers })
      assert.deepEqual([body, fields], [bare.body, bare.headers], name)
    }
  })

  it('does not compress a body that is short, or would grow', async () => {
    const short = await asked(giving(html, Buffer.from('short')), 'gzip')
    assert.deepEqual([short.header('content-encoding'), short.text], [undefined, 'short'])
    const noise = Buffer.from(Array.from({ length: 2000 }, (_, at) => (at * 7919 * (at + 13)) & 255))
    const dense = zlib.brotliCompressSync(noise)
    const grown = await asked(
      giving(
        [
          ['Content-Type', 'text/plain'],
          ['ETag', '"a"'],
        ],
        dense,
      ),
      'gzip',
      { threshold: 0 },
    )
    assert.deepEqual([grown.header('content-encoding'), grown.header('etag')], [undefined, '"a"'])
    assert.deepEqual(grown.body, dense)
  })

  it('uses the threshold and the types of its options', async () => {
    const own = await asked(giving([['Content-Type', 'application/x-Own; a=b']], page.subarray(0, 100)), 'gzip', {
      threshold: 50,
      compressible: (type) => type === 'application/x-own',
    })
    assert.equal(own.header('content-encoding'), 'gzip')
  })

  it('changes the fields that describe the bytes', async () => {
    const { headers } = await asked(
      giving([
        ...html,
        ['ETag', '"abc"'],
        ['Accept-Ranges', 'bytes'],
        ['Content-MD5', 'x'],
        ['Repr-Digest', 'sha-256=:x:'],
        ['vary', 'Cookie'],
        ['Set-Cookie', 'a=b'],
        ['Set-Cookie', 'c=d'],
      ]),
      'zstd',
    )
    assert.deepEqual(
      headers.filter(([name]) => name !== 'Content-Length'),
      [
        ...html,
        ['ETag', 'W/"abc"'],
        ['vary', 'Cookie, Accept-Encoding'],
        ['Set-Cookie', 'a=b'],
        ['Set-Cookie', 'c=d'],
        ['Content-Encoding', 'zstd'],
      ],
    )
  })

  it('does not change the list of the application', async () => {
    const headers: Headers = Object.freeze([...html, Object.freeze(['ETag', '"a"'])]) as Headers
    await asked(giving(headers), 'gzip')
    await asked(giving(headers), undefined)
    assert.deepEqual(headers, [...html, ['ETag', '"a"']])
  })

  it('repeats in a 304 the weak ETag that the client has, and only then', async () => {
    const application: Application = (_, start) => {
      start('304 Not Modified', [['ETag', '"a"']])
      return []
    }
    for (const [asks, etag] of [
      ['W/"a"', 'W/"a"'],
      ['"x", W/"a"', 'W/"a"'],
      ['"a"', '"a"'],
      ['W/"a", "a"', '"a"'],
      ['*', '"a"'],
    ]) {
      const result = await asked(application, 'gzip', {}, { headers: { 'If-None-Match': asks! } })
      assert.deepEqual([result.status, result.header('etag'), result.body.length], [304, etag, 0])
    }
  })

  it('answers a HEAD with the fields of the GET, without a length, and does not read its body', async () => {
    let given = 0
    let closed = 0
    const application: Application = (_, start) => {
      start('200 OK', [...html, ['ETag', '"a"'], ['Content-Length', '6100']])
      const chunks = (function* () {
        for (;;) {
          given++
          yield page
        }
      })()
      return Object.assign(chunks, { close: () => void closed++ })
    }
    const { headers, body } = await asked(application, 'br', {}, { method: 'HEAD' })
    assert.deepEqual(headers, [...html, ['ETag', 'W/"a"'], ['Vary', 'Accept-Encoding'], ['Content-Encoding', 'br']])
    assert.deepEqual([body.length, given, closed], [0, 1, 1])
  })

  it('compresses written bytes, and sends each write at once', async () => {
    const result = await asked(async (_, start) => {
      const write = start('200 OK', html)
      await write(page)
      await write(Buffer.alloc(0))
      await write(page)
      return [page]
    }, 'gzip')
    assert.deepEqual(decoded(result), Buffer.concat([page, page, page]))
  })

  it('passes an uncompressed body on as the same object', () => {
    const body = [page]
    const application: Application = (_, start) => {
      start('200 OK', html)
      return body
    }
    run((environ, start) => {
      const given = compress()(application)(environ, start)
      assert.equal(given, body)
      return given
    })
  })

  it('refuses invalid options, with the expected form', () => {
    const wrong: [unknown, RegExp][] = [
      [{ encodings: ['deflate'] }, /encodings is \[ 'deflate' \], expected an array of some of br, zstd, gzip/],
      [{ encodings: [] }, /encodings is \[\]/],
      [{ threshold: -1 }, /threshold is -1, expected a number of bytes/],
      [{ threshold: Number.NaN }, /threshold is NaN/],
      [{ levels: { br: 12 } }, /levels.br is 12, expected a whole number from 0 to 11/],
      [{ levels: { lzma: 1 } }, /unknown option levels.lzma/],
      [{ compressible: 'text/html' }, /compressible is "text\/html", expected a function/],
    ]
    for (const [options, message] of wrong) {
      assert.throws(() => compress(options as CompressOptions), { name: 'TypeError', message })
    }
  })

  it('recognises text under its other names', () => {
    for (const type of ['text/html', 'application/json', 'image/svg+xml', 'application/problem+json', 'font/ttf']) {
      assert.ok(isCompressible(type), type)
    }
    for (const type of ['image/png', 'video/mp4', 'application/zip', 'font/woff2', 'text/event-stream']) {
      assert.ok(!isCompressible(type), type)
    }
  })
})

describe('compress, at the end of a response', () => {
  /** Every zlib stream that is created during a test. */
  async function watched(action: (streams: zlib.Gzip[]) => Promise<void>): Promise<void> {
    const streams: zlib.Gzip[] = []
    const real = zlib.createGzip
    const spy = mock.method(zlib, 'createGzip', (options: zlib.ZlibOptions) => {
      const stream = real(options)
      streams.push(stream)
      return stream
    })
    try {
      await action(streams)
    } finally {
      spy.mock.restore()
    }
  }
  const gzip = ['Host', 'h', 'Accept-Encoding', 'gzip']

  it('frees the memory of zlib after a complete and after an aborted response', async () => {
    await watched(async (streams) => {
      await asked(streaming(), 'gzip')
      const failing = await asked(async function* (_, start) {
        start('200 OK', html)
        yield page
        throw new Error('in the middle')
      }, 'gzip')
      assert.equal(failing.aborted?.code, 'APPLICATION')
      assert.deepEqual(
        streams.map((stream) => stream.destroyed),
        [true, true],
      )
    })
  })

  it('frees the memory of zlib when the client disconnects during a push', async () => {
    await watched(async (streams) => {
      let closed = 0
      const noise = Buffer.alloc(4 << 20, sentence)
      const { exchange, whenSettled } = run(
        compress()((_, start) => {
          start('200 OK', html)
          return Object.assign(
            (function* () {
              for (;;) yield noise
            })(),
            { close: () => void closed++ },
          )
        }),
        { headers: gzip },
      )
      while (streams.length === 0) await new Promise((resolve) => setImmediate(resolve))
      exchange.abort(new AbortError('CLIENT_GONE', 'gone'))
      await whenSettled
      assert.deepEqual([streams.map((stream) => stream.destroyed), closed], [[true], 1])
    })
  })

  it('creates no zlib stream without a push', async () => {
    await watched(async (streams) => {
      await asked(streaming(), 'gzip', {}, { method: 'HEAD' })
      await asked(giving(), 'gzip')
      assert.deepEqual(streams, [])
    })
  })

  it('aborts the response visibly when zlib fails', async () => {
    const log = new RecordingLog()
    await watched(async (streams) => {
      const result = await asked(
        async function* (_, start) {
          start('200 OK', html)
          yield page
          streams[0]!.destroy(new Error('zlib failed'))
          yield page
        },
        'gzip',
        {},
        { log },
      )
      assert.equal(result.aborted?.code, 'APPLICATION')
      assert.deepEqual(log.messages('error'), [
        'the application failed after its head was sent; the response was aborted',
      ])
    })
  })

  it('reads no more chunks while the client reads nothing', async () => {
    let given = 0
    const made = run(
      compress()(async function* (_, start) {
        start('200 OK', html)
        for (; given < 100; given++) yield page
      }),
      { headers: gzip, hold: true },
    )
    made.sink.room = false
    made.exchange.run()
    while (made.sink.chunks.length === 0) await new Promise((resolve) => setImmediate(resolve))
    for (let round = 0; round < 20; round++) await new Promise((resolve) => setImmediate(resolve))
    assert.equal(given, 0)
    assert.equal(made.sink.chunks.length, 1)
    made.sink.room = true
    made.exchange.resume()
    await made.whenSettled
    assert.equal(given, 100)
  })
})

describe('CompressStream', () => {
  for (const coding of codings) {
    it(`returns all that ${coding} makes of a chunk larger than its buffers`, async () => {
      const filter = new CompressStream(coding, 4)
      let state = 1
      const noise = Buffer.from(
        Uint8Array.from({ length: 300_000 }, () => (state = (state * 48271) % 2147483647) & 255),
      )
      const output = [await filter.push(noise), await filter.push(noise), await filter.end()]
      filter.close()
      const result = { header: () => coding, body: Buffer.concat(output) } as unknown as CallResult
      assert.deepEqual(decoded(result), Buffer.concat([noise, noise]))
    })
  }
})

for (const place of places) {
  describe(`compress ${place.name}`, () => {
    for (const [name, application] of Object.entries({ array: giving(), stream: streaming() })) {
      for (const method of ['GET', 'HEAD']) {
        for (const accepted of ['br', 'identity']) {
          it(`keeps the contract for a ${method} of an ${name} with ${accepted}`, async () => {
            await using placed = await place.put(compress(), application)
            const result = await call(placed.application, { method, headers: { 'Accept-Encoding': accepted } })
            assert.equal(result.header('content-encoding'), accepted === 'br' ? 'br' : undefined)
            assert.deepEqual(method === 'HEAD' ? result.body.length : decoded(result), method === 'HEAD' ? 0 : page)
          })
        }
      }
    }

    it('keeps the contract when the client disconnects', async () => {
      const begun = Promise.withResolvers<void>()
      await using placed = await place.put(compress(), async function* (_, start) {
        start('200 OK', html)
        for (;;) {
          yield page
          begun.resolve()
          await new Promise((resolve) => setImmediate(resolve))
        }
      })
      const controller = new AbortController()
      const calling = call(placed.application, { signal: controller.signal, headers: { 'Accept-Encoding': 'gzip' } })
      await begun.promise
      controller.abort()
      assert.equal((await calling).aborted?.code, 'CLIENT_GONE')
    })
  })
}
