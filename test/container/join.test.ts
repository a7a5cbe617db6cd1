import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { describe, it } from 'node:test'
import { Joiner } from '../../container/join.ts'
import type { JoinedLink, LinkEvents, ProxyWorker } from '../../container/worker-link.ts'
import { printAddress, type TcpAddress, type UnixAddress } from '../../protocol/net/address.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'

/** A socket that a test connects, refuses or closes. */
class FakeSocket extends EventEmitter {
  destroyed = false

  destroy(): this {
    if (this.destroyed) return this
    this.destroyed = true
    this.emit('close')
    return this
  }

  refuse(): void {
    this.emit('error', Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }))
    this.destroy()
  }
}

class FakeLink implements JoinedLink {
  state: JoinedLink['state'] = 'connecting'
  peer: ProxyWorker | undefined
  drained: string | undefined
  refusals = 0
  readonly events: LinkEvents
  readonly handshakeTimeout: number

  constructor(events: LinkEvents, handshakeTimeout: number) {
    this.events = events
    this.handshakeTimeout = handshakeTimeout
  }

  unreachable(): void {
    this.refusals++
  }

  drain(reason?: string): void {
    this.drained = reason
  }

  ready(id?: string, worker = 0, workers = 1): void {
    this.state = 'ready'
    if (id !== undefined) this.peer = { id, worker, workers }
    this.events.onReady()
  }

  close(error?: Error): void {
    this.state = 'closed'
    this.events.onClosed(error)
  }
}

class World {
  readonly clock: FakeClock = new FakeClock()
  readonly log: RecordingLog = new RecordingLog()
  /** Every dial, oldest first. */
  readonly dials: { to: string; at: number; socket: FakeSocket }[] = []
  readonly links: { to: string; link: FakeLink }[] = []
  /** The addresses of the resolver; an error: the resolver fails. */
  answer: string[] | Error = []
  asked = 0
  random = 1
  readonly joiner: Joiner

  constructor(address: TcpAddress | UnixAddress = { kind: 'tcp', host: 'proxy', port: 9000 }) {
    this.joiner = new Joiner(address, {
      clock: this.clock,
      log: this.log,
      random: () => this.random,
      resolve: async () => {
        this.asked++
        if (this.answer instanceof Error) throw this.answer
        return this.answer
      },
      dial: (to) => {
        const socket = new FakeSocket()
        this.dials.push({ to: printAddress(to), at: this.clock.now(), socket })
        return socket as unknown as Socket
      },
      serve: (_, to, events, handshakeTimeout) => {
        const link = new FakeLink(events, handshakeTimeout)
        this.links.push({ to: printAddress(to), link })
        return link
      },
    })
  }

  async start(...answer: string[]): Promise<void> {
    this.answer = answer
    this.joiner.start()
    await settle()
  }

  /** Advances the clock in small steps, so that the resolver's callbacks run in between. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 10) {
      this.clock.advance(Math.min(10, left))
      await settle()
    }
  }

  /** Connects the newest dial and lets its link become ready. */
  connect(index: number = this.dials.length - 1, id?: string, worker?: number, workers?: number): FakeLink {
    this.dials[index]!.socket.emit('connect')
    const { link } = this.links.at(-1)!
    link.ready(id, worker, workers)
    return link
  }

  /** Resolves at the next dial. */
  async redial(): Promise<void> {
    const before = this.dials.length
    while (this.dials.length === before) await this.pass(10)
  }

