/**
 * The simple server, and the applicable cases of CPython's test_wsgiref (IntegrationTests, HandlerTests), whose names
 * are in the titles. For UtilityTests see test/protocol/contract/request-uri.test.ts.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { demoApp, makeServer, type SimpleServer } from '../../container/simple-server.ts'
import type { Application, Environ } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'
import { lint } from '../../protocol/contract/lint.ts'
import { fileWrapper } from '../../protocol/files/file-wrapper.ts'
import { stderrLog } from '../../protocol/log/stderr-log.ts'
import { GOING_AWAY } from '../../protocol/websocket/codec/websocket-frames.ts'
import { fields } from '../support/client.ts'
import { HttpClient } from '../support/http-client.ts'
import { RecordingLog } from '../support/log.ts'

const DATE = 'Mon, 05 Jun 2006 18:49:54 GMT'

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', [
    ['Content-Type', 'text/plain'],
    ['Date', DATE],
  ])
  return [Buffer.from('Hello, world!')]
}

interface Serving extends AsyncDisposable {
  readonly server: SimpleServer
  readonly log: RecordingLog
  readonly to: { host: string; port: number }
}

async function serving(application: Application): Promise<Serving> {
  const log = new RecordingLog()
  const server = await makeServer('127.0.0.1', 0, application, { log, drainTimeout: 1_000 })
  const to = { host: '127.0.0.1', port: server.serverPort }
  return { server, log, to, [Symbol.asyncDispose]: () => server.close() }
}

/** The whole response to `request`, while the server handles one connection. */
async function amock(application: Application, request: string | Buffer): Promise<{ out: string; log: RecordingLog }> {
  await using served = await serving(application)
  const handled = served.server.handleRequest()
  const socket = connect(served.to)
  socket.write(typeof request === 'string' ? Buffer.from(request, 'latin1') : request)
  const out = await text(socket)
  assert.equal(await handled, true)
  return { out, log: served.log }
}

async function text(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('latin1')
}

const GET = 'GET / HTTP/1.0\r\n\r\n'

