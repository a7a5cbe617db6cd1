import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { duplexPair } from 'node:stream'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { Application, Environ, Headers } from '../../../protocol/contract/application.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { Deadlines } from '../../../protocol/net/clock.ts'
import { serveUwsgi } from '../../../protocol/uwsgi/gateway.ts'
import { FakeClock } from '../../support/clock.ts'
import { afterTicks, busyIteration, iterationEnd } from '../../support/event-loop.ts'
import { RecordingLog } from '../../support/log.ts'
import { MemoryHost } from '../../support/memory-client.ts'
import { Serving, type ServingOptions, still, until } from './serving.ts'
import { nginxGet, nginxPost, packet } from './support.ts'

const text: Headers = [['Content-Type', 'text/plain']]
const bytes = (value: string): Buffer => Buffer.from(value, 'latin1')
const MIB = 1024 * 1024

const hello: Application = (_, start) => {
  start('200 OK', text)
  return [bytes('Hello world!\n')]
}
const echo: Application = (environ, start) => {
  start('200 OK', text)
  return (async function* () {
    yield* environ['wsgi.input']
  })()
}
/** Responds with the number of body bytes, after it has read them all. */
const count: Application = async (environ, start) => {
  let size = 0
  for await (const chunk of environ['wsgi.input']) size += chunk.length
  start('200 OK', text)
  return [bytes(String(size))]
}

const serve = (application: Application, options?: ServingOptions): Promise<Serving> =>
  Serving.start(lint(application), options)
const bodyOf = (response: string): string => response.slice(response.indexOf('\r\n\r\n') + 4)
const get = packet(nginxGet)
const post = (body: string | Buffer): Buffer => Buffer.concat([packet(nginxPost(body.length)), Buffer.from(body)])

/** An application that never responds, and a record of how it ended. */
function waiting(): { application: Application; reasons: unknown[] } {
  const reasons: unknown[] = []
  const application: Application = (environ) =>
    new Promise((_, reject) => {
      const { signal } = environ.gantry
      signal.addEventListener('abort', () => {
        reasons.push((signal.reason as AbortError).code)
        reject(signal.reason)
      })
    })
  return { application, reasons }
}

describe('a uwsgi response', () => {
  it('has exactly these bytes, in one read, and ends the connection', async () => {
    await using serving = await serve(hello, { clock: new FakeClock() })
    const client = await serving.client()
    client.socket.write(get)
    const whole = await client.whole()
    assert.equal(
      whole,
      'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\nServer: gantry\r\n' +
        'Date: Tue, 14 Nov 2023 22:13:21 GMT\r\n\r\nHello world!\n',
    )
    assert.equal(client.ended, 'end')
  })

  it('of unknown length is never chunked: it ends with the connection', async () => {
    await using serving = await serve((_, start) => {
      start('200 OK', text)
      return (async function* () {
        yield bytes('one')
        yield bytes('two')
      })()
    })
    const response = await serving.exchange(get)
    assert.doesNotMatch(response, /transfer-encoding|content-length/i)
    assert.equal(bodyOf(response), 'onetwo')
  })

  it('is sent chunk by chunk', async () => {
    const step = Promise.withResolvers<void>()
    await using serving = await serve((_, start) => {
      start('200 OK', text)
      return (async function* () {
        yield bytes('one')
        await step.promise
        yield bytes('two')
      })()
    })
    const client = await serving.client()
    client.socket.write(get)
    await client.says('one')
    step.resolve()
    assert.equal(bodyOf(await client.whole()), 'onetwo')
  })

  it('to HEAD has no body', async () => {
    await using serving = await serve(hello)
    const response = await serving.exchange(packet(['REQUEST_METHOD', 'HEAD', 'PATH_INFO', '/']))
    assert.match(response, /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 13\r\n[\s\S]*\r\n\r\n$/)
  })

  it('of 4 MiB for a client that stops reading is not kept in memory, and arrives completely', async () => {
    let asked = 0
    await using serving = await serve((_, start) => {
      start('200 OK', text)
      return (async function* () {
        for (let i = 0; i < 64; i++) {
          asked++
          yield Buffer.alloc(MIB / 4, i)
        }
      })()
    })
    const client = await serving.client()
    client.socket.pause()
    client.socket.write(get)
    await until(() => asked > 0)
    assert.ok((await still(() => asked)) < 64, 'the application was asked for all of it')
    client.socket.resume()
    assert.equal(bodyOf(await client.whole()).length, 16 * MIB)
  })
})

