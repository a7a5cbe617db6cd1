import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, it } from 'node:test'
import type { Application, Environ, Headers, Outcome, StartResponse } from '../../../protocol/contract/application.ts'
import { AbortError, type RemoteProtocolError } from '../../../protocol/contract/errors.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { serveHttp1 } from '../../../protocol/http1/gateway.ts'
import { silent } from '../../../protocol/log/logger.ts'
import { Deadlines } from '../../../protocol/net/clock.ts'
import { fields } from '../../support/client.ts'
import { FakeClock } from '../../support/clock.ts'
import { Serving, type ServingOptions, still, until } from './serving.ts'

const text: Headers = [['Content-Type', 'text/plain']]
const bytes = (value: string): Buffer => Buffer.from(value, 'latin1')
const MIB = 1024 * 1024

const hello: Application = (_, start) => {
  start('200 OK', text)
  return [bytes('Hello world!\n')]
}
/** Responds with the number of body bytes, after it has read them all. */
const count: Application = async (environ, start) => {
  let size = 0
  for await (const chunk of environ['wsgi.input']) size += chunk.length
  start('200 OK', text)
  return [bytes(String(size))]
}
const echo: Application = (environ, start) => {
  start('200 OK', text)
  return (async function* () {
    yield* environ['wsgi.input']
  })()
}
/** Responds with its path. */
const path: Application = (environ, start) => {
  start('200 OK', text)
  return [bytes(environ.PATH_INFO)]
}

const serve = (application: Application, options?: ServingOptions): Promise<Serving> =>
  Serving.start(lint(application), options)

/** An application that waits for the test. */
function held(): { application: Application; waiting: { environ: Environ; answer(body: string): void }[] } {
  const waiting: { environ: Environ; answer(body: string): void }[] = []
  const application: Application = (environ, start) =>
    new Promise((resolve, reject) => {
      waiting.push({
        environ,
        answer: (body) => {
          try {
            start('200 OK', text)
            resolve([bytes(body)])
          } catch (error) {
            // The client has disconnected.
            reject(error as Error)
          }
        },
      })
    })
  return { application, waiting }
}

describe('a response', () => {
  it('has exactly these bytes', async () => {
    const clock = new FakeClock()
    await using serving = await serve(hello, { clock })
    const client = await serving.client()
    await client.fetch({ target: '/' })
    assert.equal(
      client.raw.toString('latin1'),
      'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nServer: gantry\r\n' +
        'Date: Tue, 14 Nov 2023 22:13:21 GMT\r\n\r\nHello world!\n',
    )
  })

  it('to HEAD has the length and no body', async () => {
    await using serving = await serve((_, start) => {
      start('200 OK', [...text, ['Content-Length', '13']])
      return []
    })
    const client = await serving.client()
    const answer = await client.fetch({ method: 'HEAD', target: '/' })
    assert.deepEqual(fields(answer, 'Content-Length'), ['13'])
    assert.equal((await client.fetch({ method: 'HEAD', target: '/' })).complete, true)
    assert.equal(client.surplus.length, 0)
  })

  it('of unknown length is chunked, and each chunk is sent before the application is asked for the next', async () => {
    const steps: PromiseWithResolvers<void>[] = [Promise.withResolvers(), Promise.withResolvers()]
    await using serving = await serve((_, start) => {
      start('200 OK', text)
      return (async function* () {
        yield bytes('one')
        await steps[0]!.promise
        yield bytes('two')
        await steps[1]!.promise
      })()
    })
    const client = await serving.client()
    const sent = client.request({ target: '/' })
    assert.equal((await sent.has(3)).toString(), 'one')
    steps[0]!.resolve()
    assert.equal((await sent.has(6)).toString(), 'onetwo')
    steps[1]!.resolve()
    const answer = await sent.whole()
    assert.equal(answer.framing, 'chunked')
    assert.equal(answer.complete, true)
  })

  it('has trailers, as the request may have', async () => {
    await using serving = await serve((environ, start) => {
      start('200 OK', text)
      environ.gantry.trailers(async () => [['X-Seen', JSON.stringify(await environ['wsgi.input'].trailers)]])
      return (async function* () {
        yield* environ['wsgi.input']
      })()
    })
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: 'stream' })
    await sent.send('abc')
    sent.finish([['X-Sum', '6']])
    const answer = await sent.whole()
    assert.equal(answer.body.toString(), 'abc')
    assert.deepEqual(answer.trailers, [['X-Seen', '[["X-Sum","6"]]']])
  })

  it('can be preceded by early hints, but not to HTTP/1.0', async () => {
    await using serving = await serve((environ, start) => {
      environ.gantry.earlyHints([['Link', '</a.css>; rel=preload']])
      return hello(environ, start)
    })
    const client = await serving.client()
    const answer = await client.fetch({ target: '/' })
    assert.deepEqual(answer.informational, [
      { status: 103, reason: 'Early Hints', headers: [['Link', '</a.css>; rel=preload']] },
    ])
    const old = await (await serving.client()).fetch({ target: '/', minor: 0 })
    assert.deepEqual(old.informational, [])
  })

  it('of 10 MiB arrives completely, from one chunk or from many', async () => {
    const big = Buffer.alloc(10 * MIB, 'abcdefghijk')
    await using serving = await serve((environ, start) => {
      start('200 OK', text)
      return environ.PATH_INFO === '/one'
        ? [big]
        : (function* () {
            for (let at = 0; at < big.length; at += 100_000) yield big.subarray(at, at + 100_000)
          })()
    })
    const client = await serving.client()
    for (const target of ['/one', '/many', '/one']) {
      const answer = await client.fetch({ target })
      assert.ok(answer.body.equals(big), target)
    }
  })

  it('of each size, whether copied, joined or passed on, has the bytes of the application', async () => {
    const all = Buffer.alloc(300_000, 'abcdefghijk')
    await using serving = await serve((environ, start) => {
      const size = Number(environ.QUERY_STRING)
      start('200 OK', environ.PATH_INFO === '/length' ? [...text, ['Content-Length', String(size)]] : text)
      return environ.PATH_INFO === '/array'
        ? [all.subarray(0, size)]
        : (function* () {
            yield all.subarray(0, size)
          })()
    })
    const client = await serving.client()
    for (const size of [1, 4095, 4096, 4097, 16384, 16385, 65536, 65537, 131072, 131073, 300_000]) {
      for (const target of ['/array', '/length', '/chunked']) {
        const answer = await client.fetch({ target: `${target}?${size}` })
        assert.ok(answer.body.equals(all.subarray(0, size)), `${target} ${size}`)
      }
    }
    assert.equal(client.surplus.length, 0)
  })

  it('that the application does not complete is truncated for the client', async () => {
    await using serving = await serve((_, start) => {
      start('200 OK', text)
      return (async function* () {
        yield bytes('part')
        throw new Error('in mid-body')
      })()
    })
    const client = await serving.client()
    const answer = await client.fetch({ target: '/' })
    assert.equal(answer.body.toString(), 'part')
    assert.equal(answer.complete, false)
    await until(() => serving.settled === 1)
  })

  it('that is truncated is reset if its body ends with the connection', async () => {
    const cut = Promise.withResolvers<void>()
    await using serving = await serve((_, start) => {
      start('200 OK', text)
      return (async function* () {
        yield bytes('part')
        await cut.promise
        throw new Error('in mid-body')
      })()
    })
    const client = await serving.client()
    const sent = client.request({ target: '/', minor: 0 })
    await sent.has(4)
    cut.resolve()
    const answer = await sent.whole()
    assert.equal(answer.framing, 'close')
    assert.equal(answer.complete, false)
    assert.equal(await client.whenEnded(), 'reset')
  })

  it('that is truncated on a Unix socket stays open until the client disconnects if its body ends with the connection', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'gantry-'))
    try {
      const cut = Promise.withResolvers<void>()
      await using serving = await serve(
        (_, start) => {
          start('200 OK', text)
          return (async function* () {
            yield bytes('part')
            await cut.promise
            throw new Error('in mid-body')
          })()
        },
        { path: join(directory, 'socket') },
      )
      const client = await serving.client()
      const sent = client.request({ target: '/', minor: 0 })
      await sent.has(4)
      cut.resolve()
      await until(() => serving.log.messages('warn').length === 1)
      assert.equal(client.ended, undefined)
      assert.equal(serving.closed, 0)
      client.socket.end()
      await until(() => serving.closed === 1)
      // Or the server must stop.
      const last = await serving.client()
      await last.request({ target: '/', minor: 0 }).has(4)
      await until(() => serving.log.messages('warn').length === 2)
      serving.connections[1]!.abort(new AbortError('DRAIN_TIMEOUT', 'the server had to stop'))
      await until(() => serving.closed === 2)
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})

