/** `http(url)` with the real exchange, in front of node's servers and of servers that break off. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { after, describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { AbortError } from '../../protocol/contract/errors.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import { lint } from '../../protocol/contract/lint.ts'
import { type HttpUpstream, type HttpUpstreamOptions, http } from '../../proxy/upstreams/http.ts'
import { FakeClock } from '../support/clock.ts'
import { type Run, type RunOptions, run } from '../support/exchange.ts'
import { until } from '../support/until.ts'

const cleanup: (() => unknown)[] = []
after(async () => {
  for (const clean of cleanup.reverse()) await clean()
})

async function listening(server: Server | ReturnType<typeof createTcpServer>): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanup.push(() => {
    ;(server as Server).closeAllConnections?.()
    return new Promise((resolve) => server.close(resolve))
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function upstream(url: string, options?: HttpUpstreamOptions): HttpUpstream {
  const made = http(url, options)
  cleanup.push(() => made.close())
  return made
}

/** An upstream with a node server that has `listener`. */
async function before(listener: RequestListener, options?: HttpUpstreamOptions): Promise<HttpUpstream> {
  return upstream(await listening(createServer(listener)), options)
}

/** An upstream with a server that reads a request's head, and then calls `answer` with the raw socket. */
async function raw(
  answer: (socket: Socket, head: string) => void,
  options?: HttpUpstreamOptions,
): Promise<HttpUpstream> {
  const sockets: Set<Socket> = new Set()
  const server = createTcpServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      if (end === -1) return
      const head = text.slice(0, end)
      text = ''
      answer(socket, head)
    })
  })
  const url = await listening(server)
  cleanup.push(() => sockets.forEach((socket) => void socket.destroy()))
  return upstream(url, options)
}

/** Runs one request through an upstream under lint, as a gateway does; lint ignores faults of the upstream's server. */
function send(application: HttpUpstream, options: RunOptions = {}): Run {
  return run(lint(application, { only: 'server' }), options)
}

/** An input whose body is `text`. */
function input(text: string): RequestInput {
  const made = new RequestInput({ wanted() {}, consumed() {} })
  made.push(Buffer.from(text, 'latin1'))
  made.end()
  return made
}

async function bodyOf(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('latin1')
}

describe('http(url): the request', () => {
  it('sends method, raw target, and each field with its case, order and repetition', async () => {
    let seen: Partial<IncomingMessage> = {}
    const application = await before((req, res) => {
      seen = { method: req.method!, url: req.url!, rawHeaders: req.rawHeaders }
      res.end()
    })
    await send(application, {
      target: '/a%2Fb/../c//d?',
      headers: ['Host', 'client.example', 'X-One', '1', 'cookie', 'a=1', 'x-one', '2', 'X-Late', 'l\xe9'],
    }).whenSettled
    assert.deepEqual(seen, {
      method: 'GET',
      url: '/a%2Fb/../c//d?',
      rawHeaders: [
        ...['Host', 'client.example', 'X-One', '1', 'cookie', 'a=1', 'x-one', '2', 'X-Late', 'l\xe9'],
        ...['Connection', 'keep-alive'],
      ],
    })
  })

  it('sends its own name as Host with changeOrigin', async () => {
    let host: string | undefined
    const application = await before(
      (req, res) => {
        host = req.headers.host
        res.end(String(req.rawHeaders.filter((name) => name.toLowerCase() === 'host').length))
      },
      { changeOrigin: true },
    )
    const { sink, whenSettled } = send(application, { headers: ['Host', 'client.example'] })
    await whenSettled
    assert.match(host!, /^127\.0\.0\.1:\d+$/)
    assert.equal(sink.body, '1')
  })

  it('puts the path of its URL before that of the request', async () => {
    const url = await listening(createServer((req, res) => res.end(req.url)))
    const { sink, whenSettled } = send(upstream(`${url}/base/`), { target: '/a?b' })
    await whenSettled
    assert.equal(sink.body, '/base/a?b')
  })

  it('passes the target * on', async () => {
    const application = await before((req, res) => res.end(req.url))
    const { sink, whenSettled } = send(application, { method: 'OPTIONS', target: '*' })
    await whenSettled
    assert.equal(sink.body, '*')
  })

  for (const method of ['GET', 'POST', 'DELETE', 'OPTIONS'] as const) {
    it(`sends the chunked body of a ${method} in chunks, so that no byte of it is a request of its own`, async () => {
      const got: string[] = []
      const application = await before(async (req, res) => {
        got.push(`${req.method} ${req.url} ${req.headers['content-length']} ${await bodyOf(req)}`)
        res.end('done')
      })
      const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'
      const { sink, whenSettled } = send(application, { method, target: '/outer', input: input(smuggled) })
      await whenSettled
      assert.equal(sink.body, 'done')
      await send(application, { target: '/after' }).whenSettled
      assert.deepEqual(got, [`${method} /outer undefined ${smuggled}`, 'GET /after undefined '])
    })
  }

  it('sends a body of known length with that length', async () => {
    const application = await before(async (req, res) => {
      res.end(`${req.headers['content-length']} ${req.headers['transfer-encoding']} ${await bodyOf(req)}`)
    })
    const { sink, whenSettled } = send(application, {
      method: 'PUT',
      headers: ['Host', 'x', 'Content-Length', '5', 'Expect', '100-continue'],
      input: input('hello'),
    })
    await whenSettled
    assert.equal(sink.body, '5 undefined hello')
  })

  it('never lets a truncated body look whole to the upstream', async () => {
    const ended: boolean[] = []
    const application = await before((req, res) => {
      req.on('end', () => ended.push(true))
      req.on('close', () => res.destroy())
      req.resume()
    })
    const { whenSettled, sink } = send(application, {
      method: 'POST',
      headers: ['Host', 'x', 'Content-Length', '50'],
      input: input('too short'),
    })
    await whenSettled
    assert.equal(sink.status.slice(0, 3), '500')
    assert.deepEqual(ended, [])
  })
})

