import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { suite, test } from 'node:test'
import { Pool } from '../../../pool/pool.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { USUAL_TIMES } from '../../../protocol/frames/codec/liveness.ts'
import { PeerLinks } from '../../../protocol/frames/watch.ts'
import { Dialer } from '../../../proxy/discovery/dialer.ts'
import type { DialAddress } from '../../../proxy/discovery/report.ts'
import { Client, turn } from '../../pool/client.ts'
import { FakeClock } from '../../support/clock.ts'
import { RecordingLog } from '../../support/log.ts'
import { Container } from '../container.ts'

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', [])
  return []
}

/** A socket that is connecting until the test connects or fails it. */
class Connecting extends EventEmitter {
  destroyed = false
  #stream: Duplex | undefined

  connect(stream: Duplex): void {
    this.#stream = stream
    for (const name of ['write', 'end', 'cork', 'uncork', 'pause', 'resume', 'destroy'] as const) {
      Object.defineProperty(this, name, { value: (stream[name] as () => unknown).bind(stream) })
    }
    for (const name of ['writableNeedDrain', 'writableEnded'] as const) {
      Object.defineProperty(this, name, { get: () => stream[name] })
    }
    stream.on('close', () => {
      this.destroyed = true
      this.emit('close')
    })
    for (const event of ['data', 'end', 'error', 'drain']) stream.on(event, (...args) => this.emit(event, ...args))
    this.emit('connect')
  }

  fail(error: Error = new Error('refused')): void {
    this.emit('error', error)
    this.destroy()
  }

  /** An error as the system reports it. */
  failWith(code: string): void {
    this.fail(Object.assign(new Error(code), { code }))
  }

  destroy(error?: Error): void {
    if (this.destroyed) return
    this.destroyed = true
    if (error) this.emit('error', error)
    this.#stream?.destroy()
    this.emit('close')
  }
}

class Scene {
  readonly clock: FakeClock = new FakeClock()
  readonly log: RecordingLog = new RecordingLog()
  readonly sockets: Connecting[] = []
  readonly containers: Container[] = []
  readonly pool: Pool
  readonly dialer: Dialer

  constructor(address: DialAddress = { kind: 'tcp', host: '192.0.2.1', port: 8000 }) {
    this.pool = new Pool({
      queueSize: 10,
      queueTimeout: 600_000,
      timeout: 60_000,
      idleTimeout: 60_000,
      clock: this.clock,
      log: this.log,
      onWanted: () => this.dialer.dialNow(),
    })
    this.dialer = new Dialer(address, {
      pool: this.pool,
      clock: this.clock,
      log: this.log,
      random: () => 1,
      peers: new PeerLinks(),
      open: () => {
        const socket = new Connecting()
        this.sockets.push(socket)
        return socket as unknown as Socket
      },
    })
  }

  get dials(): number {
    return this.sockets.length
  }

  /** The latest dial reaches a container. */
  async reach(container: Container = new Container(hello)): Promise<Container> {
    this.containers.push(container)
    const [here, there] = duplexPair()
    container.serve(there)
    this.sockets.at(-1)!.connect(here)
    await turns()
    return container
  }

  /** The system of the peer accepts the latest dial, and the peer does not answer. */
  async accept(): Promise<Duplex> {
    const [here, there] = duplexPair()
    this.sockets.at(-1)!.connect(here)
    await turns()
    return there
  }

  /** Advances the clock in steps, so that answers can arrive. */
  async pass(milliseconds: number): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += 250) {
      this.clock.advance(250)
      await turns(6)
    }
  }

  /** A link that was ready becomes silent: its container stops reading. @returns continues the container */
  async silence(container: Container): Promise<() => void> {
    const stream = container.streams[0]!
    stream.pause()
    await this.pass(USUAL_TIMES.pingInterval + USUAL_TIMES.suspectAfter)
    return () => void stream.resume()
  }

  /** Fails the latest dial, and returns the time until the next one, ms. */
  pause(): number {
    const before = this.dials
    this.sockets.at(-1)!.fail()
    let passed = 0
    while (this.dials === before && passed < 10_000) {
      this.clock.advance(25)
      passed += 25
    }
    return passed
  }
}