describe('the cases of test_wsgiref', () => {
  it('test_plain_hello: answers with the application’s response, its length and its own Server', async () => {
    const { out } = await amock(hello, GET)
    assert.equal(
      out,
      `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: ${DATE}\r\nContent-Length: 13\r\nServer: gantry\r\n` +
        'Connection: close\r\n\r\nHello, world!',
    )
  })

  it('test_environ: joins repeated headers, decodes the path once and keeps the query', async () => {
    const { out } = await amock((environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [Buffer.from([environ['HTTP_X_TEST_HEADER'], environ.QUERY_STRING, environ.PATH_INFO].join(';'))]
    }, 'GET /p%61th/?query=test HTTP/1.0\r\nX-Test-Header: Python test \r\nX-Test-Header: Python test 2\r\nContent-Length: 0\r\n\r\n')
    assert.equal(out.split('\r\n').at(-1), 'Python test, Python test 2;query=test;/path/')
  })

  it('test_request_length: refuses an over-long request line with 414, which counts as the one request', async () => {
    let called = 0
    const { out } = await amock(
      (environ, startResponse) => {
        called++
        return hello(environ, startResponse)
      },
      `GET /${'x'.repeat(65_537)} HTTP/1.0\r\n\r\n`,
    )
    assert.match(out, /^HTTP\/1\.1 414 URI Too Long\r\n/)
    assert.equal(called, 0)
  })

  it('test_validated_hello, test_bytes_validation: serves a linted application', async () => {
    const { out } = await amock(lint(hello), GET)
    assert.match(out, /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nHello, world!$/)
  })

  it('test_simple_validation_error: answers 500, and logs that the application is at fault', async () => {
    const bad = ((_environ, startResponse) => {
      startResponse('200 OK', 'Content-Type: text/plain' as never)
      return [Buffer.from('Hello, world!')]
    }) as Application
    const { out, log } = await amock(lint(bad), GET)
    assert.match(out, /^HTTP\/1\.1 500 Internal Server Error\r\n/)
    assert.doesNotMatch(out, /Hello|Content-Type: text\/plain/)
    assert.match(String(log.lines.find(({ level }) => level === 'error')?.fields['err']), /headers/i)
  })

  for (const status of ['200', '20X OK', '200OK']) {
    it(`test_status_validation_errors: answers 500 for the status ${JSON.stringify(status)}`, async () => {
      const { out, log } = await amock((_environ, startResponse) => {
        startResponse(status, [['Content-Type', 'text/plain; charset=utf-8']])
        return [Buffer.from('Hello, world!')]
      }, GET)
      assert.match(out, /^HTTP\/1\.1 500 /)
      assert.ok(String(log.lines[0]?.fields['err']).includes(JSON.stringify(status)))
    })
  }

  it('test_cp1252_url: passes the bytes of a path as latin1, whatever they mean', async () => {
    const echo: Application = (environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [Buffer.from(environ.PATH_INFO, 'latin1')]
    }
    // A raw byte above 0x7F is no URI (RFC 3986) and is refused; CPython takes it.
    assert.match((await amock(lint(echo), 'GET /%80%80 HTTP/1.0\r\n\r\n')).out, /\r\n\r\n\/\x80\x80$/)
    assert.match((await amock(lint(echo), 'GET /\x80%80 HTTP/1.0\r\n\r\n')).out, /^HTTP\/1\.1 400 /)
  })

  it('test_interrupted_write: sends the whole of a large body to a client that reads it in pieces', async () => {
    const size = 16 * 1024 * 1024
    await using served = await serving((_environ, startResponse) => {
      startResponse('200 OK', [])
      return [Buffer.alloc(size)]
    })
    const handled = served.server.handleRequest()
    const socket = connect(served.to)
    socket.write(GET)
    let received = 0
    for await (const chunk of socket) {
      received += (chunk as Buffer).length
      // The client reads on in a later event-loop iteration, so that the server's writes find a full socket repeatedly.
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.equal(await handled, true)
    assert.ok(received > size && received < size + 1024, String(received))
  })

  it('testDefaults, testCrossDefaults, testEnviron: an environ has everything that PEP 3333 requires', async () => {
    let seen: Environ | undefined
    await amock((environ, startResponse) => {
      seen = environ
      return hello(environ, startResponse)
    }, 'GET / HTTP/1.0\r\nHost: foo.bar\r\n\r\n')
    const environ = seen!
    assert.deepEqual(
      [environ.SERVER_NAME, environ.SERVER_PROTOCOL, environ['HTTP_HOST'], environ.REQUEST_METHOD],
      ['127.0.0.1', 'HTTP/1.0', 'foo.bar', 'GET'],
    )
    assert.match(environ.SERVER_PORT, /^\d+$/)
    assert.deepEqual([environ.SCRIPT_NAME, environ.PATH_INFO], ['', '/'])
    assert.deepEqual(environ['wsgi.version'], [1, 0])
    assert.equal(environ['wsgi.url_scheme'], 'http')
    assert.deepEqual(
      [environ['wsgi.run_once'], environ['wsgi.multithread'], environ['wsgi.multiprocess']],
      [false, true, false],
    )
    assert.equal(environ['wsgi.file_wrapper'], fileWrapper)
    assert.equal(typeof environ['wsgi.input'].read, 'function')
    assert.equal(typeof environ['wsgi.errors'].write, 'function')
    // The variables of the process are not variables of the request.
    assert.equal(environ['PATH'], undefined)
  })

  it('testScheme: distinguishes https from http', async () => {
    for (const scheme of ['http', 'https'] as const) {
      const { text } = await call(
        (environ, startResponse) => {
          startResponse('200 OK', [])
          return [Buffer.from(environ['wsgi.url_scheme'])]
        },
        { scheme },
      )
      assert.equal(text, scheme)
    }
  })

  it('testContentLength: adds the length of a one-chunk array, not of what was written, and keeps a HEAD’s own', async () => {
    const array = await call((_environ, startResponse) => {
      startResponse('200 OK', [])
      return [Buffer.from('\u0442\u0435\u0441\u0442')]
    })
    assert.equal(array.header('content-length'), '8')
    const written = await call((_environ, startResponse) => {
      void startResponse('200 OK', [])(Buffer.from('http'))
      return []
    })
    assert.deepEqual([written.header('content-length'), written.text], [undefined, 'http'])
    const head = await call(
      (_environ, startResponse) => {
        startResponse('200 OK', [['Content-Length', '12345']])
        return []
      },
      { method: 'HEAD' },
    )
    assert.deepEqual([head.header('content-length'), head.body.length, head.aborted], ['12345', 0, undefined])
  })

  it('testBytesData: sends bytes unchanged', async () => {
    const { out } = await amock((_environ, startResponse) => {
      startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
      return [Buffer.from('data')]
    }, GET)
    assert.match(out, /Content-Length: 4\r\n[\s\S]*\r\n\r\ndata$/)
  })

  it('testBasicErrorOutput: sends Content-Length: 0 for an empty body, and a page for an error before the response', async () => {
    const nothing = await amock((_environ, startResponse) => {
      startResponse('200 OK', [])
      return []
    }, GET)
    assert.match(nothing.out, /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 0\r\n[\s\S]*\r\n\r\n$/)
    assert.deepEqual(nothing.log.messages('error'), [])
    const error = await amock(() => {
      throw new Error('This should be caught by handler')
    }, GET)
    assert.match(error.out, /^HTTP\/1\.1 500 /)
    assert.doesNotMatch(error.out, /caught by handler/)
    assert.match(String(error.log.lines[0]?.fields['err']), /caught by handler/)
  })

  it('testErrorAfterOutput: visibly truncates the response, and logs the error', async () => {
    await using served = await serving(async (_environ, startResponse) => {
      await startResponse('200 OK', [])(Buffer.from('Some output has been sent'))
      throw new Error('This should be caught by handler')
    })
    const handled = served.server.handleRequest()
    const client = await HttpClient.connect(served.to)
    const answer = await client.request({ target: '/' }).whole()
    client.destroy()
    assert.equal(await handled, true)
    assert.deepEqual([answer.status, String(answer.body), answer.complete], [200, 'Some output has been sent', false])
    assert.match(String(served.log.lines[0]?.fields['err']), /caught by handler/)
  })

  it('testCloseOnError: closes a body whose iteration fails', async () => {
    let closed = 0
    await using served = await serving((_environ, startResponse) => {
      void startResponse('200 OK', [])(Buffer.from('Some output has been sent'))
      return {
        *[Symbol.iterator]() {
          yield Buffer.from('blah')
          throw new Error('This should be caught by handler')
        },
        close() {
          closed++
        },
      }
    })
    const handled = served.server.handleRequest()
    const client = await HttpClient.connect(served.to)
    assert.equal((await client.request({ target: '/' }).whole()).complete, false)
    await handled
    assert.equal(closed, 1)
    assert.equal(served.log.messages('error').length, 1)
  })

  it('testClientConnectionTerminations: does not log a disconnected client as an error, and closes the body', async () => {
    const closed = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    await using served = await serving((environ, startResponse) => {
      startResponse('200 OK', [])
      return {
        async *[Symbol.asyncIterator]() {
          yield Buffer.from('blah')
          begun.resolve()
          await new Promise((resolve) => environ.gantry.signal.addEventListener('abort', resolve, { once: true }))
        },
        close: () => closed.resolve(),
      }
    })
    const handled = served.server.handleRequest()
    const socket = connect(served.to)
    socket.write(GET)
    await begun.promise
    socket.resetAndDestroy()
    await closed.promise
    assert.equal(await handled, true)
    assert.deepEqual(served.log.messages('error'), [])
  })

  it('testFileWrapper: reads blocks of the requested size, and closes the file with the body', async () => {
    let left = 150
    let closed = 0
    const file = {
      read(size: number) {
        const chunk = Buffer.alloc(Math.min(size, left), 'xyz')
        left -= chunk.length
        return chunk
      },
      close() {
        closed++
      },
    }
    const body = fileWrapper(file, 120)
    const sizes: number[] = []
    for await (const chunk of body) sizes.push(chunk.length)
    assert.deepEqual([sizes, closed], [[120, 30], 0])
    await body.close?.()
    assert.equal(closed, 1)
  })
})

describe('handleRequest', () => {
  it('serves one request of a connection that sends more, with Connection: close', async () => {
    let calls = 0
    const { out } = await amock((environ, startResponse) => {
      calls++
      return hello(environ, startResponse)
    }, 'GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n')
    assert.equal(calls, 1)
    assert.match(out, /Connection: close\r\n/)
    assert.equal(out.match(/HTTP\/1\.1 /g)?.length, 1)
  })

  it('answers no client before it is called, and then the first one', async () => {
    const paths: string[] = []
    await using served = await serving((environ, startResponse) => {
      paths.push(environ.PATH_INFO)
      return hello(environ, startResponse)
    })
    const silent = connect(served.to)
    const first = connect(served.to)
    await once(first, 'connect')
    first.write('GET /first HTTP/1.0\r\n\r\n')
    const whole = text(first)
    assert.deepEqual(paths, [])
    assert.equal(await served.server.handleRequest(), true)
    assert.match(await whole, /Hello/)
    assert.deepEqual(paths, ['/first'])
    silent.destroy()
  })

  it('waits until the application has settled', async () => {
    const done = Promise.withResolvers<void>()
    let settled = false
    await using served = await serving((_environ, startResponse) => {
      startResponse('200 OK', [['Content-Length', '2']])
      return {
        async *[Symbol.asyncIterator]() {
          yield Buffer.from('ok')
          await done.promise
          settled = true
        },
      }
    })
    const handled = served.server.handleRequest()
    const socket = connect(served.to)
    socket.write(GET)
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    assert.match(String(chunk), /ok$/)
    assert.equal(settled, false)
    done.resolve()
    assert.equal(await handled, true)
    assert.equal(settled, true)
    socket.destroy()
  })

  it('resolves with false when the server is closed first', async () => {
    await using served = await serving(hello)
    const handled = served.server.handleRequest()
    await served.server.close()
    assert.equal(await handled, false)
    await assert.rejects(served.server.handleRequest(), { code: 'SERVER_CLOSED' })
  })
})

describe('serveForever', () => {
  it('serves, keeps connections, and resolves when the server is closed', async () => {
    await using served = await serving(hello)
    const forever = served.server.serveForever()
    const client = await HttpClient.connect(served.to)
    for (let turn = 0; turn < 2; turn++) {
      const answer = await client.request({ target: '/' }).whole()
      assert.deepEqual([answer.status, fields(answer, 'connection')], [200, []])
    }
    await assert.rejects(served.server.handleRequest(), { code: 'SERVER_BUSY' })
    await served.server.close()
    await forever
    client.destroy()
    const refused = connect(served.to)
    const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException]
    assert.equal(error.code, 'ECONNREFUSED')
  })

  it('serves clients that were already waiting', async () => {
    await using served = await serving(hello)
    const socket = connect(served.to)
    await once(socket, 'connect')
    socket.write(GET)
    const whole = text(socket)
    void served.server.serveForever()
    assert.match(await whole, /Hello/)
  })

  it('lets running requests finish when it is closed, and aborts the others', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const begun = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const release = Promise.withResolvers<void>()
    const log = new RecordingLog()
    await using server = await makeServer(
      '127.0.0.1',
      0,
      async (environ, startResponse) => {
        const slow = environ.PATH_INFO === '/never'
        begun[slow ? 1 : 0]!.resolve()
        if (slow)
          await new Promise((_, reject) => environ.gantry.signal.addEventListener('abort', reject, { once: true }))
        else await release.promise
        startResponse('200 OK', [])
        return [Buffer.from(String(environ.gantry.draining))]
      },
      { log, drainTimeout: 50 },
    )
    const forever = server.serveForever()
    const to = { host: '127.0.0.1', port: server.serverPort }
    const [one, two] = [await HttpClient.connect(to), await HttpClient.connect(to)]
    const finishing = one.request({ target: '/' }).whole()
    const never = two.request({ target: '/never' }).whole()
    await Promise.all(begun.map(({ promise }) => promise))
    let closed = false
    const closing = server.close().then(() => {
      closed = true
    })
    release.resolve()
    assert.equal((await finishing).status, 200)
    // The listener closes before the drain timeout starts.
    while (!closed) {
      t.mock.timers.tick(50)
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.equal((await never).complete, false)
    await closing
    await forever
    one.destroy()
    two.destroy()
  })
})