describe('a uwsgi request', () => {
  it('of nginx becomes the right environ', async () => {
    await using serving = await serve(echo)
    await serving.exchange(Buffer.concat([packet([...nginxPost(2), 'MY_PARAM', 'mine']), bytes('ab')]))
    const { 'wsgi.input': _i, 'wsgi.errors': _e, 'wsgi.file_wrapper': _f, gantry, ...environ } = serving.environs[0]!
    assert.deepEqual(
      { ...environ },
      {
        REQUEST_METHOD: 'POST',
        SCRIPT_NAME: '',
        PATH_INFO: '/form',
        QUERY_STRING: '',
        REQUEST_URI: '/form',
        SERVER_NAME: 'example.org',
        SERVER_PORT: '443',
        SERVER_PROTOCOL: 'HTTP/1.1',
        SERVER_SOFTWARE: 'gantry',
        GATEWAY_INTERFACE: 'CGI/1.1',
        REMOTE_ADDR: '192.0.2.7',
        REMOTE_PORT: '40000',
        REQUEST_SCHEME: 'https',
        HTTPS: 'on',
        CONTENT_TYPE: 'application/x-www-form-urlencoded',
        CONTENT_LENGTH: '2',
        HTTP_HOST: 'example.org',
        MY_PARAM: 'mine',
        'wsgi.version': [1, 0],
        'wsgi.url_scheme': 'https',
        'wsgi.multithread': true,
        'wsgi.multiprocess': false,
        'wsgi.run_once': false,
        'wsgi.input_terminated': true,
      },
    )
    assert.ok(gantry.requestId)
  })

  it('has a PATH_INFO that is not decoded a second time, and a SERVER_NAME', async () => {
    await using serving = await serve(hello)
    const at = nginxGet.indexOf('PATH_INFO')
    await serving.exchange(packet(nginxGet.toSpliced(at + 1, 1, '/a%41b')))
    const environ = serving.environs[0]!
    assert.equal(environ.PATH_INFO, '/a%41b')
    assert.equal(environ.REQUEST_URI, '/hello%20there?a=1')
    assert.notEqual(environ.SERVER_NAME, '')
    assert.equal('CONTENT_LENGTH' in environ, false)
    assert.equal('CONTENT_TYPE' in environ, false)
  })

  it('has repeated headers joined, and no hop-by-hop headers and no HTTP_PROXY', async () => {
    await using serving = await serve(hello)
    const more = ['HTTP_X', '1', 'HTTP_COOKIE', 'a=1', 'HTTP_X', '2', 'HTTP_COOKIE', 'b=2', 'HTTP_PROXY', 'evil:80']
    await serving.exchange(packet([...nginxGet, ...more, 'HTTP_CONNECTION', 'close', 'HTTP_TE', 'trailers']))
    const environ = serving.environs[0]!
    assert.equal(environ['HTTP_X'], '1, 2')
    assert.equal(environ['HTTP_COOKIE'], 'a=1; b=2')
    for (const name of ['HTTP_PROXY', 'HTTP_CONNECTION', 'HTTP_TE']) assert.equal(name in environ, false, name)
  })

  for (const [how, pieces] of [
    ['whole', [post('a=1&b=2')]],
    ['byte by byte', Array.from(post('a=1&b=2'), (byte) => Buffer.of(byte))],
    ['with bytes after its body', [Buffer.concat([post('a=1&b=2'), get])]],
  ] as const) {
    it(`that arrives ${how} runs once and is answered`, async () => {
      await using serving = await serve(echo)
      const client = await serving.client()
      client.socket.setNoDelay(true)
      for (const piece of pieces) client.socket.write(piece)
      assert.equal(bodyOf(await client.whole()), 'a=1&b=2')
      assert.equal(serving.environs.length, 1)
    })
  }

  it('of 16 MiB that the application does not read stays with the client', async () => {
    const { application } = waiting()
    await using serving = await serve(application)
    const client = await serving.client()
    client.socket.write(post(Buffer.alloc(16 * MIB)))
    await until(() => serving.environs.length === 1)
    assert.ok((await still(() => serving.sockets[0]!.bytesRead)) < MIB)
  })

  it('of 16 MiB arrives completely', async () => {
    await using serving = await serve(count)
    assert.equal(bodyOf(await serving.exchange(post(Buffer.alloc(16 * MIB)))), String(16 * MIB))
  })

  it('that is answered before its body is read gets its response while the client still sends', async () => {
    await using serving = await serve(hello)
    const client = await serving.client()
    client.socket.write(packet(nginxPost(64 * MIB)))
    let sending = true
    const send = (): void => {
      if (sending) client.socket.write(Buffer.alloc(MIB / 4), send)
    }
    send()
    await client.says('Hello world!\n')
    sending = false
    assert.equal(client.ended ?? 'end', 'end')
  })

  it('is read by an application that has answered before', async () => {
    const read = Promise.withResolvers<number>()
    await using serving = await serve(async (environ, start) => {
      const write = start('200 OK', [...text, ['Content-Length', '2']])
      await write(bytes('ok'))
      let size = 0
      for await (const chunk of environ['wsgi.input']) size += chunk.length
      read.resolve(size)
      return []
    })
    const client = await serving.client()
    client.socket.write(packet(nginxPost(MIB)))
    await client.says('ok')
    client.socket.write(Buffer.alloc(MIB))
    assert.equal(await read.promise, MIB)
  })

  it('keeps a trusted id', async () => {
    await using serving = await serve(hello, { requestId: (environ) => environ['HTTP_X_REQUEST_ID'] as string })
    await serving.exchange(packet([...nginxGet, 'HTTP_X_REQUEST_ID', 'abc']))
    assert.equal(serving.environs[0]!.gantry.requestId, 'abc')
  })

  it('that is refused keeps a trusted id', async () => {
    const requestId = (environ: Environ): string => environ['HTTP_X_REQUEST_ID'] as string
    await using serving = await serve(hello, { requestId, limits: { body: 1 } })
    const answer = await serving.exchange(packet([...nginxPost(2), 'HTTP_X_REQUEST_ID', 'abc']))
    assert.match(String(answer), /^HTTP\/1\.1 413 [\s\S]*\r\nX-Request-Id: abc\r\n/)
  })
})