describe('a connection', () => {
  it('is reused, and its exchanges are settled', async () => {
    await using serving = await serve(path)
    const client = await serving.client()
    for (let at = 0; at < 5; at++) {
      const answer = await client.fetch({ target: `/${at}` })
      assert.equal(answer.body.toString(), `/${at}`)
    }
    assert.equal(serving.sockets.length, 1)
    assert.equal(serving.settled, 5)
    assert.equal(client.reusable, true)
  })

  it('closes after Connection: close, and announces it', async () => {
    await using serving = await serve(hello)
    const client = await serving.client()
    const answer = await client.fetch({ target: '/', headers: [['Connection', 'close']] })
    assert.deepEqual(fields(answer, 'Connection'), ['close'])
    assert.equal(await client.whenEnded(), 'fin')
    client.socket.end()
    await until(() => serving.closed === 1)
  })

  it('of HTTP/1.0 closes, unless it asks not to and the length is known', async () => {
    await using serving = await serve((environ, start) => {
      start('200 OK', text)
      return environ.PATH_INFO === '/known'
        ? [bytes('abc')]
        : (function* () {
            yield bytes('abc')
            yield bytes('def')
          })()
    })
    const closing = await serving.client()
    assert.deepEqual(fields(await closing.fetch({ target: '/known', minor: 0 }), 'Connection'), ['close'])
    assert.equal(await closing.whenEnded(), 'fin')
    const keeping = await serving.client()
    const headers: Headers = [['Connection', 'keep-alive']]
    const known = await keeping.fetch({ target: '/known', minor: 0, headers })
    assert.deepEqual(fields(known, 'Connection'), ['keep-alive'])
    const unknown = await keeping.fetch({ target: '/unknown', minor: 0, headers })
    assert.deepEqual(fields(unknown, 'Connection'), ['close'])
    assert.equal(unknown.body.toString(), 'abcdef')
    assert.equal(unknown.complete, true)
  })

  it('answers pipelined requests in order, one at a time', async () => {
    const { application, waiting } = held()
    await using serving = await serve(application)
    const client = await serving.client()
    const sent = ['/a', '/b', '/c'].map((target) => client.request({ target }))
    await until(() => waiting.length === 1)
    await still(() => waiting.length)
    assert.equal(waiting.length, 1, 'the second waits for the first')
    waiting[0]!.answer('first')
    await until(() => waiting.length === 2)
    waiting[1]!.answer('second')
    await until(() => waiting.length === 3)
    waiting[2]!.answer('third')
    const answers = await Promise.all(sent.map((one) => one.whole()))
    assert.deepEqual(
      answers.map(({ body }) => body.toString()),
      ['first', 'second', 'third'],
    )
    assert.deepEqual(
      serving.environs.map(({ PATH_INFO }) => PATH_INFO),
      ['/a', '/b', '/c'],
    )
  })

  it('answers a thousand pipelined requests in order', async () => {
    await using serving = await serve(async (environ, start) => {
      if (environ.PATH_INFO.endsWith('7')) await null
      return path(environ, start)
    })
    const client = await serving.client()
    const sent = Array.from({ length: 1000 }, (_, at) => client.request({ target: `/${at}` }))
    const answers = await Promise.all(sent.map((one) => one.whole()))
    assert.deepEqual(
      answers.map(({ body }) => body.toString()),
      Array.from({ length: 1000 }, (_, at) => `/${at}`),
    )
    assert.equal(client.surplus.length, 0)
  })

  it('accepts requests byte by byte', async () => {
    await using serving = await serve(count)
    const client = await serving.client()
    const answers = [client.expect('POST'), client.expect('GET')]
    for (const byte of bytes(
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n',
    )) {
      await client.write(Buffer.of(byte))
      await new Promise((resolve) => setImmediate(resolve))
    }
    const whole = await Promise.all(answers.map((one) => one.whole()))
    assert.deepEqual(
      whole.map(({ body }) => body.toString()),
      ['3', '0'],
    )
  })

  it('uses the bytes that were read to recognise the protocol', async () => {
    const first = bytes('GET /first HTTP/1.1\r\nHo')
    await using serving = await serve(path, { first })
    const client = await serving.client()
    const answer = client.expect('GET')
    await client.write('st: a\r\n\r\n')
    assert.equal((await answer.whole()).body.toString(), '/first')
  })

  it('gives the application the address of the client, from the socket or from its caller', async () => {
    await using serving = await serve(hello)
    const client = await serving.client()
    await client.fetch({ target: '/' })
    const environ = serving.environs[0]!
    assert.equal(environ.REMOTE_ADDR, '127.0.0.1')
    assert.equal(environ.REMOTE_PORT, String(client.socket.localPort))
    assert.equal(environ.SERVER_NAME, '127.0.0.1')
    assert.equal(environ.SERVER_PORT, String(client.socket.remotePort))
    assert.equal(environ['wsgi.url_scheme'], 'http')
    await using behind = await serve(hello, {
      peer: { remoteAddress: '192.0.2.1', remotePort: '4711' },
      scheme: 'https',
    })
    await (await behind.client()).fetch({ target: '/' })
    assert.equal(behind.environs[0]?.REMOTE_ADDR, '192.0.2.1')
    assert.equal(behind.environs[0]?.HTTPS, 'on')
  })

  it('gives requests the ids that its options return', async () => {
    await using serving = await serve(
      (environ, start) => {
        start('200 OK', text)
        return [bytes(environ.gantry.requestId)]
      },
      { requestId: (head, { remoteAddress }) => `${remoteAddress}-${head.headers.at(-1)}` },
    )
    const answer = await (await serving.client()).fetch({ target: '/', headers: [['X-Request-Id', 'abc']] })
    assert.equal(answer.body.toString(), '127.0.0.1-abc')
  })

  it('describes itself', async () => {
    const { application, waiting } = held()
    await using serving = await serve(application)
    const client = await serving.client()
    const port = client.socket.localPort
    await until(() => serving.connections.length === 1)
    assert.equal(String(serving.connections[0]), `<Http1 127.0.0.1:${port} idle, 0 requests>`)
    const sent = client.request({ target: '/' })
    await until(() => waiting.length === 1)
    assert.equal(String(serving.connections[0]), `<Http1 127.0.0.1:${port} busy, 1 requests>`)
    waiting[0]!.answer('x')
    await sent.whole()
  })
})