describe('http(url): the response', () => {
  it('answers 502 for a status outside 100 to 599 (RFC 9110 §15), and names it', async () => {
    for (const status of [600, 999]) {
      const application = await raw((socket) =>
        socket.end(`HTTP/1.1 ${status} Odd\r\nContent-Length: 3\r\n\r\nodd`, 'latin1'),
      )
      let failure: { message?: string; ran?: string } = {}
      const { sink, whenSettled } = run(async (environ, startResponse) => {
        try {
          return await application(environ, startResponse)
        } catch (error) {
          failure = error as typeof failure
          throw error
        }
      })
      await whenSettled
      assert.equal(sink.status, '502 Bad Gateway')
      // A pool of upstreams must not retry this request on another one.
      assert.equal(failure.ran, undefined)
      assert.match(
        failure.message!,
        new RegExp(`^http://127.0.0.1:\\d+ responded with the status "${status} Odd"; expected 100`),
      )
    }
  })

  it('passes status, reason, repeated fields and body on, and drops hop-by-hop fields', async () => {
    const application = await before((_req, res) => {
      res.writeHead(302, 'Over There', [
        ...[
          'Location',
          'http://elsewhere.example/a b',
          'Set-Cookie',
          'a=1',
          'X-A',
          '1',
          'Set-Cookie',
          'b=2',
          'x-a',
          '2',
        ],
        ...['Connection', 'keep-alive, X-Hop', 'X-Hop', '1', 'Content-Type', 'text/plain', 'Date', 'then'],
      ])
      res.end('moved')
    })
    const { sink, whenSettled } = send(application)
    await whenSettled
    assert.equal(sink.status, '302 Over There')
    assert.deepEqual(sink.headers, [
      ['Location', 'http://elsewhere.example/a b'],
      ['Set-Cookie', 'a=1'],
      ['X-A', '1'],
      ['Set-Cookie', 'b=2'],
      ['x-a', '2'],
      ['Content-Type', 'text/plain'],
      ['Date', 'then'],
    ])
    assert.equal(sink.body, 'moved')
    assert.equal(sink.ended, true)
  })

  it('answers HEAD and 304 without a body, their fields kept', async () => {
    const application = await before((req, res) => {
      res.writeHead(req.method === 'HEAD' ? 200 : 304, { 'Content-Length': '1234', ETag: '"x"' }).end()
    })
    const head = send(application, { method: 'HEAD' })
    await head.whenSettled
    const notModified = send(application)
    await notModified.whenSettled
    for (const { sink } of [head, notModified]) {
      assert.equal(sink.header('content-length'), '1234')
      assert.equal(sink.length, 0)
      assert.equal(sink.ended, true)
      assert.equal(sink.aborted, undefined)
    }
  })

  it('sends each chunk on before the next one arrives', async () => {
    let response: { write(text: string): void; end(text: string): void } | undefined
    const application = await before((_req, res) => {
      response = res
      res.write('one')
    })
    const { sink, whenSettled } = send(application)
    await until(() => sink.body === 'one')
    response!.end('two')
    await whenSettled
    assert.equal(sink.body, 'onetwo')
  })

  it('passes early hints and trailers on', async () => {
    const application = await raw((socket) => {
      socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n')
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n')
      socket.write('3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n')
    })
    const { sink, whenSettled } = send(application)
    await whenSettled
    assert.deepEqual(sink.informed, [['103 Early Hints', [['Link', '</a.css>; rel=preload']]]])
    assert.equal(sink.body, 'abc')
    assert.deepEqual(sink.trailers, [['X-Sum', '6']])
  })

  it('ends an upload that the upstream answered before it had all of it', async () => {
    let closed = false
    const application = await before((req, res) => {
      req.socket.on('close', () => (closed = true))
      req.once('data', () => res.writeHead(413, { 'Content-Type': 'text/plain' }).end('too much'))
    })
    const body = new RequestInput({ wanted() {}, consumed() {} })
    body.push(Buffer.alloc(1000))
    const { sink, whenSettled } = send(application, {
      method: 'POST',
      headers: ['Host', 'x', 'Content-Length', '1000000'],
      input: body,
    })
    await whenSettled
    assert.equal(sink.body, 'too much')
    await until(() => closed)
  })
})