describe('a uwsgi connection', () => {
  it('answers a ping', async () => {
    await using serving = await serve(hello)
    assert.equal(await serving.exchange(Buffer.of(100, 0, 0, 0)), 'd\0\0\x01')
    assert.equal(serving.environs.length, 0)
  })

  for (const how of ['FIN', 'reset'] as const) {
    it(`that ends by a ${how} while the application is idle aborts it at once`, async () => {
      const { application, reasons } = waiting()
      await using serving = await serve(application)
      const client = await serving.client()
      client.socket.write(get)
      await until(() => serving.environs.length === 1)
      if (how === 'FIN') client.socket.end()
      else client.socket.resetAndDestroy()
      await until(() => serving.settled === 1)
      assert.deepEqual(reasons, ['CLIENT_GONE'])
    })
  }

  it('whose FIN arrives in the middle of the body makes the application’s read fail', async () => {
    const failed = Promise.withResolvers<unknown>()
    await using serving = await serve(async (environ) => {
      try {
        await environ['wsgi.input'].read()
        assert.fail('a truncated body looked whole')
      } catch (error) {
        failed.resolve((error as AbortError).code)
        throw error
      }
    })
    const client = await serving.client()
    client.socket.end(post('a=1&b=2').subarray(0, -1))
    assert.equal(await failed.promise, 'CLIENT_GONE')
  })

  it('serves a half-closed client with the option halfClose serve', async () => {
    const go = Promise.withResolvers<void>()
    await using serving = await serve(
      async (_, start) => {
        await go.promise
        start('200 OK', text)
        return [bytes('served')]
      },
      { halfClose: 'serve' },
    )
    const client = await serving.client()
    client.socket.end(get)
    await once(serving.sockets[0]!, 'end')
    go.resolve()
    assert.equal(bodyOf(await client.whole()), 'served')
  })

  it('with an invalid packet is closed without a response, and logged', async () => {
    await using serving = await serve(hello)
    assert.equal(await serving.exchange(Buffer.from('00030000ffff41', 'hex')), '')
    assert.match(serving.log.messages('warn')[0] ?? '', /extends beyond its end/)
  })

  for (const [what, variables, status] of [
    ['a CONTENT_LENGTH that is none', ['REQUEST_METHOD', 'POST', 'CONTENT_LENGTH', 'many'], 400],
    ['no method', ['PATH_INFO', '/'], 400],
    ['a body above the limit', ['REQUEST_METHOD', 'POST', 'CONTENT_LENGTH', '1001'], 413],
  ] as const) {
    it(`with ${what} is answered ${status}`, async () => {
      await using serving = await serve(hello, { limits: { body: 1000 } })
      assert.match(await serving.exchange(packet(variables)), new RegExp(`^HTTP/1.1 ${status} `))
      assert.equal(serving.environs.length, 0)
    })
  }

  it('without a free slot is answered 503 with Retry-After, and takes none', async () => {
    await using serving = await serve(hello, { admit: () => false, retryAfter: 7 })
    const response = await serving.exchange(get)
    assert.match(response, /^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 7\r\n/)
    assert.equal(serving.settled, 0)
  })

  it('gives back each slot that it took, once', async () => {
    await using serving = await serve(hello, { admit: () => true })
    for (let i = 0; i < 3; i++) await serving.exchange(get)
    await until(() => serving.settled === 3)
  })

  it('with a slow packet gets a 408', async () => {
    const clock = new FakeClock()
    await using serving = await serve(hello, { clock })
    const client = await serving.client()
    client.socket.write(get.subarray(0, 10))
    await until(() => serving.sockets[0]?.bytesRead === 10)
    clock.advance(31_000)
    assert.match(await client.whole(), /^HTTP\/1\.1 408 /)
  })

  it('that pauses in a body aborts the waiting application with DEADLINE and gets a 408', async () => {
    const clock = new FakeClock()
    await using serving = await serve(count, { clock })
    const client = await serving.client()
    client.socket.write(post('a=1&b=2').subarray(0, -1))
    await until(() => serving.environs.length === 1)
    clock.advance(61_000)
    assert.match(await client.whole(), /^HTTP\/1\.1 408 /)
  })

  it('upgrades: the application gets the raw connection, with bytes that arrived early', async () => {
    await using serving = await serve((environ, start) => {
      start('101 Switching Protocols', [['Upgrade', 'echo']])
      const raw = environ.gantry.upgrade()
      raw.pipe(raw)
      return []
    })
    const client = await serving.client()
    client.socket.write(
      Buffer.concat([packet([...nginxGet, 'HTTP_UPGRADE', 'echo', 'HTTP_CONNECTION', 'Upgrade']), bytes('early ')]),
    )
    await client.says('early ')
    client.socket.write('late')
    await client.says('early late')
    client.socket.end()
    assert.match(await client.whole(), /^HTTP\/1\.1 101 Switching Protocols\r\n[\s\S]*\r\n\r\nearly late$/)
    await until(() => serving.settled === 1)
  })

  it('whose request arrived in a busy event-loop iteration is answered although a drain begins in that iteration', async () => {
    const clock = new FakeClock()
    const host = new MemoryHost(new RecordingLog(), clock)
    await busyIteration(clock)
    const [stream, there] = duplexPair()
    let got = ''
    stream.on('data', (chunk: Buffer) => (got += chunk.toString('latin1')))
    const connection = serveUwsgi(there, hello, {
      host,
      facts: { multithread: true, multiprocess: true, runOnce: false },
    })
    host.admit()
    stream.write(get)
    await afterTicks()
    connection.drain()
    for (let iterations = 0; iterations < 3; iterations++) await iterationEnd()
    assert.match(got, /^HTTP\/1\.1 200 OK\r\n/)
    stream.destroy()
  })

  it('that has sent nothing makes room for another client, and one with a request does not', async () => {
    const go = Promise.withResolvers<void>()
    await using serving = await serve(async (_, start) => {
      await go.promise
      start('200 OK', text)
      return [bytes('done')]
    })
    const busy = await serving.client()
    busy.socket.write(get)
    await until(() => serving.environs.length === 1)
    const silent = await serving.client()
    await until(() => serving.connections.length === 2)
    assert.equal(serving.connections[0]!.waitingSince, Number.POSITIVE_INFINITY)
    assert.ok(serving.connections[1]!.waitingSince > 0)
    assert.deepEqual(
      serving.connections.map((connection) => connection.evict()),
      [false, true],
    )
    assert.equal(await silent.whole(), '')
    go.resolve()
    assert.equal(bodyOf(await busy.whole()), 'done')
  })

  it('is not evicted while its request waits in its socket after the event loop was blocked', async () => {
    await using serving = await serve((_, start) => {
      start('200 OK', text)
      return [Buffer.from('done')]
    })
    const client = await serving.client()
    await until(() => serving.connections.length === 1)
    client.socket.write(packet(nginxGet))
    assert.equal(serving.connections[0]!.evict(), false)
    assert.equal(bodyOf(await client.whole()), 'done')
  })

  it('that has sent nothing is closed by a drain, and one with a request is not', async () => {
    const go = Promise.withResolvers<void>()
    await using serving = await serve(async (_, start) => {
      await go.promise
      start('200 OK', text)
      return [bytes('done')]
    })
    const busy = await serving.client()
    busy.socket.write(get)
    await until(() => serving.environs.length === 1)
    const silent = await serving.client()
    await until(() => serving.connections.length === 2)
    // The server drains when a part of the packet has arrived.
    const begun = await serving.client()
    begun.socket.write(get.subarray(0, 5))
    await until(() => serving.sockets[2]?.bytesRead === 5)
    for (const connection of serving.connections) connection.drain()
    assert.equal(await silent.whole(), '')
    begun.socket.write(get.subarray(5))
    go.resolve()
    assert.equal(bodyOf(await busy.whole()), 'done')
    assert.equal(bodyOf(await begun.whole()), 'done')
  })
})