describe('a request body', () => {
  it('is passed on as it arrives, completely, with a length or chunked', async () => {
    const big = Buffer.alloc(5 * MIB, 'abcdefghijk')
    await using serving = await serve(echo)
    const client = await serving.client()
    for (const chunked of [false, true]) {
      const answer = await client.fetch({ method: 'POST', target: '/', body: big, chunked })
      assert.ok(answer.body.equals(big))
    }
    assert.equal(client.reusable, true)
  })

  it('that the application does not read is read from the socket up to 64 KiB and one further read', async () => {
    const { application, waiting } = held()
    await using serving = await serve(application)
    const client = await serving.client()
    void client.request({ method: 'POST', target: '/', body: Buffer.alloc(20 * MIB) })
    await until(() => waiting.length === 1)
    const read = await still(() => serving.sockets[0]!.bytesRead)
    assert.ok(read >= 65_536 && read <= 5 * 65_536, `${read} bytes`)
  })

  it('is read from the socket as the application reads it', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    await using serving = await serve(async (environ, start) => {
      await promise
      return count(environ, start)
    })
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: Buffer.alloc(3 * MIB) })
    await until(() => serving.sockets.length === 1 && serving.sockets[0]!.bytesRead > 65_536)
    resolve()
    assert.equal((await sent.whole()).body.toString(), String(3 * MIB))
  })

  it('of 10 MB does not hide an early response from a client that sends the whole body first', async () => {
    await using serving = await serve((_, start) => {
      start('403 Forbidden', text)
      return [bytes('no')]
    })
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: Buffer.alloc(10_000_000) })
    const answer = await sent.whole()
    assert.equal(answer.status, 403)
    assert.equal(answer.body.toString(), 'no')
    assert.equal(answer.complete, true)
    assert.deepEqual(fields(answer, 'Connection'), ['close'])
    assert.equal(await client.whenEnded(), 'fin')
    assert.equal(serving.environs.length, 1)
  })

  it('that was not read and is small is discarded, and the connection is reused', async () => {
    await using serving = await serve(path)
    const client = await serving.client()
    for (const chunked of [false, true]) {
      const answer = await client.fetch({ method: 'POST', target: '/a', body: Buffer.alloc(60_000), chunked })
      assert.equal(answer.body.toString(), '/a')
    }
    assert.equal((await client.fetch({ target: '/b' })).body.toString(), '/b')
    assert.equal(serving.sockets.length, 1)
  })

  it('that was not read and arrives later is discarded before the next request', async () => {
    await using serving = await serve(path)
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/a', body: 'stream', headers: [['Content-Length', '38']] })
    assert.equal((await sent.whole()).body.toString(), '/a')
    await client.write('GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nabc')
    assert.equal((await client.fetch({ target: '/b' })).body.toString(), '/b')
    assert.deepEqual(
      serving.environs.map(({ PATH_INFO }) => PATH_INFO),
      ['/a', '/b'],
    )
  })

  it('that is chunked, was not read and does not end closes the connection', async () => {
    await using serving = await serve(path)
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/a', body: 'stream' })
    assert.equal((await sent.whole()).complete, true)
    for (let at = 0; at < 5; at++) void sent.send(Buffer.alloc(20_000))
    assert.equal(await client.whenEnded(), 'fin')
  })

  it('still reaches an application whose response is complete', async () => {
    let size = 0
    await using serving = await serve((environ, start) => {
      start('200 OK', [...text, ['Content-Length', '2']])
      return (async function* () {
        yield bytes('ok')
        for await (const chunk of environ['wsgi.input']) size += chunk.length
      })()
    })
    const client = await serving.client()
    const sent = client.request({
      method: 'POST',
      target: '/',
      body: 'stream',
      headers: [['Content-Length', '500000']],
    })
    assert.equal((await sent.whole()).body.toString(), 'ok')
    await sent.send(Buffer.alloc(500_000))
    await until(() => serving.settled === 1)
    assert.equal(size, 500_000)
  })

  it('with invalid framing gets a 400, and the exchange is aborted', async () => {
    const failed = Promise.withResolvers<unknown>()
    await using serving = await serve(async (environ) => {
      try {
        await environ['wsgi.input'].read()
      } catch (error) {
        failed.resolve(error)
        throw error
      }
      return []
    })
    const client = await serving.client()
    const answer = client.expect('POST')
    await client.write(
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
    )
    assert.equal((await answer.whole()).status, 400)
    assert.equal(await client.whenEnded(), 'fin')
    const error = await failed.promise
    assert.ok(error instanceof AbortError && error.code === 'PROTOCOL', String(error))
    await until(() => serving.settled === 1)
    assert.equal(serving.environs.length, 1)
  })

  it('with invalid framing after the response has begun truncates the response', async () => {
    await using serving = await serve(echo)
    const client = await serving.client()
    const answer = client.expect('POST')
    await client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n')
    await answer.has(3)
    await client.write('X\r\n')
    const { complete, status } = await answer.whole()
    assert.equal(status, 200)
    assert.equal(complete, false)
  })

  it('that becomes too large gets a 413', async () => {
    await using serving = await serve(count, { limits: { body: 1000 } })
    const declared = await serving.client()
    const answer = await declared.fetch({ method: 'POST', target: '/', body: Buffer.alloc(1001) })
    assert.equal(answer.status, 413)
    const chunked = await serving.client()
    const sent = chunked.request({ method: 'POST', target: '/', body: 'stream' })
    await sent.send(Buffer.alloc(1001))
    assert.equal((await sent.whole()).status, 413)
    assert.equal(serving.environs.length, 1, 'the declared one reached no application')
  })
})