  get targets(): string[] {
    return this.dials.map(({ to }) => to)
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('Joiner', () => {
  it('joins every address of a name, of either family', async () => {
    const world = new World()
    await world.start('10.0.0.2', 'fd00::2')
    assert.deepEqual(world.targets, ['10.0.0.2:9000', '[fd00::2]:9000'])
    world.connect(0)
    world.connect(1)
    assert.equal(world.joiner.inspect(), '<Joiner proxy:9000 2 ready>')
  })

  it('counts once for a proxy that has two addresses, and takes the second when the first is lost', async () => {
    const world = new World()
    await world.start('127.0.0.1', '::1')
    const first = world.connect(0, 'p1')
    const second = world.connect(1, 'p1')
    assert.equal(first.drained, undefined)
    assert.match(second.drained ?? '', /joined already/)
    second.close()
    await world.pass(1_000)
    assert.equal(world.dials.length, 2)
    first.close()
    world.answer = ['::1']
    await world.pass(30_000)
    assert.equal(world.targets.at(-1), '[::1]:9000')
    assert.equal(world.connect(world.dials.length - 1, 'p1').drained, undefined)
  })

  it('joins two proxies that are not the same', async () => {
    const world = new World()
    await world.start('10.0.0.2', '10.0.0.3')
    assert.equal(world.connect(0, 'p1').drained, undefined)
    assert.equal(world.connect(1, 'p2').drained, undefined)
  })

  it('joins every worker of a proxy, whichever accepts a connection', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    const first = world.connect(0, 'p1', 1, 3)
    assert.deepEqual(world.targets, ['10.0.0.2:9000', '10.0.0.2:9000', '10.0.0.2:9000'])
    const again = world.connect(1, 'p1', 1, 3)
    assert.match(again.drained ?? '', /redialling to reach another worker/)
    again.close()
    const second = world.connect(2, 'p1', 0, 3)
    await world.redial()
    const third = world.connect(3, 'p1', 2, 3)
    assert.deepEqual(
      [first, second, third].map(({ drained }) => drained),
      [undefined, undefined, undefined],
    )
    await world.pass(60_000)
    assert.equal(world.dials.length, 4)
    assert.equal(world.joiner.inspect(), '<Joiner proxy:9000 3 ready>')
    assert.deepEqual(world.log.messages(), [])
  })

  it('dials for a crashed worker until it is back, less and less often', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    world.connect(0, 'p1', 0, 2)
    const lost = world.connect(1, 'p1', 1, 2)
    lost.close(new Error('reset'))
    for (let tries = 0; tries < 30; tries++) {
      await world.redial()
      world.connect(world.dials.length - 1, 'p1', 0, 2).close()
    }
    const [before, last] = world.dials.slice(-2)
    assert.ok(last!.at - before!.at >= 890, `${last!.at - before!.at} ms`)
    await world.redial()
    assert.equal(world.connect(world.dials.length - 1, 'p1', 1, 2).drained, undefined)
    assert.equal(world.joiner.inspect(), '<Joiner proxy:9000 2 ready>')
    // Logged when the proxy was lost and when it was found, and not for the attempts in between.
    assert.deepEqual(world.log.messages(), ['a proxy cannot be joined; trying again', 'a proxy is joined again'])
  })

  it('keeps one link with each worker of a proxy that has two addresses', async () => {
    const world = new World()
    await world.start('127.0.0.1', '::1')
    world.connect(0, 'p1', 0, 2)
    assert.equal(world.connect(1, 'p1', 1, 2).drained, undefined)
    assert.equal(world.dials.length, 4)
    for (const dial of [2, 3]) {
      const twin = world.connect(dial, 'p1', dial - 2, 2)
      assert.match(twin.drained ?? '', /joined already, at another/)
      twin.close()
    }
    await world.pass(20_000)
    assert.equal(world.dials.length, 4)
  })

  it('has one link again with a proxy that restarts with one worker', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    const links = [world.connect(0, 'p1', 0, 2), world.connect(1, 'p1', 1, 2)]
    for (const link of links) link.close(new Error('reset'))
    await world.pass(60)
    assert.equal(world.dials.length, 4)
    assert.equal(world.connect(2, 'p2', 0, 1).drained, undefined)
    assert.match(world.connect(3, 'p2', 0, 1).drained ?? '', /joined already/)
    await world.pass(60_000)
    assert.equal(world.dials.length, 4)
    assert.equal(world.joiner.inspect(), '<Joiner proxy:9000 1 ready>')
  })

