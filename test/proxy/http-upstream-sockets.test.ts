/** `http(url)` behind the real HTTP/1.1 gateway: large bodies, slow ends, WebSockets, TLS, aborts. */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, request, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { connect, createServer as createTcpServer, type Socket } from 'node:net'
import { after, describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { WebSocket, WebSocketServer } from 'ws'
import { serveHttp1 } from '../../protocol/http1/gateway.ts'
import { type HttpUpstream, type HttpUpstreamOptions, http } from '../../proxy/upstreams/http.ts'
import { certificate } from '../fixtures/certificate.ts'
import { keepAliveDue, skipKeepAlive } from '../support/keep-alive.ts'
import { facts, MemoryHost } from '../support/memory-client.ts'
import { listening } from '../support/sockets.ts'
import { until } from '../support/until.ts'

const cleanup: (() => unknown)[] = []
after(async () => {
  for (const clean of cleanup.reverse()) await clean()
})

/** A gateway in front of `http(url)` in front of `server`; returns the port of the gateway. */
async function front(server: Server, options?: HttpUpstreamOptions): Promise<number> {
  const upstream = await listening(server)
  cleanup.push(() => upstream.stop())
  return gateway(http(`http://127.0.0.1:${upstream.address.port}`, options))
}

async function gateway(application: HttpUpstream): Promise<number> {
  const host = new MemoryHost()
  const options = { host, facts, admit: () => host.admit() }
  const { address, stop } = await listening(
    createTcpServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      serveHttp1(socket, application, options)
    }),
  )
  cleanup.push(async () => {
    await stop()
    await host.idle()
    await application.close()
  })
  return address.port
}

/** Chunks of pseudo-random bytes, `total` bytes together, created as they are read; and their hash. */
function* pattern(total: number): Generator<Buffer> {
  const block = Buffer.alloc(64 * 1024)
  for (let at = 0; at < block.length; at++) block[at] = (at * 31 + (at >> 8)) & 0xff
  for (let left = total; left > 0; left -= block.length) {
    block.writeUInt32LE(left, 0)
    yield Buffer.from(block.subarray(0, Math.min(left, block.length)))
  }
}

function patternHash(total: number): string {
  const hash = createHash('sha1')
  for (const chunk of pattern(total)) hash.update(chunk)
  return hash.digest('hex')
}