describe('Expect: 100-continue', () => {
  const headers: Headers = [
    ['Expect', '100-continue'],
    ['Content-Length', '3'],
  ]

  it('is answered when the application first reads, not before', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    await using serving = await serve(async (environ, start) => {
      await promise
      return count(environ, start)
    })
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: 'stream', headers })
    await until(() => serving.environs.length === 1)
    await still(() => client.raw.length)
    assert.equal(client.raw.length, 0)
    resolve()
    assert.equal((await sent.informed(1))[0]!.status, 100)
    await sent.send('abc')
    const answer = await sent.whole()
    assert.equal(answer.body.toString(), '3')
    assert.equal(answer.informational.length, 1)
    assert.equal(client.reusable, true)
  })

  it('is not answered when the application does not read, and the connection closes', async () => {
    await using serving = await serve(hello)
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: 'stream', headers })
    const answer = await sent.whole()
    assert.deepEqual(answer.informational, [])
    assert.deepEqual(fields(answer, 'Connection'), ['close'])
    await client.write('GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n')
    assert.equal(await client.whenEnded(), 'fin')
    assert.equal(serving.environs.length, 1)
  })

  it('is not answered after the final head', async () => {
    await using serving = await serve((environ, start) => {
      start('200 OK', text)
      return (async function* () {
        yield bytes('head is out;')
        yield await environ['wsgi.input'].read()
      })()
    })
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: 'stream', headers })
    await sent.has(12)
    await sent.send('abc')
    const answer = await sent.whole()
    assert.equal(answer.body.toString(), 'head is out;abc')
    assert.deepEqual(answer.informational, [])
  })

  it('is not answered to HTTP/1.0', async () => {
    await using serving = await serve(count)
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: 'stream', headers, minor: 0 })
    await until(() => serving.environs.length === 1)
    await sent.send('abc')
    const answer = await sent.whole()
    assert.deepEqual(answer.informational, [])
    assert.equal(answer.body.toString(), '3')
  })

  it('is not answered to a client that does not wait', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    await using serving = await serve(async (environ, start) => {
      await promise
      return count(environ, start)
    })
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: bytes('abc'), headers })
    await until(() => serving.sockets[0]?.bytesRead === client.socket.bytesWritten && serving.environs.length === 1)
    resolve()
    const answer = await sent.whole()
    assert.deepEqual(answer.informational, [])
    assert.equal(answer.body.toString(), '3')
    assert.equal(client.reusable, true)
  })
})