  it('dials a bounded number of links for a proxy that reports too many workers', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    world.connect(0, 'p1', 0, 65_535)
    assert.equal(world.dials.length, 256)
  })

  it('joins an IP address without resolving it', async () => {
    for (const address of [
      { kind: 'unix', path: '/run/gantry/join' },
      { kind: 'tcp', host: '::1', port: 9000 },
    ] as const) {
      const world = new World(address)
      await world.start()
      assert.deepEqual(world.targets, [printAddress(address)])
      assert.equal(world.asked, 0)
    }
  })

  it('resolves the name each second, and joins new proxies', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    world.connect()
    world.answer = ['10.0.0.2', '10.0.0.3']
    await world.pass(1_010)
    assert.equal(world.asked, 2)
    assert.deepEqual(world.targets, ['10.0.0.2:9000', '10.0.0.3:9000'])
  })

  it('disconnects from an address that is no longer resolved, and never dials it again', async () => {
    const world = new World()
    await world.start('10.0.0.2', '10.0.0.3')
    const first = world.connect(0)
    const second = world.connect(1)
    world.answer = ['10.0.0.3']
    await world.pass(1_010)
    assert.match(first.drained ?? '', /no longer resolves/)
    assert.equal(second.drained, undefined)
    first.close()
    await world.pass(5_000)
    assert.equal(world.dials.length, 2)
  })

  it('keeps its links when the name cannot be resolved, and logs once when it fails and when it is back', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    const link = world.connect()
    world.answer = new Error('SERVFAIL')
    await world.pass(3_000)
    assert.equal(link.drained, undefined)
    assert.deepEqual(world.log.messages(), ['a name to join cannot be resolved; trying again'])
    world.answer = ['10.0.0.2']
    await world.pass(1_010)
    assert.deepEqual(world.log.messages('info'), ['a name to join is resolved again'])
    assert.equal(world.dials.length, 1)
  })

  it('treats an empty answer as a failure of the resolver', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    const link = world.connect()
    world.answer = []
    await world.pass(2_000)
    assert.equal(link.drained, undefined)
  })

  it('dials again in growing, bounded, jittered waits while it is refused, and logs that once', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    const waits: number[] = []
    for (let i = 0; i < 7; i++) {
      const { socket, at } = world.dials.at(-1)!
      socket.refuse()
      const before = world.dials.length
      while (world.dials.length === before) await world.pass(10)
      waits.push(world.dials.at(-1)!.at - at)
    }
    for (const [index, most] of [50, 100, 200, 400, 800, 900, 900].entries()) {
      assert.ok(Math.abs(waits[index]! - most) <= 10, `${waits}`)
    }
    assert.deepEqual(world.log.messages('warn'), ['a proxy cannot be joined; trying again'])
    world.connect()
    assert.deepEqual(world.log.messages('info'), ['a proxy is joined'])
  })

  it('logs each change of the reason: another service may listen where the proxy was', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    world.dials.at(-1)!.socket.refuse()
    for (const code of ['HPE_INVALID', 'HPE_INVALID', 'UNAUTHENTICATED']) {
      await world.redial()
      world.dials.at(-1)!.socket.emit('connect')
      world.links.at(-1)!.link.close(Object.assign(new Error(code), { code }))
    }
    const warned = world.log.lines.filter(({ level }) => level === 'warn')
    assert.deepEqual(
      warned.map(({ fields }) => fields['reason']),
      ['refused', 'protocol', 'token'],
    )
    await world.redial()
    world.connect()
    assert.deepEqual(world.log.messages('info'), ['a proxy is joined'])
  })

  it('waits between half of the backoff and all of it', async () => {
    const world = new World()
    world.random = 0
    await world.start('10.0.0.2')
    world.dials[0]!.socket.refuse()
    world.clock.advance(24)
    assert.equal(world.dials.length, 1)
    world.clock.advance(1)
    assert.equal(world.dials.length, 2)
  })

  it('rejoins a proxy that restarts within a second', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    const link = world.connect()
    await world.pass(60_000)
    link.close(new Error('reset'))
    await world.pass(60)
    assert.equal(world.dials.length, 2)
    // The proxy is away for two seconds: whenever it returns, the next dial is less than a second away.
    for (let i = 0; i < 200; i++) {
      world.dials.at(-1)!.socket.refuse()
      await world.pass(10)
    }
    const back = world.clock.now()
    const before = world.dials.length
    while (world.dials.length === before) await world.pass(10)
    assert.ok(world.dials.at(-1)!.at - back < 1_000)
  })

  it('backs off from a proxy that accepts a link and closes it at once', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    for (let i = 0; i < 6; i++) {
      world.connect().close(new Error('no'))
      const before = world.dials.length
      while (world.dials.length === before) await world.pass(10)
    }
    const [a, b] = world.dials.slice(-2)
    assert.ok(b!.at - a!.at > 500, `${b!.at - a!.at} ms`)
  })

  it('joins the replacement of a draining proxy, and lets the old link end by itself', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    const old = world.connect()
    await world.pass(5_000)
    old.state = 'draining'
    await world.pass(1_100)
    assert.equal(world.dials.length, 2)
    assert.equal(old.drained, undefined)
    world.connect()
    old.close()
    await world.pass(5_000)
    assert.equal(world.dials.length, 2)
    assert.equal(world.joiner.inspect(), '<Joiner proxy:9000 1 ready>')
  })

  it('gives up a connection that is not established within three seconds, and tries again', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    await world.pass(2_990)
    assert.equal(world.dials[0]!.socket.destroyed, false)
    await world.pass(100)
    assert.equal(world.dials[0]!.socket.destroyed, true)
    assert.equal(world.dials.length, 2)
    assert.match(String(world.log.lines[0]?.fields['error']), /no connection within 3 s/)
  })

  it('never dials after it was stopped', async () => {
    const world = new World()
    await world.start('10.0.0.2', '10.0.0.3', '10.0.0.4')
    const link = world.connect(0)
    world.dials[1]!.socket.refuse()
    world.joiner.stop('the test ends')
    assert.equal(link.drained, 'the test ends')
    assert.equal(world.dials[2]!.socket.destroyed, true)
    link.close()
    await world.pass(10_000)
    assert.equal(world.dials.length, 3)
    assert.equal(world.asked, 1)
    assert.equal(world.clock.pending, 0)
  })

  it('destroys a connection that is established after it was stopped', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    const { socket } = world.dials[0]!
    socket.destroy = function (this: FakeSocket) {
      this.destroyed = true
      return this
    }
    world.joiner.stop('the test ends')
    socket.destroyed = false
    socket.emit('connect')
    assert.equal(socket.destroyed, true)
    assert.equal(world.links.length, 0)
  })
})

