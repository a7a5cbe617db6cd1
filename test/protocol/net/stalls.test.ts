/** Clients that accept no bytes, on each wire that has clients, and upgraded streams that are silent. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { describe, it } from 'node:test'
import type { Application } from '../../../protocol/contract/application.ts'
import type { Http1Timeouts } from '../../../protocol/http1/options.ts'
import { acceptedBySystem } from '../../../protocol/net/socket-counters.ts'
import { FakeClock } from '../../support/clock.ts'
import { Serving as HttpServing, still, until } from '../http1/serving.ts'
import { Serving as UwsgiServing } from '../uwsgi/serving.ts'
import { nginxGet, packet } from '../uwsgi/support.ts'

type Serving = HttpServing | UwsgiServing

interface Options {
  clock: FakeClock
  timeouts: Partial<Http1Timeouts>
  halfClose?: 'abort' | 'serve'
  path?: string
}

interface Wire {
  name: string
  start(application: Application, options: Options): Promise<Serving>
  request: Buffer
  upgrade: Buffer
}

const wires: readonly Wire[] = [
  {
    name: 'HTTP/1.1',
    start: (application, options) => HttpServing.start(application, options),
    request: Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n'),
    upgrade: Buffer.from('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n'),
  },
  {
    name: 'uwsgi',
    start: (application, options) => UwsgiServing.start(application, options),
    request: packet(nginxGet),
    upgrade: packet([...nginxGet, 'HTTP_UPGRADE', 'raw', 'HTTP_CONNECTION', 'Upgrade']),
  },
]

const MIB = 1024 * 1024
/** More than the system's buffers hold on the loopback interface. */
const MUCH = Buffer.alloc(16 * MIB)
const WRITE = 10_000
const IDLE = 60_000
/** How much later than a timeout its effect may be seen: a quarter of it, and a few ticks of its watcher. */
const late = (timeout: number): number => timeout / 4 + 1_500

/** A client that does not read until the test says so. */
class Client {
  readonly socket: Socket
  read = 0
  ended: string | undefined

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => (this.read += chunk.length))
    socket.on('end', () => (this.ended ??= 'end'))
    socket.on('error', (error: NodeJS.ErrnoException) => (this.ended ??= error.code ?? ''))
    socket.on('close', () => (this.ended ??= 'close'))
    socket.pause()
  }

  static async to(serving: Serving): Promise<Client> {
    const socket = connect({ ...serving.address, allowHalfOpen: true })
    const client = new Client(socket)
    await once(socket, 'connect')
    return client
  }

  /** Reads `bytes` more, and nothing further. */
  async take(bytes: number): Promise<void> {
    const end = this.read + bytes
    this.socket.resume()
    await until(() => this.read >= end)
    this.socket.pause()
  }

  /** How the connection ended, after everything received was read. */
  async end(): Promise<string> {
    this.socket.resume()
    await until(() => this.ended !== undefined)
    return this.ended!
  }
}

/** Resolves when the client's system accepts no more bytes. */
async function blocked(serving: Serving): Promise<void> {
  await until(() => (serving.sockets[0]?.writableLength ?? 0) > 0)
  await still(() => acceptedBySystem(serving.sockets[0]!) ?? -1)
}

function stallLines(serving: Serving): { requestId: unknown; message: string }[] {
  return serving.log.lines
    .filter(({ fields }) => fields['code'] === 'DEADLINE')
    .map(({ fields, message }) => ({ requestId: fields['requestId'], message }))
}

const start101: Application = (environ, start) => {
  if (environ['HTTP_UPGRADE'] === undefined) throw new Error('an upgrade was expected')
  start('101 Switching Protocols', [['Upgrade', 'raw']])
  return []
}

/** Passes each upgraded stream to `use`. */
const upgrading =
  (use: (stream: Duplex) => void): Application =>
  (environ, start) => {
    const body = start101(environ, start)
    const stream = environ.gantry.upgrade()
    stream.on('error', () => {})
    use(stream)
    return body
  }