describe('a client that disconnects', () => {
  for (const how of ['end', 'reset'] as const) {
    it(`aborts the exchange at once, also while the application is idle (${how})`, async () => {
      const { application, waiting } = held()
      await using serving = await serve(application)
      const client = await serving.client()
      client.request({ target: '/' })
      await until(() => waiting.length === 1)
      const { signal } = waiting[0]!.environ.gantry
      if (how === 'end') client.socket.end()
      else client.socket.resetAndDestroy()
      await until(() => signal.aborted)
      assert.equal(signal.reason.code, 'CLIENT_GONE')
      waiting[0]!.answer('too late')
      await until(() => serving.settled === 1 && serving.closed === 1)
    })
  }

  it('aborts the exchange although a further request has arrived', async () => {
    const { application, waiting } = held()
    await using serving = await serve(application)
    const client = await serving.client()
    client.request({ target: '/a' })
    client.request({ target: '/b' })
    await until(() => waiting.length === 1)
    const { signal } = waiting[0]!.environ.gantry
    client.socket.end()
    await until(() => signal.aborted)
    waiting[0]!.answer('too late')
    await until(() => serving.settled === 1)
    assert.equal(waiting.length, 1, 'the second never runs')
  })

  it('in the middle of a body makes the read of the body fail', async () => {
    const failed = Promise.withResolvers<AbortError>()
    await using serving = await serve(async (environ) => {
      await environ['wsgi.input'].read().catch((error) => {
        failed.resolve(error)
        throw error
      })
      return []
    })
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: 'stream' })
    await sent.send('abc')
    await until(() => serving.environs.length === 1)
    client.socket.end()
    assert.equal((await failed.promise).code, 'CLIENT_GONE')
    await until(() => serving.settled === 1)
    assert.equal(client.raw.length, 0)
  })

  it('in the middle of a response closes the body of the response', async () => {
    let closed = 0
    await using serving = await serve((_, start) => {
      start('200 OK', text)
      const body = (async function* () {
        for (;;) {
          yield Buffer.alloc(1000)
          await new Promise((resolve) => setImmediate(resolve))
        }
      })()
      return Object.assign(body, { close: () => void closed++ })
    })
    const client = await serving.client()
    const sent = client.request({ target: '/' })
    await sent.has(5000)
    client.socket.resetAndDestroy()
    await until(() => serving.settled === 1)
    assert.equal(closed, 1)
  })

  it('only on its sending side is still served with the option halfClose serve', async () => {
    const { application, waiting } = held()
    await using serving = await serve(application, { halfClose: 'serve' })
    const client = await serving.client()
    const sent = client.request({ target: '/a' })
    const next = client.request({ target: '/b' })
    client.socket.end()
    await until(() => waiting.length === 1)
    await still(() => waiting.length)
    waiting[0]!.answer('first')
    await until(() => waiting.length === 2)
    waiting[1]!.answer('second')
    assert.equal((await sent.whole()).body.toString(), 'first')
    assert.equal((await next.whole()).body.toString(), 'second')
    assert.equal(await client.whenEnded(), 'fin')
  })

  it('in the middle of a body aborts the exchange, also with the option halfClose serve', async () => {
    const failed = Promise.withResolvers<AbortError>()
    await using serving = await serve(
      async (environ) => {
        await environ['wsgi.input'].read().catch((error) => {
          failed.resolve(error)
          throw error
        })
        return []
      },
      { halfClose: 'serve' },
    )
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: 'stream' })
    await sent.send('abc')
    client.socket.end()
    assert.equal((await failed.promise).code, 'CLIENT_GONE')
  })
})

describe('backpressure', () => {
  it('does not ask the application for more while the client reads slowly', async () => {
    let given = 0
    await using serving = await serve((_, start) => {
      start('200 OK', text)
      return (async function* () {
        for (let at = 0; at < 1000; at++) {
          given += 65_536
          yield Buffer.alloc(65_536)
        }
      })()
    })
    const client = await serving.client()
    client.socket.pause()
    const sent = client.request({ target: '/' })
    await until(() => given > 0)
    const stopped = await still(() => given)
    assert.ok(stopped < 30 * MIB, `${stopped} bytes were asked for`)
    assert.ok(serving.sockets[0]!.writableLength <= 3 * 65_536, `${serving.sockets[0]!.writableLength} bytes are kept`)
    client.socket.resume()
    assert.equal((await sent.whole()).body.length, 1000 * 65_536)
  })

  it('does not answer a client without limit that pipelines and does not read', async () => {
    let requests = 0
    const body = Buffer.alloc(100_000)
    await using serving = await serve((_, start) => {
      requests++
      start('200 OK', text)
      return [body]
    })
    const client = await serving.client()
    client.socket.pause()
    void client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(100_000))
    await until(() => requests > 0)
    const answered = await still(() => requests)
    assert.ok(answered < 500, `${answered} requests were answered`)
    const socket = serving.sockets[0]!
    assert.ok(socket.bytesRead <= 500 * 28 + 5 * 65_536, `${socket.bytesRead} bytes were read`)
    assert.ok(socket.writableLength < 2 * 131_072, `${socket.writableLength} bytes are kept`)
  })

  it('reads pipelined requests up to 64 KiB and one further read', async () => {
    const { application, waiting } = held()
    await using serving = await serve(application)
    const client = await serving.client()
    void client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(100_000))
    await until(() => waiting.length === 1)
    const read = await still(() => serving.sockets[0]!.bytesRead)
    // 64 KiB, the read that passed them, and what Node's own stream reads once paused.
    assert.ok(read >= 65_536 && read <= 5 * 65_536, `${read} bytes were read`)
  })
})

/** An application served in memory to several clients. */
function inMemory(application: Application, count: number): { clock: FakeClock; clients: Duplex[]; served: Duplex[] } {
  const clock = new FakeClock()
  const host = { clock, deadlines: new Deadlines(clock), log: silent, draining: false, settled() {} }
  const pairs = Array.from({ length: count }, () => duplexPair())
  for (const [, server] of pairs) {
    serveHttp1(server, application, { host, facts: { multithread: true, multiprocess: false, runOnce: false } })
  }
  return { clock, clients: pairs.map(([client]) => client), served: pairs.map(([, server]) => server) }
}

