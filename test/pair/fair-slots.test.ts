/**
 * Slow clients and slots, in each place where requests wait: two slots, several addresses, a clock that the test moves.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { suite, test } from 'node:test'
import { containerOptions } from '../../container/options.ts'
import { serveContainer } from '../../container/serve.ts'
import { Pool } from '../../pool/pool.ts'
import type { Application, Body } from '../../protocol/contract/application.ts'
import { serveHttp1 } from '../../protocol/http1/gateway.ts'
import { Deadlines } from '../../protocol/net/clock.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { proxyOptions } from '../../proxy/options.ts'
import { serveProxy } from '../../proxy/serve.ts'
import { ApplicationUpstream } from '../../proxy/upstreams/application.ts'
import type { Sent } from '../support/client.ts'
import { FakeClock } from '../support/clock.ts'
import { HttpClient } from '../support/http-client.ts'
import { RecordingLog } from '../support/log.ts'
import { until } from '../support/until.ts'

const BLOCK = Buffer.alloc(64 * 1024, 'x')
const BLOCKS = 320
/** Only the slots are scarce. */
const PATIENT = '--queue-timeout 1h --send-timeout none --body-timeout none'.split(' ')

/** An application whose running requests the test can see. */
class World {
  readonly clock: FakeClock = new FakeClock()
  readonly log: RecordingLog = new RecordingLog()
  /** Targets that run now, and the most that did at once. */
  readonly running: string[] = []
  most = 0
  readonly began: string[] = []
  readonly #gates: Map<string, PromiseWithResolvers<void>> = new Map()
  readonly clients: HttpClient[] = []
  port = 0
  close: () => unknown = () => {}

  readonly application: Application = async (environ, startResponse): Promise<Body> => {
    const target = environ.REQUEST_URI
    this.running.push(target)
    this.began.push(target)
    this.most = Math.max(this.most, this.running.length)
    const over = (): void => void this.running.splice(this.running.indexOf(target), 1)
    const { signal } = environ.gantry
    try {
      if (target.startsWith('/read')) await environ['wsgi.input'].read()
      else if (target.startsWith('/first')) await environ['wsgi.input'].read1()
      else if (target.startsWith('/hold')) {
        const aborted = new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        await Promise.race([this.#gate(target).promise, aborted])
      }
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      if (!target.startsWith('/big')) {
        over()
        return [Buffer.from('done')]
      }
    } catch (error) {
      over()
      throw error
    }
    async function* blocks(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < BLOCKS; at++) yield BLOCK
    }
    return Object.assign(blocks(), { close: over })
  }

  #gate(target: string): PromiseWithResolvers<void> {
    let gate = this.#gates.get(target)
    if (!gate) this.#gates.set(target, (gate = Promise.withResolvers()))
    return gate
  }

  release(target: string): void {
    this.#gate(target).resolve()
  }

  /** A client of the address 127.0.0.`host`. */
  async client(host: number): Promise<HttpClient> {
    const client = await HttpClient.connect({ port: this.port, host: '127.0.0.1', localAddress: `127.0.0.${host}` })
    this.clients.push(client)
    return client
  }

  async get(host: number, target: string): Promise<Sent> {
    return (await this.client(host)).request({ target })
  }

  /** One that reads nothing. */
  async reader(host: number, target: string): Promise<{ sent: Sent; resume(): void }> {
    const client = await this.client(host)
    const sent = client.request({ target })
    client.socket.pause()
    return { sent, resume: () => client.socket.resume() }
  }

  async upload(host: number, target: string, begin: string): Promise<Sent> {
    const headers: [string, string][] = [['Content-Length', '1000']]
    const sent = (await this.client(host)).request({ method: 'POST', target, headers, body: 'stream' })
    await sent.send(Buffer.from(begin))
    return sent
  }