describe('an upgraded uwsgi connection that a drain closes', () => {
  const upgraded = (protocol: string): Application => {
    return (environ, start) => {
      start('101 Switching Protocols', [['Upgrade', protocol]])
      environ.gantry.upgrade().write(Buffer.of(0x82, 1, 7))
      return []
    }
  }

  for (const protocol of ['WebSocket', 'raw']) {
    it(`gets ${protocol === 'raw' ? 'nothing' : 'close code 1001'} if its protocol is ${protocol}`, async () => {
      await using serving = await serve(upgraded(protocol))
      const client = await serving.client()
      client.socket.write(packet([...nginxGet, 'HTTP_UPGRADE', protocol, 'HTTP_CONNECTION', 'Upgrade']))
      await client.says('\x82\x01\x07')
      const [connection] = serving.connections
      assert.equal(connection!.goAway(), protocol !== 'raw')
      assert.equal(connection!.goAway(), false)
      connection!.abort(new AbortError('DRAIN_TIMEOUT', 'the test had to stop'))
      assert.equal(bodyOf(await client.whole()), protocol === 'raw' ? '\x82\x01\x07' : '\x82\x01\x07\x88\x02\x03\xe9')
      assert.equal(client.ended, 'end')
    })
  }
})

describe('a uwsgi response that is truncated', () => {
  const breaking = (headers: Headers): { application: Application; go: PromiseWithResolvers<void> } => {
    const go = Promise.withResolvers<void>()
    const application: Application = (_, start) => {
      start('200 OK', headers)
      return (async function* () {
        yield bytes('half')
        await go.promise
        throw new Error('broken')
      })()
    }
    return { application, go }
  }

  it('with a Content-Length ends before it', async () => {
    const { application, go } = breaking([...text, ['Content-Length', '8']])
    await using serving = await serve(application)
    const client = await serving.client()
    client.socket.write(get)
    await client.says('half')
    go.resolve()
    assert.equal(bodyOf(await client.whole()), 'half')
  })

  it('without a Content-Length is reset, since a FIN would make it look complete', async () => {
    const { application, go } = breaking(text)
    await using serving = await serve(application)
    const client = await serving.client()
    client.socket.write(get)
    await client.says('half')
    go.resolve()
    await client.whole()
    assert.equal(client.ended, 'ECONNRESET')
  })

  it('without a Content-Length on a Unix socket, which has no reset, stays open until the client disconnects', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'gantry-'))
    const { application, go } = breaking(text)
    await using serving = await serve(application, { path: join(directory, 'socket') })
    const client = await serving.client()
    client.socket.write(get)
    await client.says('half')
    go.resolve()
    await until(() => serving.log.messages('warn').some((line) => /truncated response on a Unix socket/.test(line)))
    await still(() => client.chunks.length)
    assert.equal(client.ended, undefined)
    client.socket.end()
    await until(() => serving.closed === 1)
    await rm(directory, { recursive: true })
  })

  for (const when of ['while the application still gives more', 'when the application has given all'] as const) {
    it(`because its client reads nothing ${when} does not look complete`, async () => {
      const clock = new FakeClock()
      const piece = Buffer.alloc(8 * MIB)
      await using serving = await serve(
        (_, start) => {
          start('200 OK', text)
          return (async function* () {
            yield piece
            if (when === 'while the application still gives more') yield piece
          })()
        },
        { clock },
      )
      const client = await serving.client()
      client.socket.pause()
      client.socket.write(get)
      await until(() => serving.sockets[0]?.writableNeedDrain === true)
      await still(() => serving.sockets[0]!.bytesWritten)
      clock.advance(61_000)
      await until(() => serving.closed === 1)
      client.socket.resume()
      await client.whole()
      assert.equal(client.ended, 'ECONNRESET')
      await until(() => serving.settled === 1)
    })
  }

  it('by a drain timeout aborts the application', async () => {
    const { application, reasons } = waiting()
    await using serving = await serve(application)
    const client = await serving.client()
    client.socket.write(get)
    await until(() => serving.environs.length === 1)
    serving.connections[0]!.abort(new AbortError('DRAIN_TIMEOUT', 'the test had to stop'))
    assert.equal(await client.whole(), '')
    assert.deepEqual(reasons, ['DRAIN_TIMEOUT'])
  })
})