describe('responses of one event-loop iteration', () => {
  /**
   * The number of responses that the clients had received when each of their second requests was served, and at the end
   * of that iteration.
   */
  async function sent(computing: number): Promise<number[][]> {
    const seen: number[][] = []
    const look = (): void => void seen.push(clients.map((client) => client.readableLength))
    const { clock, clients, served } = inMemory((environ, start) => {
      look()
      clock.advance(computing)
      return hello(environ, start)
    }, 2)
    const turn = async (): Promise<void> => {
      for (const server of served) server.emit('data', bytes('GET / HTTP/1.1\r\nHost: a\r\n\r\n'))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await turn()
    look()
    const [one] = seen.splice(0).at(-1)!
    await turn()
    look()
    for (const each of [...clients, ...served]) each.destroy()
    return seen.map((lengths) => lengths.map((length) => length / one!))
  }

  it('are flushed together, at its end', async () => {
    assert.deepEqual(await sent(0.1), [
      [1, 1],
      [1, 1],
      [2, 2],
    ])
  })

  it('do not wait for an application that computes for long', async () => {
    assert.deepEqual(await sent(100), [
      [1, 1],
      [2, 1],
      [2, 2],
    ])
  })
})

describe('a body in pieces of one byte', () => {
  it('counts with the memory overhead of each piece', async () => {
    const { application, waiting } = held()
    const { clients, served } = inMemory(application, 1)
    const [client, server] = [clients[0]!, served[0]!]
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n')
    for (let at = 0; at < 5000; at++) client.write('a')
    await until(() => waiting.length === 1)
    const left = await still(() => client.writableLength + server.readableLength)
    assert.ok(left > 4000, `${5000 - left} pieces were taken`)
    // It is still read to its end when the application reads.
    const body = await waiting[0]!.environ['wsgi.input'].read()
    assert.equal(body.length, 5000)
    client.destroy()
    server.destroy()
  })
})

describe('timeouts', () => {
  /** Lets the gateway read what was sent, and then advances the clock. */
  async function pass(serving: Serving, sent: number, clock: FakeClock, ms: number): Promise<void> {
    await until(() => serving.sockets[0]?.bytesRead === sent && serving.connections.length === 1)
    clock.advance(ms)
  }

  it('answer an incomplete head with 408', async () => {
    const clock = new FakeClock()
    await using serving = await serve(hello, { clock, timeouts: { head: 10_000 } })
    const client = await serving.client()
    const answer = client.expect('GET')
    await client.write('GET / HT')
    await pass(serving, 8, clock, 9_000)
    await client.write('TP/1.1\r\n')
    await pass(serving, 16, clock, 500)
    assert.equal(client.raw.length, 0)
    clock.advance(1_000)
    assert.equal((await answer.whole()).status, 408)
    assert.equal(await client.whenEnded(), 'fin')
    assert.equal(serving.environs.length, 0)
  })

  it('close a connection that sends nothing', async () => {
    const clock = new FakeClock()
    await using serving = await serve(hello, { clock, timeouts: { head: 10_000 } })
    const client = await serving.client()
    await pass(serving, 0, clock, 10_500)
    assert.equal(await client.whenEnded(), 'fin')
    assert.equal(client.raw.length, 0)
  })

  it('close an idle connection, but not one in use', async () => {
    const clock = new FakeClock()
    await using serving = await serve(hello, { clock, timeouts: { keepAlive: 5_000, head: 60_000 } })
    const client = await serving.client()
    for (let at = 0; at < 3; at++) {
      await client.fetch({ target: '/' })
      clock.advance(4_000)
    }
    assert.equal(client.ended, undefined)
    clock.advance(2_000)
    assert.equal(await client.whenEnded(), 'fin')
  })

  it('serve a request that has arrived when an idle connection times out', async () => {
    const clock = new FakeClock()
    await using serving = await serve(hello, { clock, timeouts: { keepAlive: 5_000 } })
    const client = await serving.client()
    await client.fetch({ target: '/' })
    await until(() => serving.connections[0]!.idle)
    const answer = client.expect('POST')
    // The system has received the request when this returns; the server has not read it.
    void client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n')
    clock.advance(5_250)
    assert.equal((await answer.whole()).status, 200)
    // The timeout of the connection starts again.
    assert.equal((await client.fetch({ target: '/' })).status, 200)
  })

  it('give the next request the full time from its first byte', async () => {
    const clock = new FakeClock()
    await using serving = await serve(hello, { clock, timeouts: { keepAlive: 5_000, head: 10_000 } })
    const client = await serving.client()
    await client.fetch({ target: '/' })
    clock.advance(4_000)
    const before = client.socket.bytesWritten
    const answer = client.expect('GET')
    await client.write('GET / HTTP/1.1\r\n')
    await pass(serving, before + 16, clock, 9_000)
    await client.write('Host: a\r\n\r\n')
    assert.equal((await answer.whole()).status, 200)
  })

  for (const more of [true, false]) {
    const when = more ? 'while the application still gives more' : 'when the application has given all'
    it(`reset a connection whose client does not read a body that ends with the connection, ${when}, so that it does not look complete`, async () => {
      const clock = new FakeClock()
      const piece = Buffer.alloc(8 * MIB)
      await using serving = await serve(
        (_, start) => {
          start('200 OK', text)
          return (async function* () {
            yield piece
            if (more) yield piece
          })()
        },
        { clock, timeouts: { write: 10_000 } },
      )
      const client = await serving.client()
      client.socket.pause()
      client.socket.write('GET / HTTP/1.0\r\n\r\n')
      await until(() => serving.sockets[0]?.writableNeedDrain === true)
      await still(() => serving.sockets[0]!.bytesWritten)
      clock.advance(11_000)
      await until(() => serving.closed === 1)
      client.socket.resume()
      assert.equal(await client.whenEnded(), 'reset')
      await until(() => serving.settled === 1)
    })
  }

  it('answer a body that stalls with 408, and abort its exchange', async () => {
    const clock = new FakeClock()
    const failed = Promise.withResolvers<AbortError>()
    await using serving = await serve(
      async (environ) => {
        await environ['wsgi.input'].read().catch((error) => {
          failed.resolve(error)
          throw error
        })
        return []
      },
      { clock, timeouts: { body: 10_000 } },
    )
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: 'stream' })
    for (let at = 0; at < 3; at++) {
      await sent.send('abc')
      await pass(serving, client.socket.bytesWritten, clock, 8_000)
    }
    assert.equal(client.raw.length, 0)
    clock.advance(3_000)
    assert.equal((await sent.whole()).status, 408)
    const reason = await failed.promise
    assert.deepEqual([reason.code, (reason.cause as RemoteProtocolError).code], ['DEADLINE', 'BODY_TIMEOUT'])
  })

  it('do not count while the application does not read the body', async () => {
    const clock = new FakeClock()
    const { promise, resolve } = Promise.withResolvers<void>()
    await using serving = await serve(
      async (environ, start) => {
        await promise
        return count(environ, start)
      },
      { clock, timeouts: { body: 10_000 } },
    )
    const client = await serving.client()
    const sent = client.request({ method: 'POST', target: '/', body: Buffer.alloc(10 * MIB) })
    await until(() => serving.sockets.length === 1)
    await still(() => serving.sockets[0]!.bytesRead)
    clock.advance(60_000)
    resolve()
    assert.equal((await sent.whole()).body.toString(), String(10 * MIB))
  })

  it('do not count while the client waits for 100 Continue', async () => {
    const clock = new FakeClock()
    const { promise, resolve } = Promise.withResolvers<void>()
    await using serving = await serve(
      async (environ, start) => {
        await promise
        return count(environ, start)
      },
      { clock, timeouts: { body: 10_000 } },
    )
    const client = await serving.client()
    const sent = client.request({
      method: 'POST',
      target: '/',
      body: 'stream',
      headers: [
        ['Expect', '100-continue'],
        ['Content-Length', '3'],
      ],
    })
    await pass(serving, client.socket.bytesWritten, clock, 60_000)
    resolve()
    await sent.informed(1)
    await sent.send('abc')
    assert.equal((await sent.whole()).body.toString(), '3')
  })

  it('count while the client waits for a 100 Continue that will not be sent', async () => {
    const clock = new FakeClock()
    await using serving = await serve(
      (environ, start) => {
        start('200 OK', text)
        return (async function* () {
          yield bytes('head is out;')
          yield await environ['wsgi.input'].read()
        })()
      },
      { clock, timeouts: { body: 10_000 } },
    )
    const client = await serving.client()
    const sent = client.request({
      method: 'POST',
      target: '/',
      body: 'stream',
      headers: [
        ['Expect', '100-continue'],
        ['Content-Length', '3'],
      ],
    })
    await sent.has(12)
    clock.advance(11_000)
    assert.equal((await sent.whole()).complete, false)
    await until(() => serving.settled === 1)
  })

  it('disconnect a client that reads nothing of its response', async () => {
    const clock = new FakeClock()
    let given = 0
    await using serving = await serve(
      (_, start) => {
        start('200 OK', text)
        return (async function* () {
          for (;;) {
            given++
            yield Buffer.alloc(65_536)
          }
        })()
      },
      { clock, timeouts: { write: 10_000 } },
    )
    const client = await serving.client()
    client.socket.pause()
    client.request({ target: '/' })
    await until(() => given > 1)
    await still(() => given)
    clock.advance(9_000)
    assert.equal(serving.closed, 0)
    clock.advance(2_000)
    await until(() => serving.closed === 1 && serving.settled === 1)
    assert.equal(serving.environs[0]!.gantry.signal.reason.code, 'DEADLINE')
  })

  it('let a half-closed connection linger for a limited time', async () => {
    const clock = new FakeClock()
    await using serving = await serve(hello, { clock, timeouts: { linger: 2_000 } })
    const client = await serving.client()
    await client.fetch({ target: '/', headers: [['Connection', 'close']] })
    assert.equal(await client.whenEnded(), 'fin')
    await until(() => serving.sockets[0]!.writableFinished)
    clock.advance(1_500)
    assert.equal(serving.closed, 0)
    clock.advance(1_000)
    await until(() => serving.closed === 1)
  })

  it('leave no deadline when connections close', async () => {
    const clock = new FakeClock()
    await using serving = await serve(hello, { clock })
    const client = await serving.client()
    await client.fetch({ target: '/' })
    client.socket.end()
    await until(() => serving.closed === 1)
    clock.advance(1_000)
    assert.equal(clock.pending, 0)
  })
})

