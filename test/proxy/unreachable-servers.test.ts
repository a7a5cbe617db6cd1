/** The log reports each reason why an HTTP server cannot be reached or does not answer, once for many requests. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { afterEach, suite, test } from 'node:test'
import { accessLog } from '../../middleware/access-log/access-log.ts'
import { compose } from '../../middleware/compose.ts'
import { Pool } from '../../pool/pool.ts'
import { ApplicationUpstream } from '../../proxy/upstreams/application.ts'
import { http } from '../../proxy/upstreams/http.ts'
import { certificate } from '../fixtures/certificate.ts'
import { FakeClock } from '../support/clock.ts'
import { run } from '../support/exchange.ts'
import { RecordingLog } from '../support/log.ts'
import { until } from '../support/until.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function listening(server: Server | ReturnType<typeof createServer>, port: number = 0): Promise<number> {
  const sockets: Set<Socket> = new Set()
  server.on('connection', (socket: Socket) => sockets.add(socket.on('error', () => {})))
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => server.close(resolve))
  })
  return (server.address() as AddressInfo).port
}

class Scene {
  readonly clock: FakeClock = new FakeClock()
  readonly log: RecordingLog = new RecordingLog()
  readonly lines: RecordingLog = new RecordingLog()
  readonly pool: Pool
  readonly url: string

  constructor(url: string) {
    const { clock, log } = this
    this.url = url
    this.pool = new Pool({ queueSize: 9, queueTimeout: 1_000, timeout: 9_000, idleTimeout: 9_000, clock, log })
    const application = http(url, { clock, log, timeout: 9_000 })
    this.pool.add(new ApplicationUpstream(url, application, { clock, log, random: () => 1 }))
    cleanups.push(() => application.close())
  }

  /** Sends a request, and waits for its access line. */
  async get(): Promise<Record<string, unknown>> {
    const count = this.lines.lines.length + 1
    run(compose(accessLog({ log: this.lines }), this.pool.application))
    await until(() => {
      this.clock.advance(100)
      return this.lines.lines.length === count
    })
    return this.lines.lines.at(-1)!.fields
  }

  /** The log lines about the server, and their requests. */
  get told(): unknown[] {
    return this.log.lines
      .filter(({ fields }) => fields['address'] === this.url)
      .map(({ message, fields: { phase, reason, requestId } }) =>
        phase === undefined ? message : [message, phase, reason, typeof requestId],
      )
  }
}

const UNREACHED = 'server cannot be reached; trying again'
const UNANSWERED = 'server does not answer a request'

suite('a server that is not reached', () => {
  test('because no process listens is logged once, and again when the reason changes', async () => {
    const closed = createServer()
    const port = await listening(closed)
    await cleanups.pop()!()
    const scene = new Scene(`http://127.0.0.1:${port}`)
    await scene.get()
    await scene.get()
    assert.deepEqual(scene.told, [[UNREACHED, 'connect', 'refused', 'string']])
    await listening(
      createServer((socket) => void socket.on('data', () => socket.destroy())),
      port,
    )
    await scene.get()
    await scene.get()
    assert.deepEqual(scene.told.slice(1), [[UNANSWERED, 'first-byte', 'closed', 'string']])
  })

  test('because of its certificate is logged with that reason', async () => {
    const { key, cert } = certificate()
    const port = await listening(createSecureServer({ key, cert }, (_req, res) => res.end()))
    const scene = new Scene(`https://127.0.0.1:${port}`)
    const line = await scene.get()
    assert.deepEqual(scene.told, [[UNREACHED, 'handshake', 'certificate', 'string']])
    assert.equal(line['upstream'], scene.url)
  })

  test('because it does not speak TLS is logged with that reason', async () => {
    const port = await listening(createHttpServer((_req, res) => res.end()))
    const scene = new Scene(`https://127.0.0.1:${port}`)
    await scene.get()
    const [[message, phase, reason]] = scene.told as [string[]]
    assert.deepEqual([message, phase, reason], [UNREACHED, 'handshake', 'tls'])
  })
})

suite('a server that does not answer', () => {
  test('in time is logged once while the failure recurs within a minute', async () => {
    const port = await listening(createServer(() => {}))
    const scene = new Scene(`http://127.0.0.1:${port}`)
    for (const pause of [0, 0, 70_000]) {
      scene.clock.advance(pause)
      assert.equal((await scene.get())['status'], 504)
    }
    const once = [UNANSWERED, 'first-byte', 'timeout', 'string']
    assert.deepEqual(scene.told, [once, once])
  })

  test('a TLS handshake in time is logged with that phase', async () => {
    const port = await listening(createServer(() => {}))
    const scene = new Scene(`https://127.0.0.1:${port}`)
    assert.equal((await scene.get())['status'], 504)
    assert.deepEqual(scene.told, [[UNANSWERED, 'handshake', 'timeout', 'string']])
  })

  test('in HTTP is logged with that reason', async () => {
    const port = await listening(createServer((socket) => void socket.on('data', () => socket.end('what?\r\n\r\n'))))
    const scene = new Scene(`http://127.0.0.1:${port}`)
    assert.equal((await scene.get())['status'], 502)
    assert.deepEqual(scene.told, [[UNANSWERED, 'first-byte', 'protocol', 'string']])
  })
})

suite('a request that is made again on a new connection', () => {
  test('is logged with its id, and counted as a second attempt', async () => {
    const sockets: Socket[] = []
    const server = createHttpServer((req, res) => {
      if (sockets.at(-1) !== req.socket) sockets.push(req.socket)
      if (sockets.length === 1 && req.url === '/' && served++ > 0) req.socket.destroy()
      else res.end('ok')
    })
    let served = 0
    const port = await listening(server)
    const scene = new Scene(`http://127.0.0.1:${port}`)
    await scene.get()
    await until(() => scene.pool.inFlight === 0)
    const { requestId, status, tries } = await scene.get()
    assert.deepEqual([status, tries], [200, 2])
    const again = scene.log.lines.filter(({ message }) => message.startsWith('request is sent again'))
    assert.deepEqual(
      again.map(({ level, fields }) => [level, fields['requestId'], fields['member']]),
      [['info', requestId, scene.url]],
    )
  })
})