  /** Moves the clock in small steps, with the sockets read in between, until `condition` holds or `ms` have passed. */
  async pass(ms: number, condition: () => boolean = () => false): Promise<void> {
    for (let left = ms; left > 0 && !condition(); left -= 50) {
      this.clock.advance(50)
      for (let round = 0; round < 5; round++) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  async runs(...targets: string[]): Promise<void> {
    const all = (): boolean => targets.every((target) => this.running.includes(target))
    for (let round = 0; round < 1_000 && !all(); round++) await this.pass(250, all)
    await until(all, `${targets} to run, ${this.running} do`)
  }

  get slow(): string[] {
    return this.log.lines.filter(({ fields }) => fields['code'] === 'SLOW_CLIENT').map(({ message }) => message)
  }
}

/** The answer, for which the clock is moved. */
async function answerOf(world: World, sent: Sent): Promise<Awaited<ReturnType<Sent['whole']>>> {
  let over = false
  const whole = sent.whole().finally(() => (over = true))
  while (!over) await world.pass(1_000, () => over)
  return await whole
}

type Start = (world: World) => Promise<void>

function portOf(address: object | undefined): number {
  return (address as { port: number }).port
}

const arrangements: Record<string, Start> = {
  'a proxy and a container': async (world) => {
    const { clock, log, application } = world
    const silentLog = new RecordingLog()
    const container = await serveContainer(
      parseOptions(containerOptions, ['app', '--listen', '127.0.0.1:0', '--slots', '2', ...PATIENT], {}).values,
      { clock, log: silentLog, application },
    )
    const upstream = `127.0.0.1:${portOf(container.addresses[0])}`
    const argv = [
      '--listen',
      '127.0.0.1:0',
      '--upstream',
      upstream,
      '--timeout',
      'none',
      '--idle-timeout',
      'none',
      ...PATIENT,
    ]
    const proxy = await serveProxy(parseOptions(proxyOptions, argv, {}).values, { clock, log })
    await until(() => proxy.pool.count('ready') === 1)
    world.port = portOf(proxy.addresses[0])
    world.close = async () => {
      const drained = Promise.all([proxy.drain(), container.drain()])
      let over = false
      drained.finally(() => (over = true))
      while (!over) await world.pass(1_000, () => over)
    }
  },

  'a proxy and an application of its process': async (world) => {
    const { clock, log, application } = world
    const pool = new Pool({
      queueSize: 1_000,
      queueTimeout: 3_600_000,
      timeout: Number.POSITIVE_INFINITY,
      idleTimeout: Number.POSITIVE_INFINITY,
      clock,
      log,
    })
    pool.add(new ApplicationUpstream('application', application, { clock, log, random: Math.random, slots: 2 }))
    const never = Number.POSITIVE_INFINITY
    const options = {
      host: { clock, log, deadlines: new Deadlines(clock), draining: false, settled: () => {} },
      facts: { multithread: true, multiprocess: false, runOnce: false },
      timeouts: { body: never, write: never },
    }
    const sockets: Set<Socket> = new Set()
    const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket)
      serveHttp1(socket, pool.application, options)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    world.port = portOf(server.address() as object)
    world.close = () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      pool.destroy('the test ends')
    }
  },

  'a container’s own port': async (world) => {
    const { clock, log, application } = world
    const argv = ['app', '--listen', '127.0.0.1:0', '--slots', '2', '--trusted-peers', 'none', ...PATIENT]
    const { values } = parseOptions(containerOptions, argv, {})
    const container = await serveContainer(values, { clock, log, application })
    world.port = portOf(container.addresses[0])
    world.close = async () => {
      let over = false
      container.drain().finally(() => (over = true))
      while (!over) await world.pass(1_000, () => over)
    }
  },
}