describe('upgrades', () => {
  const headers: Headers = [
    ['Connection', 'Upgrade'],
    ['Upgrade', 'echo'],
  ]
  const upgrading: Application = (environ: Environ, start: StartResponse) => {
    if (environ['HTTP_UPGRADE'] !== 'echo') return path(environ, start)
    start('101 Switching Protocols', [['Upgrade', 'echo']])
    const duplex = environ.gantry.upgrade()
    duplex.pipe(duplex)
    return []
  }

  it('give the application the raw connection, with bytes that arrived early', async () => {
    await using serving = await Serving.start(upgrading)
    const client = await serving.client()
    const answer = client.expect('GET')
    await client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly,')
    const head = await answer.whenHead()
    assert.equal(head.status, 101)
    assert.deepEqual(fields(head, 'Connection'), ['Upgrade'])
    assert.equal((await answer.has(6)).toString(), 'early,')
    await client.write('GET / HTTP/1.1\r\n\r\n')
    assert.equal((await answer.has(24)).toString(), 'early,GET / HTTP/1.1\r\n\r\n')
    client.socket.end()
    await until(() => serving.closed === 1 && serving.settled === 1)
    assert.equal(serving.environs.length, 1)
  })

  it('count the bytes that were sent after the upgrade alone', async () => {
    const outcomes: Outcome[] = []
    await using serving = await Serving.start((environ, start) => {
      environ.gantry.onFinished((outcome) => outcomes.push(outcome))
      return upgrading(environ, start)
    })
    const client = await serving.client()
    // Its response is written to the same socket.
    assert.equal((await client.fetch({ target: '/before' })).body.toString(), '/before')
    const sent = client.request({ target: '/', headers })
    await sent.head()
    await client.write('a'.repeat(100_000))
    await sent.has(100_000)
    client.socket.end()
    await until(() => outcomes.length === 2)
    assert.deepEqual(
      outcomes.map(({ status, bytes }) => [status, bytes]),
      [
        [200, 7],
        [101, 100_000],
      ],
    )
  })

  it('have no deadline', async () => {
    const clock = new FakeClock()
    await using serving = await Serving.start(upgrading, { clock })
    const client = await serving.client()
    const sent = client.request({ target: '/', headers })
    await sent.head()
    clock.advance(1_000_000)
    await client.write('abc')
    assert.equal((await sent.has(3)).toString(), 'abc')
  })

  it('that are declined, and upgrades to h2c, are served as plain requests', async () => {
    await using serving = await Serving.start(upgrading)
    const client = await serving.client()
    for (const protocol of ['other', 'h2c']) {
      const sent = client.request({
        target: `/${protocol}`,
        headers: [
          ['Connection', 'Upgrade, HTTP2-Settings'],
          ['Upgrade', protocol],
        ],
      })
      const next = client.request({ target: '/next' })
      assert.equal((await sent.whole()).body.toString(), `/${protocol}`)
      assert.equal((await next.whole()).body.toString(), '/next')
    }
  })

  it('end when their server ends', async () => {
    await using serving = await Serving.start(upgrading)
    const client = await serving.client()
    await client.request({ target: '/', headers }).head()
    serving.connections[0]!.abort(new AbortError('DRAIN_TIMEOUT', 'the server had to stop'))
    await client.whenEnded()
    await until(() => serving.closed === 1 && serving.settled === 1)
  })
})