describe('close', () => {
  it('closes a WebSocket that is still open with code 1001', async () => {
    const upgraded = Promise.withResolvers<void>()
    const chat: Application = (environ, startResponse) => {
      startResponse('101 Switching Protocols', [['Upgrade', 'websocket']])
      environ.gantry.upgrade().resume()
      upgraded.resolve()
      return []
    }
    const server = await makeServer('127.0.0.1', 0, chat, { log: new RecordingLog(), drainTimeout: 50 })
    void server.serveForever()
    const socket = connect(server.serverPort, '127.0.0.1')
    socket.write('GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    const whole = text(socket)
    await upgraded.promise
    await server.close()
    assert.equal((await whole).split('\r\n\r\n')[1], Buffer.from(GOING_AWAY).toString('latin1'))
  })

  it('does not wait forever for an application that ignores its abort', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const log = new RecordingLog()
    const begun = Promise.withResolvers<void>()
    const held: Application = () => {
      begun.resolve()
      return new Promise(() => {})
    }
    const server = await makeServer('127.0.0.1', 0, held, { log, drainTimeout: 50 })
    void server.serveForever()
    const socket = connect(server.serverPort, '127.0.0.1')
    socket.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
    await begun.promise
    const left = text(socket)
    let closed = false
    const closing = server.close().then(() => {
      closed = true
    })
    // The listener is closed first; only after that does the timeout begin.
    while (!closed) {
      t.mock.timers.tick(5_000)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await closing
    assert.equal(await left, '')
    assert.deepEqual(log.messages('warn'), ['the server is closed, but its application has not settled'])
    assert.equal(log.lines.find(({ level }) => level === 'warn')?.fields['code'], 'NOT_SETTLED')
  })
})

describe('makeServer', () => {
  it('makes several servers in one process', async () => {
    await using one = await serving(hello)
    await using two = await serving((_environ, startResponse) => {
      startResponse('200 OK', [])
      return [Buffer.from('two')]
    })
    void one.server.serveForever()
    void two.server.serveForever()
    const ask = async ({ to }: Serving): Promise<string> => (await fetch(`http://127.0.0.1:${to.port}/`)).text()
    assert.deepEqual(await Promise.all([ask(one), ask(two)]), ['Hello, world!', 'two'])
    assert.notEqual(one.server.serverPort, two.server.serverPort)
  })

  it('refuses invalid arguments and options', async () => {
    await assert.rejects(makeServer('127.0.0.1', 65_536, hello), /TypeError.*65536.*0 to 65535/)
    await assert.rejects(makeServer('127.0.0.1', 0, 'app' as never), /TypeError.*'app'.*function/)
    await assert.rejects(makeServer('127.0.0.1', 0, hello, { drainTimeout: -1 }), /TypeError.*drainTimeout/)
  })

  it('names the address on which it cannot listen', async () => {
    await using served = await serving(hello)
    await assert.rejects(makeServer('127.0.0.1', served.to.port, hello), { code: 'ADDRESS_IN_USE' })
  })
})

describe('demoApp', () => {
  it('says hello and shows the environ', async () => {
    const { status, text } = await call(lint(demoApp), { path: '/xyz?abc' })
    assert.equal(status, 200)
    assert.match(text, /^Hello world!\n\n/)
    assert.match(text, /\nPATH_INFO = '\/xyz'\nQUERY_STRING = 'abc'\n[\s\S]*\nwsgi\.url_scheme = 'http'\n/)
  })
})

describe('the log on standard error', () => {
  it('contains an application’s own lines unchanged, and failures with their stacks and the request', () => {
    const lines: string[] = []
    const log = stderrLog((line) => lines.push(line))
    log.error({ requestId: 'r1', source: 'wsgi.errors' }, 'hello')
    log.warn({ requestId: 'r1', code: 'X' }, 'odd')
    log.error({ requestId: 'r1', err: new Error('broken') }, 'the application failed')
    log.info({}, 'not of interest')
    assert.deepEqual(lines.slice(0, 2), ['hello\n', 'gantry: odd (X, request r1)\n'])
    assert.match(lines[2]!, /^gantry: the application failed \(request r1\): Error: broken\n {4}at /)
    assert.equal(lines.length, 3)
  })
})