describe('http(url): failures', () => {
  it('answers 502 when no server listens, and reports that nothing was sent', async () => {
    const server = createTcpServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    let error: { status?: number; ran?: string } | undefined
    const application = upstream(`http://127.0.0.1:${port}`)
    const { sink, whenSettled } = run(async (environ, startResponse) => {
      try {
        return await application(environ, startResponse)
      } catch (thrown) {
        error = thrown as typeof error
        throw thrown
      }
    })
    await whenSettled
    assert.equal(sink.status, '502 Bad Gateway')
    assert.equal(error?.ran, 'no')
  })

  it('answers 504 when no head arrives in time', async () => {
    const clock = new FakeClock()
    const asked = Promise.withResolvers<void>()
    const application = await before(() => asked.resolve(), { clock, timeout: 1000 })
    const { sink, whenSettled } = send(application)
    await asked.promise
    for (let i = 0; i < 4; i++) clock.advance(250)
    assert.equal(sink.calls.length, 0)
    clock.advance(250)
    await whenSettled
    assert.equal(sink.status, '504 Gateway Timeout')
  })

  it('accepts a response that arrived while this process was stopped, though its timeout has passed', async () => {
    const clock = new FakeClock()
    const asked = Promise.withResolvers<ServerResponse>()
    const application = await before((_req, res) => asked.resolve(res), { clock, timeout: 1000 })
    const { sink, whenSettled } = send(application)
    const response = await asked.promise
    // In a timer, as a timeout is: the sockets are read after it.
    setTimeout(() => {
      response.end('late')
      for (let i = 0; i < 5; i++) clock.advance(250)
    }, 0)
    await whenSettled
    assert.equal(sink.status, '200 OK')
  })

  it('cuts a response that stands still for too long', async () => {
    const clock = new FakeClock()
    const application = await before(
      (_req, res) => {
        res.writeHead(200, { 'Content-Type': 'text/plain' }).write('begun')
      },
      { clock, idleTimeout: 1000 },
    )
    const { sink, whenSettled } = send(application)
    await until(() => sink.body === 'begun')
    for (let i = 0; i < 6; i++) clock.advance(250)
    await whenSettled
    assert.equal(sink.ended, false)
    assert.ok(sink.aborted)
  })

  for (const [name, head] of [
    ['fewer bytes than its Content-Length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n'],
    ['no last chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n'],
  ] as const) {
    for (const how of ['end', 'resetAndDestroy'] as const) {
      it(`cuts a response whose upstream gave ${name} and closed by ${how}()`, async () => {
        let connection: Socket | undefined
        const application = await raw((socket) => {
          connection = socket
          socket.write(`${head}part`)
        })
        const { sink, whenSettled } = send(application)
        await until(() => sink.body === 'part')
        connection![how]()
        await whenSettled
        assert.equal(sink.ended, false)
        assert.ok(sink.aborted)
      })
    }
  }

  it('answers 502 to what is not HTTP', async () => {
    const application = await raw((socket) => socket.end('SSH-2.0-OpenSSH\r\n'))
    const { sink, whenSettled } = send(application)
    await whenSettled
    assert.equal(sink.status, '502 Bad Gateway')
  })

  it('closes the request to the upstream when the client disconnects', async () => {
    const asked = Promise.withResolvers<void>()
    const closed = Promise.withResolvers<void>()
    const application = await before((req) => {
      req.socket.on('close', () => closed.resolve())
      asked.resolve()
    })
    const { exchange, whenSettled } = send(application)
    await asked.promise
    exchange.abort(new AbortError('CLIENT_GONE', 'the client went away'))
    await Promise.all([whenSettled, closed.promise])
  })

  it('repeats a GET whose kept connection was closed unseen, on a new one, and never a POST', async () => {
    const seen: string[] = []
    let served = 0
    const application = await raw((socket, head) => {
      const method = head.slice(0, head.indexOf(' '))
      seen.push(method)
      served++
      // Each connection's first request is answered; on its second it is reset.
      const first = (socket as Socket & { used?: boolean }).used !== true
      ;(socket as Socket & { used?: boolean }).used = true
      if (first) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      else socket.resetAndDestroy()
    })
    await send(application).whenSettled
    const repeated = send(application)
    await repeated.whenSettled
    assert.equal(repeated.sink.body, 'ok')
    assert.deepEqual(seen, ['GET', 'GET', 'GET'])
    await send(application).whenSettled
    const lost = send(application, { method: 'POST', headers: ['Host', 'x', 'Content-Length', '1'], input: input('x') })
    await lost.whenSettled
    assert.equal(lost.sink.status, '502 Bad Gateway')
    assert.deepEqual(seen, ['GET', 'GET', 'GET', 'GET', 'POST'])
    assert.equal(served, 5)
  })

  it('gives no client a byte of another response, whichever side disconnects when', async () => {
    // A linear congruential generator (Numerical Recipes): the same order in each run.
    let seed = 42
    const random = (below: number): number => {
      seed = (seed * 1664525 + 1013904223) >>> 0
      return Math.floor((seed / 2 ** 32) * below)
    }
    const turns = async (count: number): Promise<void> => {
      for (let at = 0; at < count; at++) await turn()
    }
    const application = await before(
      async (req, res) => {
        const id = `${req.url};${await bodyOf(req).catch(() => 'cut')};`
        res.setHeader('X-Id', req.url!)
        if (random(2) === 0) res.setHeader('Content-Length', id.length * 3)
        for (let at = 0; at < 3 && !res.destroyed; at++) {
          await turns(random(4))
          if (random(20) === 0) {
            res.destroy()
            return
          }
          res.write(id)
        }
        res.end()
      },
      { maxSockets: 4 },
    )
    let whole = 0
    const one = async (number: number): Promise<void> => {
      await turns(random(200))
      const body = `body ${number}`
      const post = random(2) === 0
      const headers = post ? ['Host', 'x', 'Content-Length', String(body.length)] : ['Host', 'x']
      const options: RunOptions = { method: post ? 'POST' : 'GET', target: `/${number}`, headers }
      if (post) options.input = input(body)
      const { exchange, sink, whenSettled } = send(application, options)
      if (random(3) === 0) {
        await turns(random(8))
        exchange.abort(new AbortError('CLIENT_GONE', 'the client went away'))
      }
      await whenSettled
      const expected = `/${number};${post ? body : ''};`.repeat(3)
      if (sink.status === '200 OK') {
        assert.equal(sink.header('x-id'), `/${number}`)
        assert.equal(sink.body, expected.slice(0, sink.body.length))
        if (sink.ended) {
          assert.equal(sink.body, expected)
          whole++
        }
      } else assert.ok(sink.status === '' || sink.status.startsWith('502'), sink.status)
    }
    await Promise.all(Array.from({ length: 300 }, (_, number) => one(number)))
    assert.ok(whole > 100, `${whole} answers were whole`)
  })

  it('accepts no request after close(), and waits for the running one', async () => {
    let response: { end(text: string): void } | undefined
    const url = await listening(createServer((_req, res) => (response = res)))
    const application = http(url)
    const running = send(application)
    await until(() => response !== undefined)
    let closed = false
    const closing = application.close().then(() => (closed = true))
    const refused = send(application)
    await refused.whenSettled
    assert.equal(refused.sink.status, '503 Service Unavailable')
    assert.equal(closed, false)
    response!.end('done')
    await running.whenSettled
    assert.equal(running.sink.body, 'done')
    await closing
  })

  for (const url of ['ftp://x', 'nonsense', 'http://u:p@x', 'http://x/?a', 'http://x/#a']) {
    it(`refuses the URL ${url}`, () => {
      assert.throws(() => http(url), TypeError)
    })
  }
})