async function turns(count: number = 20): Promise<void> {
  for (let left = count; left > 0; left--) await turn()
}

suite('a dialer', () => {
  test('dials immediately, and adds a member to the pool', async () => {
    const scene = new Scene()
    assert.equal(scene.dials, 1)
    await scene.reach()
    assert.equal(scene.pool.count('ready'), 1)
  })

  test('waits twice as long after each failure, up to 2 s', () => {
    const scene = new Scene()
    const pauses = Array.from({ length: 8 }, () => scene.pause())
    assert.deepEqual(pauses, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000])
  })

  test('waits no longer than a second for a socket of this host', () => {
    const scene = new Scene({ kind: 'unix', path: '/run/app.sock' })
    const pauses = Array.from({ length: 7 }, () => scene.pause())
    assert.deepEqual(pauses.slice(-3), [800, 1_000, 1_000])
  })

  test('waits no longer than 250 ms while requests wait', () => {
    const scene = new Scene()
    new Client().run(scene.pool.application)
    const pauses = Array.from({ length: 5 }, () => scene.pause())
    assert.deepEqual(pauses, [50, 100, 200, 250, 250])
  })

  test('dials sooner when the first request waits', () => {
    const scene = new Scene()
    for (let count = 0; count < 7; count++) scene.pause()
    scene.sockets.at(-1)!.fail()
    scene.clock.advance(500)
    const before = scene.dials
    new Client().run(scene.pool.application)
    assert.equal(scene.dials, before + 1)
  })

  test('dials no more often because of dialNow()', () => {
    const scene = new Scene()
    for (let count = 0; count < 6; count++) scene.pause()
    scene.sockets.at(-1)!.fail()
    const before = scene.dials
    for (let count = 0; count < 240; count++) {
      scene.dialer.dialNow()
      scene.clock.advance(1)
    }
    assert.equal(scene.dials, before)
    scene.clock.advance(10)
    assert.equal(scene.dials, before + 1)
  })

  test('logs once that a container cannot be reached, and once that it is reached again', async () => {
    const scene = new Scene()
    scene.pause()
    scene.pause()
    await scene.reach()
    assert.deepEqual(scene.log.messages('warn'), ['container cannot be reached; trying again'])
    assert.deepEqual(scene.log.messages('info'), ['container is reached again', 'container is ready'])
  })

  test('logs why a container cannot be reached at each change of the reason, and not at each attempt', async () => {
    const scene = new Scene()
    const told = () =>
      scene.log.lines
        .filter(({ message }) => message === 'container cannot be reached; trying again')
        .map(({ fields: { phase, reason, code } }) => [phase, reason, code])
    const fail = async (code: string): Promise<void> => {
      scene.sockets.at(-1)!.failWith(code)
      await scene.pass(2_500)
    }
    for (const code of ['ECONNREFUSED', 'ECONNREFUSED', 'EHOSTUNREACH', 'EHOSTUNREACH', 'ECONNREFUSED'])
      await fail(code)
    // An address at which packets are dropped; then one that accepts the connection and hangs up.
    await scene.pass(2 * 3_000 + 2_500)
    const peer = await scene.accept()
    peer.destroy()
    await scene.pass(2_500)
    // A server of another kind, which the container replaces later.
    const server = await scene.accept()
    server.write('HTTP/1.1 400 Bad Request\r\n\r\n')
    await scene.pass(2_500)
    assert.deepEqual(told(), [
      ['connect', 'refused', 'ECONNREFUSED'],
      ['connect', 'unreachable', 'EHOSTUNREACH'],
      ['connect', 'refused', 'ECONNREFUSED'],
      ['connect', 'timeout', 'CONNECT_TIMEOUT'],
      ['handshake', 'closed', 'LOST'],
      ['handshake', 'protocol', 'HANDSHAKE'],
    ])
    await scene.reach()
    scene.sockets.at(-1)!.destroy()
    await turns()
    await scene.pass(2_500)
    await fail('ECONNREFUSED')
    assert.deepEqual(told().slice(6), [['connect', 'refused', 'ECONNREFUSED']])
  })

  test('logs once that a container accepts a connection and does not answer, and once that it is reached', async () => {
    const scene = new Scene()
    const there = await scene.accept()
    await scene.pass(4_750)
    assert.deepEqual(scene.log.messages('warn'), [])
    await scene.pass(40_000)
    assert.match(scene.log.messages('warn').join(), /^connection accepted, but no handshake yet: [^,]*, [^,]*$/)
    new Container(hello).serve(there)
    await turns()
    assert.deepEqual([scene.log.messages('info')[0], scene.dials], ['container is reached again', 1])
  })

  test('suggests --upstream http:// when an HTTP server answers', async () => {
    const scene = new Scene()
    const [here, there] = duplexPair()
    scene.sockets[0]!.connect(here)
    there.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
    for (let count = 0; count < 20; count++) await turn()
    const { hint } = scene.log.lines.find(({ level }) => level === 'warn')!.fields
    assert.match(String(hint), /--upstream http:\/\/192\.0\.2\.1:8000/)
  })

  test('has a connect timeout', async () => {
    const scene = new Scene()
    scene.clock.advance(3_000)
    await turn()
    assert.equal(scene.sockets[0]!.destroyed, true)
    scene.clock.advance(50)
    assert.equal(scene.dials, 2)
  })

  test('dials again when the link is lost', async () => {
    const scene = new Scene()
    const container = await scene.reach()
    await container.kill()
    await turn()
    scene.clock.advance(50)
    assert.equal(scene.dials, 2)
  })

  test('dials again as soon as its container drains, and lets it finish', async () => {
    const scene = new Scene()
    const container = await scene.reach()
    const client = new Client().run(scene.pool.application)
    for (let count = 0; count < 20; count++) await turn()
    container.drain()
    for (let count = 0; count < 20; count++) await turn()
    scene.clock.advance(50)
    assert.equal(scene.dials, 2)
    assert.equal(client.outcome, '200 OK')
  })

  test('does not dial later because of dialNow()', async () => {
    const scene = new Scene()
    const container = await scene.reach()
    await container.kill()
    for (let count = 0; count < 20; count++) await turn()
    scene.dialer.dialNow()
    scene.clock.advance(50)
    assert.equal(scene.dials, 2)
  })

  test('begins with the shortest pause after a link that was ready for a second', async () => {
    const scene = new Scene()
    for (let count = 0; count < 6; count++) scene.pause()
    const container = await scene.reach()
    scene.clock.advance(2_000)
    await container.kill()
    await turn()
    scene.clock.advance(50)
    assert.equal(scene.dials, 8)
  })

  test('waits longer each time for a container that dies as soon as it is reached', async () => {
    const scene = new Scene()
    for (let count = 0; count < 6; count++) {
      const container = await scene.reach()
      await container.kill()
      await turn()
      const before = scene.dials
      while (scene.dials === before) scene.clock.advance(25)
    }
    const before = scene.clock.now()
    const container = await scene.reach()
    await container.kill()
    await turn()
    while (scene.dials === 7) scene.clock.advance(25)
    assert.ok(scene.clock.now() - before >= 1_000, `${scene.clock.now() - before} ms`)
  })

  test('that is stopped closes its link and dials no more', async () => {
    const scene = new Scene()
    await scene.reach()
    scene.dialer.stop('gone')
    for (let count = 0; count < 20; count++) await turn()
    scene.clock.advance(10_000)
    assert.deepEqual([scene.dials, scene.pool.members.length], [1, 0])
  })

  test('keeps its link after stopDialling(), and neither dials nor warns when the link is lost', async () => {
    const scene = new Scene()
    const container = await scene.reach()
    scene.dialer.stopDialling('the proxy stops')
    for (let count = 0; count < 20; count++) await turn()
    assert.equal(scene.pool.count('ready'), 1)
    container.drain()
    for (let count = 0; count < 20; count++) await turn()
    scene.clock.advance(10_000)
    assert.deepEqual([scene.dials, scene.pool.members.length, scene.log.messages('warn')], [1, 0, []])
  })

  test('that is stopped while it dials adds no member', async () => {
    const scene = new Scene()
    scene.dialer.stop('gone')
    assert.equal(scene.sockets[0]!.destroyed, true)
    scene.clock.advance(10_000)
    assert.deepEqual([scene.dials, scene.pool.members.length], [1, 0])
  })

  test('that is stopped while it waits dials no more', () => {
    const scene = new Scene()
    scene.sockets[0]!.fail()
    scene.dialer.stop('gone')
    scene.clock.advance(10_000)
    assert.deepEqual([scene.dials, scene.clock.pending], [1, 0])
  })
})