describe('a server that drains', () => {
  it('closes idle connections at once', async () => {
    await using serving = await serve(hello)
    const client = await serving.client()
    await client.fetch({ target: '/' })
    serving.connections[0]!.drain()
    assert.equal(await client.whenEnded(), 'fin')
  })

  it('lets the running response finish, which announces the close', async () => {
    const { application, waiting } = held()
    await using serving = await serve(application)
    const client = await serving.client()
    const sent = client.request({ target: '/a' })
    const next = client.request({ target: '/b' })
    await until(() => waiting.length === 1)
    serving.connections[0]!.drain()
    waiting[0]!.answer('first')
    const answer = await sent.whole()
    assert.equal(answer.body.toString(), 'first')
    assert.deepEqual(fields(answer, 'Connection'), ['close'])
    assert.equal((await next.whole()).status, 0)
    assert.equal(waiting.length, 1)
  })

  it('announces the close in each response as soon as its host drains', async () => {
    await using serving = await serve(hello)
    const client = await serving.client()
    await client.fetch({ target: '/' })
    serving.draining = true
    assert.deepEqual(fields(await client.fetch({ target: '/' }), 'Connection'), ['close'])
    assert.equal(await client.whenEnded(), 'fin')
  })

  it('answers a late request on an idle connection, with Connection: close', async () => {
    const clock = new FakeClock()
    await using serving = await serve(hello, { clock })
    const [used, fresh] = [await serving.client(), await serving.client()]
    await used.fetch({ target: '/' })
    await until(() => serving.connections.length === 2)
    serving.draining = true
    for (const connection of serving.connections) connection.drain(2_000)
    clock.advance(1_900)
    for (const client of [used, fresh]) {
      const answer = await client.fetch({ method: 'POST', target: '/', body: 'late' })
      assert.deepEqual([answer.status, fields(answer, 'Connection')], [200, ['close']])
      assert.equal(await client.whenEnded(), 'fin')
    }
  })

  it('closes a connection without a late request at the end of the grace', async () => {
    const clock = new FakeClock()
    await using serving = await serve(hello, { clock })
    const client = await serving.client()
    await client.fetch({ target: '/' })
    serving.draining = true
    serving.connections[0]!.drain(2_000)
    assert.equal(serving.connections[0]!.idle, true)
    assert.equal(serving.connections[0]!.last, false)
    clock.advance(2_250)
    assert.equal(await client.whenEnded(), 'fin')
  })

  it('gives the grace to a connection whose running response did not announce the close', async () => {
    const clock = new FakeClock()
    const gate = Promise.withResolvers<void>()
    await using serving = await serve(
      (_environ, start) => {
        start('200 OK', text)
        return (async function* () {
          yield Buffer.from('begun ')
          await gate.promise
          yield Buffer.from('ended')
        })()
      },
      { clock },
    )
    const client = await serving.client()
    const sent = client.request({ target: '/' })
    await sent.has(6)
    serving.draining = true
    serving.connections[0]!.drain(2_000)
    assert.equal(serving.connections[0]!.last, false)
    // An endless stream must not keep the application from its abort signal.
    clock.advance(5_000)
    assert.equal(serving.connections[0]!.last, true)
    gate.resolve()
    assert.equal(String((await sent.whole()).body), 'begun ended')
    const late = await client.fetch({ method: 'POST', target: '/', body: 'late' })
    assert.deepEqual([String(late.body), fields(late, 'Connection')], ['begun ended', ['close']])
  })

  it('aborts an exchange that does not end in time', async () => {
    const { application, waiting } = held()
    await using serving = await serve(application)
    const client = await serving.client()
    const sent = client.request({ target: '/' })
    await until(() => waiting.length === 1)
    serving.connections[0]!.abort(new AbortError('DRAIN_TIMEOUT', 'the server had to stop'))
    assert.equal((await sent.whole()).complete, false)
    assert.equal(waiting[0]!.environ.gantry.signal.reason.code, 'DRAIN_TIMEOUT')
    waiting[0]!.answer('too late')
    await until(() => serving.settled === 1)
  })
})

describe('admission', () => {
  it('answers 503 with Retry-After and keeps the connection when there is no slot', async () => {
    let slots = 1
    await using serving = await serve(hello, { admit: () => slots-- > 0, retryAfter: 7 })
    const client = await serving.client()
    assert.equal((await client.fetch({ target: '/' })).status, 200)
    const refused = await client.fetch({ method: 'POST', target: '/', body: 'abc' })
    assert.equal(refused.status, 503)
    assert.deepEqual(fields(refused, 'Retry-After'), ['7'])
    slots = 1
    assert.equal((await client.fetch({ target: '/' })).status, 200)
    assert.equal(serving.settled, 2)
  })

  it('takes no slot for a request that is refused', async () => {
    let asked = 0
    await using serving = await serve(hello, { admit: () => ++asked > 0 })
    const client = await serving.client()
    assert.equal((await client.fetch({ target: '/%' })).status, 400)
    assert.equal(asked, 0)
  })
})