for (const [name, start] of Object.entries(arrangements)) {
  const inWorld = (title: string, body: (world: World) => Promise<void>): void => {
    test(title, { timeout: 120_000 }, async () => {
      const world = new World()
      await start(world)
      try {
        await body(world)
        assert.ok(world.most <= 2, `${world.most} requests ran on two slots`)
      } finally {
        for (const client of world.clients) client.destroy()
        await world.close()
      }
    })
  }

  suite(name, () => {
    for (const [whose, host] of [
      ['another address', 3],
      ['the same address', 2],
    ] as const) {
      inWorld(`takes a slot from a client that reads nothing for a request of ${whose}`, async (world) => {
        const readers = [await world.reader(2, '/big?1'), await world.reader(2, '/big?2')]
        await world.runs('/big?1', '/big?2')
        const answer = await answerOf(world, await world.get(host, '/hello'))
        assert.equal(answer.status, 200)
        assert.equal(world.slow.length, 1)
        assert.match(world.slow[0]!, /^slow client: accepted \d+ bytes of its response/)
        assert.ok(world.log.lines.some(({ fields }) => fields['code'] === 'SLOW_CLIENT' && fields['requestId']))
        for (const { resume } of readers) resume()
        const answers = await Promise.all(readers.map(({ sent }) => answerOf(world, sent)))
        // The aborted response is not complete; the other one is.
        assert.deepEqual(answers.map(({ complete }) => complete).sort(), [false, true])
      })

      inWorld(`takes a slot from a slow upload for a request of ${whose}`, async (world) => {
        const uploads = [await world.upload(2, '/read?1', 'x'), await world.upload(2, '/read?2', 'x')]
        await world.runs('/read?1', '/read?2')
        const answer = await answerOf(world, await world.get(host, '/hello'))
        assert.equal(answer.status, 200)
        assert.equal(world.slow.length, 1)
        assert.match(world.slow[0]!, /^slow client: delivered \d+ bytes of its request/)
        for (const sent of uploads) await sent.send(Buffer.alloc(999))
        const statuses = await Promise.all(uploads.map(async (sent) => (await answerOf(world, sent)).status))
        assert.deepEqual(statuses.sort(), [200, 408])
      })
    }

    inWorld('takes no slot from an application that works, whatever its client has sent', async (world) => {
      const sent = [await world.get(2, '/hold?1'), await world.upload(2, '/hold?2', 'x')]
      await world.runs('/hold?1', '/hold?2')
      const waiting = await world.get(3, '/hello')
      await world.pass(60_000)
      assert.deepEqual(world.slow, [])
      assert.deepEqual(world.running.sort(), ['/hold?1', '/hold?2'])
      world.release('/hold?1')
      world.release('/hold?2')
      const answers = await Promise.all([...sent, waiting].map((one) => answerOf(world, one)))
      assert.deepEqual(
        answers.map(({ status }) => status),
        [200, 200, 200],
      )
    })

    inWorld('takes no slot while nobody waits', async (world) => {
      const readers = [await world.reader(2, '/big?1'), await world.reader(2, '/big?2')]
      await world.runs('/big?1', '/big?2')
      await world.pass(60_000)
      for (const { resume } of readers) resume()
      const answers = await Promise.all(readers.map(({ sent }) => answerOf(world, sent)))
      assert.deepEqual(
        answers.map(({ complete, body }) => [complete, body.length]),
        [
          [true, BLOCKS * BLOCK.length],
          [true, BLOCKS * BLOCK.length],
        ],
      )
      assert.deepEqual(world.slow, [])
    })

    inWorld('gives a slot to a whole request before one whose body is still arriving', async (world) => {
      await world.get(4, '/hold?1')
      await world.get(5, '/hold?2')
      await world.runs('/hold?1', '/hold?2')
      const upload = await world.upload(2, '/read', 'x')
      await world.pass(1_000)
      const get = await world.get(2, '/hold?3')
      await world.pass(1_000)
      world.release('/hold?1')
      await world.runs('/hold?3')
      assert.ok(!world.began.includes('/read'))
      await upload.send(Buffer.alloc(999))
      await world.pass(1_000)
      world.release('/hold?2')
      assert.equal((await answerOf(world, upload)).status, 200)
      world.release('/hold?3')
      assert.equal((await answerOf(world, get)).status, 200)
    })

    inWorld('never begins the request of a client that left before its body was there', async (world) => {
      await world.get(4, '/hold?1')
      await world.get(5, '/hold?2')
      await world.runs('/hold?1', '/hold?2')
      const upload = await world.upload(2, '/read', 'x')
      await world.pass(1_000)
      upload.abort()
      await world.pass(1_000)
      world.release('/hold?1')
      assert.equal((await answerOf(world, await world.get(3, '/hello'))).status, 200)
      assert.ok(!world.began.includes('/read'))
      world.release('/hold?2')
    })

    inWorld('begins a request whose client waits for the response before it ends its upload', async (world) => {
      await world.get(4, '/hold?1')
      await world.runs('/hold?1')
      const upload = await world.upload(2, '/first', 'x')
      // Little more than half of the slots is taken: it waits for its body for a moment, and not for ever.
      await world.pass(60_000, () => world.began.includes('/first'))
      assert.equal((await upload.head()).status, 200)
      await upload.send(Buffer.alloc(999))
      world.release('/hold?1')
    })

    inWorld('asks a client for its body (100 Continue) only once the application reads', async (world) => {
      await world.get(4, '/hold?1')
      await world.get(5, '/hold?2')
      await world.runs('/hold?1', '/hold?2')
      const headers: [string, string][] = [
        ['Content-Length', '4'],
        ['Expect', '100-continue'],
      ]
      const sent = (await world.client(2)).request({ method: 'POST', target: '/read', headers, body: 'stream' })
      let asked = false
      const informed = sent.informed(1).then(() => (asked = true))
      await world.pass(1_000)
      assert.equal(asked, false)
      world.release('/hold?1')
      await world.pass(10_000, () => asked)
      await informed
      await sent.send(Buffer.from('body'))
      assert.equal((await answerOf(world, sent)).status, 200)
      world.release('/hold?2')
    })
  })
}