describe('hostile bytes', () => {
  it('get a response, a close or nothing, and each exchange that began settles', async () => {
    const start = fc.constantFrom(
      post('a=1&b=2'),
      get,
      packet(nginxPost(9)),
      Buffer.of(0, 0, 0, 0),
      Buffer.of(100, 0, 0, 0),
    )
    const junk = fc.uint8Array({ maxLength: 60 }).map((some) => Buffer.from(some))
    await fc.assert(
      fc.asyncProperty(fc.boolean(), start, fc.array(junk, { maxLength: 4 }), async (valid, first, pieces) => {
        const clock = new FakeClock()
        let begun = 0
        let settled = 0
        let closed = false
        const [ours, theirs] = duplexPair()
        serveUwsgi(
          ours,
          (environ, startResponse) => {
            begun++
            return echo(environ, startResponse)
          },
          {
            host: {
              clock,
              deadlines: new Deadlines(clock),
              log: new RecordingLog(),
              draining: false,
              settled: () => settled++,
            },
            facts: { multithread: true, multiprocess: false, runOnce: false },
            onClose: () => {
              closed = true
            },
          },
        )
        theirs.on('error', () => {}).resume()
        for (const piece of valid ? [first, ...pieces] : pieces) if (!theirs.destroyed) theirs.write(piece)
        theirs.end()
        for (let iterations = 0; iterations < 50 && !closed; iterations++) {
          await new Promise((resolve) => setImmediate(resolve))
          clock.advance(10_000)
        }
        assert.ok(closed, 'the connection stayed open')
        assert.equal(settled, begun)
      }),
      { numRuns: 200 },
    )
  })
})