const responses: readonly {
  what: string
  headers: [string, string][]
  body: () => AsyncIterable<Buffer> | Buffer[]
}[] = [
  { what: 'of a known length', headers: [['Content-Length', String(MUCH.length)]], body: () => [MUCH] },
  {
    what: 'that goes on',
    headers: [],
    body: async function* () {
      for (;;) yield Buffer.alloc(65_536)
    },
  },
  {
    what: 'without a length, given whole',
    headers: [],
    body: async function* () {
      yield MUCH
    },
  },
]

for (const { name, start, request, upgrade } of wires) {
  describe(`a client over ${name} that accepts no bytes`, () => {
    for (const { what, headers, body } of responses) {
      it(`of a response ${what} is reset, its request aborted and named in the log`, async () => {
        const clock = new FakeClock()
        const application: Application = (_, startResponse) => {
          startResponse('200 OK', headers)
          return body()
        }
        await using serving = await start(application, { clock, timeouts: { write: WRITE, keepAlive: 1_000 } })
        const client = await Client.to(serving)
        client.socket.write(request)
        await blocked(serving)
        clock.advance(WRITE - 500)
        assert.equal(serving.closed, 0)
        clock.advance(500 + late(WRITE))
        await until(() => serving.closed === 1 && serving.settled === 1)
        assert.equal(await client.end(), 'ECONNRESET')
        assert.ok(client.read < MUCH.length)
        const { requestId } = serving.environs[0]!.gantry
        const message = 'the client accepted no byte of its response for 10 s (--send-timeout): its connection is reset'
        assert.deepEqual(stallLines(serving), [{ requestId, message }])
        if (what === 'that goes on') assert.equal(serving.environs[0]!.gantry.signal.reason?.code, 'DEADLINE')
      })
    }

    it('after its FIN is reset like any other', async () => {
      const clock = new FakeClock()
      const application: Application = (_, startResponse) => {
        startResponse('200 OK', [])
        return [MUCH]
      }
      await using serving = await start(application, { clock, timeouts: { write: WRITE }, halfClose: 'serve' })
      const client = await Client.to(serving)
      client.socket.end(request)
      await blocked(serving)
      clock.advance(WRITE + late(WRITE))
      await until(() => serving.closed === 1 && serving.settled === 1)
      assert.equal(await client.end(), 'ECONNRESET')
    })

    for (const half of [false, true]) {
      it(`of an upgraded stream${half ? ' whose sending side it has ended' : ''} is reset`, async () => {
        const clock = new FakeClock()
        let closed = 0
        const application = upgrading((stream) => {
          stream.once('close', () => closed++)
          stream.resume()
          stream.write(MUCH)
        })
        await using serving = await start(application, { clock, timeouts: { write: WRITE } })
        const client = await Client.to(serving)
        client.socket.write(upgrade)
        await until(() => serving.environs.length === 1)
        if (half) {
          client.socket.end()
          await until(() => serving.sockets[0]!.readableEnded)
        }
        await blocked(serving)
        const { signal, requestId } = serving.environs[0]!.gantry
        clock.advance(WRITE - 500)
        assert.equal(closed, 0)
        clock.advance(500 + late(WRITE))
        await until(() => closed === 1 && serving.closed === 1 && serving.settled === 1)
        assert.equal(await client.end(), 'ECONNRESET')
        assert.equal(signal.reason?.code, 'DEADLINE')
        const message =
          'the client accepted no byte of an upgraded stream for 10 s (--send-timeout): its connection is reset'
        assert.deepEqual(stallLines(serving), [{ requestId, message }])
      })
    }

    it('of an upgraded stream on a Unix socket is disconnected', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'gantry-'))
      try {
        const clock = new FakeClock()
        const options = { clock, timeouts: { write: WRITE }, path: join(directory, 'socket') }
        await using serving = await start(
          upgrading((stream) => void stream.write(MUCH)),
          options,
        )
        const client = await Client.to(serving)
        client.socket.write(upgrade)
        await blocked(serving)
        clock.advance(WRITE + late(WRITE))
        await until(() => serving.closed === 1 && serving.settled === 1)
        await client.end()
        assert.ok(client.read < MUCH.length)
      } finally {
        await rm(directory, { recursive: true, force: true })
      }
    })
  })

  describe(`an upgraded stream over ${name}`, () => {
    it('continues while a client reads parts of one large write that is not complete', async () => {
      const clock = new FakeClock()
      let written = false
      const application = upgrading((stream) => void stream.write(Buffer.alloc(96 * MIB), () => (written = true)))
      await using serving = await start(application, { clock, timeouts: { write: WRITE } })
      const client = await Client.to(serving)
      client.socket.write(upgrade)
      await blocked(serving)
      for (let round = 0; round < 4; round++) {
        const taken = acceptedBySystem(serving.sockets[0]!)!
        // Enough that the system asks for more.
        while (acceptedBySystem(serving.sockets[0]!) === taken) await client.take(64 * 1024)
        await blocked(serving)
        clock.advance(WRITE - 500)
      }
      assert.deepEqual([serving.closed, written], [0, false])
      clock.advance(WRITE + late(WRITE))
      await until(() => serving.closed === 1)
    })

    it('that is silent in both directions for the idle timeout is closed, also for the application', async () => {
      const clock = new FakeClock()
      let stream: Duplex | undefined
      let received = 0
      const application = upgrading((one) => {
        stream = one
        one.on('data', (chunk: Buffer) => (received += chunk.length))
      })
      await using serving = await start(application, { clock, timeouts: { upgradeIdle: IDLE } })
      const client = await Client.to(serving)
      client.socket.write(upgrade)
      await until(() => stream !== undefined)
      await client.take(1)
      for (let round = 1; round <= 3; round++) {
        // A byte in either direction restarts the timeout.
        clock.advance(IDLE - 500)
        if (round % 2 === 0) {
          stream!.write('a')
          await client.take(1)
        } else {
          const before = received
          client.socket.write('b')
          await until(() => received > before)
        }
        assert.equal(serving.closed, 0)
      }
      clock.advance(IDLE - 500)
      assert.equal(serving.closed, 0)
      const { signal, requestId } = serving.environs[0]!.gantry
      clock.advance(500 + late(IDLE))
      await until(() => serving.closed === 1 && serving.settled === 1)
      assert.equal(await client.end(), 'end')
      assert.equal(signal.reason?.code, 'DEADLINE')
      const message =
        'an upgraded stream was silent in both directions for 60 s (--upgrade-idle-timeout): its connection is closed'
      assert.deepEqual(stallLines(serving), [{ requestId, message }])
    })

    it('that has ended leaves no deadline', async () => {
      const clock = new FakeClock()
      const application = upgrading((stream) => void stream.end())
      await using serving = await start(application, { clock, timeouts: { upgradeIdle: IDLE } })
      const client = await Client.to(serving)
      client.socket.write(upgrade)
      await client.end()
      client.socket.end()
      await until(() => serving.closed === 1)
      clock.advance(1_000)
      assert.equal(clock.pending, 0)
    })
  })
}

describe('a client that pipelines and reads none of its responses', () => {
  const bodies: Record<string, Application> = {
    HEAD: (_, start) => {
      start('200 OK', [['X-Filling', 'x'.repeat(1_000)]])
      return [Buffer.from('hello')]
    },
    GET: (_, start) => {
      start('204 No Content', [['X-Filling', 'x'.repeat(1_000)]])
      return []
    },
  }
  for (const [method, application] of Object.entries(bodies)) {
    it(`is reset, also if responses have no body (${method})`, async () => {
      const clock = new FakeClock()
      await using serving = await HttpServing.start(application, { clock, timeouts: { write: WRITE } })
      const client = await Client.to(serving)
      client.socket.write(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(40_000))
      await until(() => serving.sockets[0]?.writableNeedDrain === true)
      await blocked(serving)
      const { requestId } = serving.environs.at(-1)!.gantry
      clock.advance(WRITE + late(WRITE))
      await until(() => serving.closed === 1)
      assert.equal(await client.end(), 'ECONNRESET')
      assert.deepEqual(
        stallLines(serving).map((line) => line.requestId),
        [requestId],
      )
      assert.equal(serving.settled, serving.environs.length)
    })
  }
})