describe('Joiner whose proxy is silent', () => {
  async function silent(): Promise<{ world: World; link: FakeLink }> {
    const world = new World()
    await world.start('10.0.0.2')
    const link = world.connect(0, 'p1')
    await world.pass(5_000)
    link.events.onAnswering(false)
    return { world, link }
  }

  it('dials again at once, and keeps that connection while it gets no handshake', async () => {
    const { world, link } = await silent()
    assert.equal(world.dials.length, 2)
    world.dials[1]!.socket.emit('connect')
    await world.pass(60_000)
    assert.deepEqual([world.dials.length, link.drained], [2, undefined])
    assert.ok(world.links[1]!.link.handshakeTimeout >= 30_000)
  })

  it('logs once that a connection is accepted and not answered, if there was no link before', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    world.dials[0]!.socket.emit('connect')
    await world.pass(4_900)
    assert.deepEqual(world.log.messages(), [])
    await world.pass(20_000)
    assert.match(world.log.messages('warn').join(), /^a connection was accepted and not answered; waiting[^,]*$/)
    world.links[0]!.link.ready('p1')
    assert.deepEqual(world.log.messages('info'), ['a proxy is joined'])
  })

  it('closes that connection when the proxy answers on the link again', async () => {
    const { world, link } = await silent()
    link.events.onAnswering(true)
    assert.equal(world.dials[1]!.socket.destroyed, true)
    await world.pass(5_000)
    assert.deepEqual([world.dials.length, link.drained], [2, undefined])
  })

  it('uses the new link when the proxy answers there, and drains the old one', async () => {
    const { world, link } = await silent()
    const next = world.connect(1, 'p1')
    assert.match(link.drained ?? '', /did not answer/)
    assert.equal(next.drained, undefined)
    link.close(new Error('it has not answered'))
    await world.pass(5_000)
    assert.equal(world.dials.length, 2)
    assert.equal(world.joiner.inspect(), '<Joiner proxy:9000 1 ready>')
  })

  it('logs that the proxy cannot be reached when the new connection is refused, and keeps dialling', async () => {
    const { world, link } = await silent()
    world.dials[1]!.socket.emit('error', Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))
    world.dials[1]!.socket.destroy()
    assert.equal(link.refusals, 1)
    await world.redial()
    assert.equal(world.dials.length, 3)
  })

  it('logs nothing about the proxy when this host is at fault', async () => {
    const { world, link } = await silent()
    world.dials[1]!.socket.emit('error', Object.assign(new Error('too many files'), { code: 'EMFILE' }))
    world.dials[1]!.socket.destroy()
    assert.equal(link.refusals, 0)
    await world.redial()
  })

  it('keeps a connection attempt when the silent link is closed', async () => {
    const { world, link } = await silent()
    world.dials[1]!.socket.emit('connect')
    link.close()
    await world.pass(10_000)
    assert.equal(world.dials.length, 2)
    world.links[1]!.link.ready('p1')
    assert.equal(world.joiner.inspect(), '<Joiner proxy:9000 1 ready>')
  })

  it('searches for the silent worker among others, and drains links to workers that are joined', async () => {
    const world = new World()
    await world.start('10.0.0.2')
    const [link, other] = [world.connect(0, 'p1', 0, 2), world.connect(1, 'p1', 1, 2)]
    link.events.onAnswering(false)
    const met = world.connect(2, 'p1', 1, 2)
    assert.match(met.drained ?? '', /redialling to reach another worker/)
    await world.redial()
    assert.equal(world.connect(3, 'p1', 0, 2).drained, undefined)
    assert.match(link.drained ?? '', /did not answer/)
    assert.equal(other.drained, undefined)
  })

  it('uses a second address of the proxy when the first is silent, and drops one when both answer', async () => {
    const world = new World()
    await world.start('127.0.0.1', '::1')
    const first = world.connect(0, 'p1')
    first.events.onAnswering(false)
    assert.equal(world.connect(1, 'p1').drained, undefined)
    first.events.onAnswering(true)
    assert.match(first.drained ?? '', /joined already/)
  })

  it('stops dialling when it is stopped', async () => {
    const { world, link } = await silent()
    world.joiner.stop('the test ends')
    assert.equal(world.dials[1]!.socket.destroyed, true)
    link.events.onAnswering(true)
    link.events.onAnswering(false)
    await world.pass(5_000)
    assert.deepEqual([world.dials.length, world.clock.pending], [2, 0])
  })
})