/** The bytes of reachable buffers. */
function memory(): number {
  // The first collection releases them; the second counts what that has freed.
  collectGarbage()
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

async function hashOf(readable: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha1')
  for await (const chunk of readable) hash.update(chunk)
  return hash.digest('hex')
}

async function write(
  stream: { write(chunk: Buffer): boolean; once(event: string, f: () => void): unknown },
  total: number,
): Promise<void> {
  for (const chunk of pattern(total)) {
    if (!stream.write(chunk)) await new Promise<void>((resolve) => void stream.once('drain', resolve))
  }
}

const echo: RequestListener = (req, res) => {
  res.writeHead(200, { 'Content-Type': 'application/octet-stream' })
  req.pipe(res)
}

describe('an HTTP upstream behind the gateway', () => {
  for (const total of [1024 * 1024, 64 * 1024 * 1024]) {
    it(`carries ${total / 1024 / 1024} MiB up and down at once, with little memory`, async () => {
      const port = await front(createServer(echo))
      const req = request({ port, method: 'POST' })
      const answered = once(req, 'response') as Promise<[IncomingMessage]>
      const before = memory()
      let most = 0
      let read = 0
      const uploading = write(req, total).then(() => req.end())
      const [res] = await answered
      const hash = createHash('sha1')
      for await (const chunk of res) {
        hash.update(chunk)
        read += chunk.length
        if (read % (16 * 1024 * 1024) < chunk.length) most = Math.max(most, memory())
      }
      await uploading
      assert.equal(hash.digest('hex'), patternHash(total))
      // All four ends and both hops are in this process.
      assert.ok(most - before < 16 * 1024 * 1024, `${most - before} bytes were held`)
    })
  }

  it('does not read an upstream whose client does not read', async () => {
    let written = 0
    let ended = false
    const port = await front(
      createServer((_req, res) => {
        res.writeHead(200, { 'Content-Type': 'application/octet-stream' })
        const more = (): void => {
          while (!ended && written < 256 * 1024 * 1024) {
            written += 65536
            if (!res.write(Buffer.alloc(65536))) {
              res.once('drain', more)
              return
            }
          }
          res.end()
        }
        more()
        res.on('close', () => (ended = true))
      }),
    )
    const req = request({ port })
    req.end()
    const [res] = (await once(req, 'response')) as [IncomingMessage]
    res.pause()
    let last = -1
    for (let same = 0; same < 50; ) {
      await turn()
      same = written === last ? same + 1 : 0
      last = written
    }
    assert.ok(written < 64 * 1024 * 1024, `${written} bytes were written`)
    res.destroy()
    await until(() => ended)
  })

  it('does not read a client whose upstream does not read', async () => {
    let request_: IncomingMessage | undefined
    const port = await front(
      createServer((req) => {
        request_ = req
        req.on('close', () => (request_ = undefined))
      }),
    )
    const req = request({ port, method: 'POST', headers: { 'Content-Length': 256 * 1024 * 1024 } })
    req.on('error', () => {})
    let written = 0
    const more = (): void => {
      while (written < 256 * 1024 * 1024) {
        written += 65536
        if (!req.write(Buffer.alloc(65536))) {
          req.once('drain', more)
          return
        }
      }
    }
    more()
    await until(() => request_ !== undefined)
    let last = -1
    for (let same = 0; same < 50; ) {
      await turn()
      same = written === last ? same + 1 : 0
      last = written
    }
    assert.ok(written < 64 * 1024 * 1024, `${written} bytes were written`)
    // A side that does not read sees the client's disconnect only when it reads again.
    req.destroy()
    request_!.resume()
    await until(() => request_ === undefined)
  })

  it('aborts a truncated response, so that the client sees it', async () => {
    for (const headers of [{ 'Content-Length': '100' }, {}]) {
      const port = await front(
        createServer((_req, res) => {
          res.writeHead(200, headers)
          res.write('begun', () => setImmediate(() => res.destroy()))
        }),
      )
      const req = request({ port }).end()
      const [res] = (await once(req, 'response')) as [IncomingMessage]
      const failure = await hashOf(res).then(
        () => undefined,
        (error: NodeJS.ErrnoException) => error.code,
      )
      assert.equal(failure, 'ECONNRESET')
      assert.equal(res.complete, false)
    }
  })

  it('keeps its connections, and no more than its limit', async () => {
    let connections = 0
    let most = 0
    let running = 0
    const waiting: (() => void)[] = []
    const server = createServer((_req, res) => {
      running++
      most = Math.max(most, running)
      waiting.push(() => {
        running--
        res.end('ok')
      })
    })
    server.on('connection', () => connections++)
    const port = await front(server, { maxSockets: 2 })
    const answers = Array.from({ length: 6 }, async () => {
      const req = request({ port, agent: false }).end()
      const [res] = (await once(req, 'response')) as [IncomingMessage]
      return hashOf(res)
    })
    for (let served = 0; served < 6; served++) {
      await until(() => waiting.length >= Math.min(2, 6 - served))
      waiting.shift()!()
    }
    await Promise.all(answers)
    assert.equal(most, 2)
    assert.equal(connections, 2)
  })

  it('carries WebSockets, and their close both ways', async () => {
    const server = createServer()
    const sockets = new WebSocketServer({ server })
    const closed = Promise.withResolvers<number>()
    sockets.on('connection', (socket, req) => {
      assert.equal(req.url, '/chat?a=%20')
      socket.on('message', (data, binary) => socket.send(data, { binary }))
      socket.on('close', (code) => closed.resolve(code))
    })
    const port = await front(server)
    const client = new WebSocket(`ws://127.0.0.1:${port}/chat?a=%20`)
    await once(client, 'open')
    for (const size of [1, 1000, 1_000_000]) {
      const message = Buffer.concat([...pattern(size)])
      client.send(message)
      const [data] = (await once(client, 'message')) as [Buffer]
      assert.ok(message.equals(data))
    }
    client.close(4001)
    assert.equal(await closed.promise, 4001)
    await once(client, 'close')
  })

  it('ends a WebSocket whose other end is reset', async () => {
    const server = createServer()
    const sockets = new WebSocketServer({ server })
    const port = await front(server)
    for (const end of ['client', 'server'] as const) {
      const client = new WebSocket(`ws://127.0.0.1:${port}/`)
      client.on('error', () => {})
      const [[remote]] = (await Promise.all([once(sockets, 'connection'), once(client, 'open')])) as [
        [WebSocket],
        unknown,
      ]
      const other = end === 'client' ? remote : client
      const closed = once(other, 'close')
      const one = end === 'client' ? client : remote
      one.terminate()
      assert.equal((await closed)[0], 1006)
    }
  })

  /** A server that upgrades to its own protocol, and the state of its end of each connection. */
  async function upgrading(use: (socket: Socket) => void): Promise<{ port: number; remote: Promise<Socket> }> {
    const server = createServer()
    const upgraded = Promise.withResolvers<Socket>()
    server.on('upgrade', (_req, socket: Socket) => {
      socket.on('error', () => {})
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n')
      use(socket)
      upgraded.resolve(socket)
    })
    return { port: await front(server), remote: upgraded.promise }
  }

  async function upgrade(port: number): Promise<Socket> {
    const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    client.on('error', () => {})
    client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n')
    await once(client, 'data')
    return client
  }

  it('closes an upgraded connection to an upstream that keeps writing after its client was reset', async () => {
    const { port, remote } = await upgrading((socket) => {
      const send = (): void => {
        while (socket.write(Buffer.alloc(64 * 1024)));
      }
      // The upstream ignores the FIN.
      socket.on('drain', send)
      send()
    })
    const client = await upgrade(port)
    client.pause()
    const server = await remote
    const closed = new Promise<void>((resolve) => server.once('close', () => resolve()))
    client.resetAndDestroy()
    await closed
  })

  it('probes the host of an upgraded connection by TCP keep-alive', {
    skip: skipKeepAlive,
  }, async () => {
    const { port, remote } = await upgrading(() => {})
    const client = await upgrade(port)
    const { localPort, remotePort } = await remote
    const due = keepAliveDue(remotePort!, localPort!)
    client.destroy()
    assert.ok(due !== undefined && due <= 60_100 && due > 30_000, `due in ${due} ms`)
  })

  it("gives the client an upstream's refusal of a WebSocket", async () => {
    const server = createServer()
    const sockets = new WebSocketServer({ server, verifyClient: (_info, done) => done(false, 401, 'nobody') })
    const port = await front(server)
    const client = new WebSocket(`ws://127.0.0.1:${port}/`)
    client.on('error', () => {})
    const [, res] = (await once(client, 'unexpected-response')) as [unknown, IncomingMessage]
    assert.equal(res.statusCode, 401)
    let text = ''
    for await (const chunk of res) text += chunk
    assert.equal(text, 'nobody')
    sockets.close()
  })

  it('answers 502 to an upgrade that cannot reach its upstream', async () => {
    const server = createServer()
    const { address, stop } = await listening(server)
    await stop()
    const port = await gateway(http(`http://127.0.0.1:${address.port}`))
    const client = new WebSocket(`ws://127.0.0.1:${port}/`)
    client.on('error', () => {})
    const [, res] = (await once(client, 'unexpected-response')) as [unknown, IncomingMessage]
    assert.equal(res.statusCode, 502)
    res.destroy()
  })

  it('checks the certificate of an https upstream, against the URL and not the Host that a client names', async () => {
    const { key, cert } = certificate()
    const names: unknown[] = []
    const secure = createSecureServer({ key, cert }, (req, res) => {
      names.push((req.socket as { servername?: unknown }).servername)
      res.end(req.headers.host)
    })
    const { address, stop } = await listening(secure)
    cleanup.push(stop)
    const answers: [number | undefined, string][] = []
    for (const [host, options] of [
      ['localhost', { ca: cert }],
      ['127.0.0.1', { ca: cert }],
      ['localhost', {}],
      ['localhost', { secure: false }],
    ] as const) {
      const port = await gateway(http(`https://${host}:${address.port}`, options))
      const req = request({ port, headers: { Host: 'other.example' } }).end()
      const [res] = (await once(req, 'response')) as [IncomingMessage]
      let text = ''
      for await (const chunk of res) text += chunk
      answers.push([res.statusCode, res.statusCode === 200 ? text : ''])
    }
    assert.deepEqual(answers, [
      [200, 'other.example'],
      [200, 'other.example'],
      [502, ''],
      [200, 'other.example'],
    ])
    assert.deepEqual(names, ['localhost', false, 'localhost'])
  })
})