/** An application that responds when the test allows it. */
class Held {
  readonly #waiting: (() => void)[] = []

  readonly application: Application = async (_environ, startResponse) => {
    await new Promise<void>((resolve) => this.#waiting.push(resolve))
    startResponse('200 OK', [])
    return []
  }

  get running(): number {
    return this.#waiting.length
  }

  release(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

suite('a dialer whose link has fallen silent', () => {
  /** With a request running on the silent link. */
  async function busy(method: string = 'POST'): Promise<{ scene: Scene; held: Held; client: Client; old: Container }> {
    const scene = new Scene()
    const held = new Held()
    const old = await scene.reach(new Container(held.application, { id: 'old' }))
    const client = new Client({ method }).run(scene.pool.application)
    await turns()
    assert.equal(held.running, 1)
    return { scene, held, client, old }
  }

  test('dials once, and keeps the connection while it is accepted but not answered', async () => {
    const { scene, client, old } = await busy()
    await scene.silence(old)
    assert.equal(scene.dials, 2)
    await scene.accept()
    await scene.pass(55_000)
    assert.deepEqual([scene.dials, client.outcome, scene.pool.members.length], [2, '504 UPSTREAM_TIMEOUT', 2])
  })

  test('dials again after an hour at the latest, and not more often', async () => {
    const scene = new Scene()
    let dials = 0
    for (; scene.clock.now() < 24 * 3_600_000; dials++) {
      const before = scene.dials
      await scene.accept()
      while (scene.dials === before) {
        scene.clock.advance(1_000)
        await turn()
      }
    }
    assert.ok(dials > 24 && dials < 34, `${dials} connections in a day`)
  })

  test('closes the new connection when the link answers again, and loses nothing', async () => {
    const { scene, held, client, old } = await busy()
    const goOn = await scene.silence(old)
    await scene.accept()
    goOn()
    await turns()
    assert.equal(scene.sockets[1]!.destroyed, true)
    held.release()
    await turns()
    assert.deepEqual([client.outcome, scene.pool.count('ready')], ['200 OK', 1])
    await scene.pass(4_000)
    assert.equal(scene.dials, 2)
  })

  for (const code of ['ECONNREFUSED', 'ENOENT', 'EHOSTUNREACH', 'ETIMEDOUT']) {
    test(`considers the link dead when another connection fails with ${code}`, async () => {
      const { scene, client, old } = await busy()
      await scene.silence(old)
      scene.sockets[1]!.failWith(code)
      await turns()
      assert.equal(client.outcome, '502 UPSTREAM_LOST')
    })
  }

  for (const code of ['EMFILE', 'EADDRNOTAVAIL', 'EAGAIN', 'ENETUNREACH']) {
    test(`keeps the link when another connection fails with ${code}, a fault of this host`, async () => {
      const { scene, client, old } = await busy()
      await scene.silence(old)
      scene.sockets[1]!.failWith(code)
      await scene.pass(250)
      assert.deepEqual([client.outcome, scene.dials], ['waits', 3])
    })
  }

  test('considers the link dead when another connection times out, and sends a GET elsewhere', async () => {
    const { scene, client, old } = await busy('GET')
    await scene.silence(old)
    await scene.pass(3_250)
    const other = await scene.reach(new Container(hello, { id: 'new' }))
    assert.deepEqual([client.outcome, other.runs.get('GET /')], ['200 OK', 1])
  })

  test('does not judge by a connection that was established while this process was stopped', async () => {
    const { scene, client, old } = await busy()
    await scene.silence(old)
    // The timeout passes while the connection is being established, and both are noticed together.
    scene.clock.pause(20_000)
    scene.clock.advance(1_499)
    await scene.reach(new Container(hello, { id: 'old' }))
    assert.deepEqual([client.outcome, scene.pool.count('ready'), scene.dials], ['waits', 1, 2])
  })

  test('replaces the link although no request runs on it', async () => {
    const scene = new Scene()
    await scene.silence(await scene.reach())
    scene.sockets[1]!.failWith('ECONNREFUSED')
    await turns()
    assert.equal(scene.pool.members.length, 0)
    await scene.pass(250)
    await scene.reach()
    assert.equal(scene.pool.count('ready'), 1)
  })

  test('considers the link dead when the same container answers only on another connection', async () => {
    const { scene, client, old } = await busy()
    await scene.silence(old)
    const again = await scene.reach(new Container(hello, { id: 'old' }))
    const next = new Client().run(scene.pool.application)
    await turns()
    // The new link serves at once; the old one has its grace period.
    assert.deepEqual([next.outcome, again.runs.get('GET /'), client.outcome], ['200 OK', 1, 'waits'])
    await scene.pass(2 * USUAL_TIMES.probeGrace + 500)
    assert.equal(client.outcome, '502 UPSTREAM_LOST')
    assert.deepEqual([scene.pool.members.length, scene.dials], [1, 2])
  })

  test('drains the link when the same container answers on both, the new one first', async () => {
    const { scene, held, client, old } = await busy()
    const goOn = await scene.silence(old)
    await scene.reach(new Container(hello, { id: 'old' }))
    await scene.pass(500)
    goOn()
    await scene.pass(2 * USUAL_TIMES.probeGrace + 1_000)
    assert.equal(client.outcome, 'waits')
    held.release()
    await turns()
    assert.equal(client.outcome, '200 OK')
    await scene.pass(1_250)
    assert.deepEqual([scene.pool.members.length, scene.pool.count('ready'), scene.dials], [1, 1, 2])
  })

  test('lets requests on the link end when another container answers at its address', async () => {
    const { scene, held, client, old } = await busy()
    const goOn = await scene.silence(old)
    const other = await scene.reach(new Container(hello, { id: 'other' }))
    await scene.pass(30_000)
    const next = new Client().run(scene.pool.application)
    await turns()
    assert.deepEqual([next.outcome, other.runs.get('GET /'), client.outcome], ['200 OK', 1, 'waits'])
    goOn()
    held.release()
    await turns()
    assert.equal(client.outcome, '200 OK')
    await scene.pass(1_250)
    assert.equal(scene.pool.members.length, 1)
  })

  test('that is stopped closes both the link and the new connection', async () => {
    const scene = new Scene()
    await scene.silence(await scene.reach())
    await scene.accept()
    scene.dialer.stop('gone')
    await scene.pass(USUAL_TIMES.silenceTimeout + 3_000)
    assert.deepEqual([scene.pool.members.length, scene.dials, scene.clock.pending], [0, 2, 0])
  })
})
