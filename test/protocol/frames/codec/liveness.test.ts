/** The table of a link's life, every event in every state; and the watch that acts on it, on a simulated link. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Application } from '../../../../protocol/contract/application.ts'
import { NOBODY } from '../../../../protocol/frames/codec/hello.ts'
import {
  isAnswering,
  type Life,
  type LifeEvent,
  type LivenessTimes,
  nextLife,
  timeoutIn,
  USUAL_TIMES,
} from '../../../../protocol/frames/codec/liveness.ts'
import type { SlotHolder, SlotSource } from '../../../../protocol/frames/server.ts'
import { LinkWatch, PeerLinks, type WatchedLink } from '../../../../protocol/frames/watch.ts'
import { FakeClock } from '../../../support/clock.ts'
import { call, linked, until } from '../link-support.ts'

const EVENTS: readonly LifeEvent[] = ['received', 'timeout', 'unreachable', 'rival', 'confirmed', 'rival lost']

/** In the order of EVENTS. `-`: nothing changes. */
const ROWS: Record<Life, string> = {
  alive: '- pinged - questioned - -',
  pinged: 'alive suspect - questioned - -',
  suspect: 'alive - dead challenged - -',
  questioned: 'alive unconfirmed - - - pinged',
  challenged: 'alive unconfirmed dead - - suspect',
  unconfirmed: 'alive - dead - condemned suspect',
  condemned: 'alive dead dead - - -',
  dead: '- - - - - -',
}

suite('the life of a link', () => {
  for (const [life, row] of Object.entries(ROWS) as [Life, string][]) {
    for (const [index, next] of row.split(' ').entries()) {
      const event = EVENTS[index]!
      const expected = next === '-' ? life : (next as Life)
      test(`${life}, ${event}: ${expected}`, () => {
        assert.equal(nextLife(life, event), expected)
      })
    }
  }

  test('does not die by a single event in a state in which requests are sent', () => {
    for (const life of Object.keys(ROWS) as Life[]) {
      if (!isAnswering(life)) continue
      for (const event of EVENTS) assert.notEqual(nextLife(life, event), 'dead', `${life}, ${event}`)
    }
  })

  test('returns to alive after any byte, in every state except dead', () => {
    for (const life of Object.keys(ROWS) as Life[]) {
      if (life !== 'dead') assert.equal(nextLife(life, 'received'), 'alive', life)
    }
  })

  test('has more time to answer a challenge the more bytes are queued before the PING', () => {
    assert.equal(timeoutIn('challenged', USUAL_TIMES, 0), USUAL_TIMES.probeGrace)
    // 40 windows of 128 KiB, over 300 kB/s: 17 s.
    assert.ok(timeoutIn('challenged', USUAL_TIMES, 40 * 131_072) > 17_500)
  })
})

const TIMES: LivenessTimes = { pingInterval: 1_000, suspectAfter: 400, probeGrace: 200, silenceTimeout: 10_000 }

class FakeLink implements WatchedLink {
  readonly peer
  peerGoingAway = false
  busy = false
  readonly done: string[] = []
  pings = 0
  readonly lives: Life[] = []
  readonly watch: LinkWatch
  #answers: { resolve(ms: number): void; reject(error: Error): void }[] = []

  constructor(clock: FakeClock, peers?: PeerLinks, id: string = 'c1', worker: number = 0, instance?: string) {
    this.peer = { ...NOBODY, id, worker, instance }
    this.watch = new LinkWatch(this, clock, { times: TIMES, peers, onLife: (life) => this.lives.push(life) })
    this.watch.start()
  }

  ping(): Promise<number> {
    this.pings++
    return new Promise((resolve, reject) => this.#answers.push({ resolve, reject }))
  }

  /** Bytes arrive, PONGs among them. */
  answer(): void {
    this.watch.received()
    for (const { resolve } of this.#answers.splice(0)) resolve(1)
  }

  close(reason: string): void {
    this.done.push(`close: ${reason}`)
  }

  destroy(error: Error): void {
    this.done.push(`destroy: ${error.message}`)
    this.watch.stop()
    for (const { reject } of this.#answers.splice(0)) reject(error)
  }

  get life(): Life {
    return this.watch.life
  }
}

/** Records the slots that its links demand. */
class Asked implements SlotSource {
  readonly demands: number[] = []
  #holder: SlotHolder | undefined

  join(holder: SlotHolder): void {
    this.#holder = holder
    holder.grant(4)
  }

  leave(): void {}

  changed(holder: SlotHolder): void {
    assert.equal(holder, this.#holder)
    this.demands.push(holder.demand)
  }
}

const never: Application = () => new Promise(() => {})

suite('a proxy', () => {
  test('that is silent demands no slots, and as many as before when the peer answers again', async () => {
    const slots = new Asked()
    const { here, there, streams } = await linked(never, { server: { slots, watch: { times: TIMES } } })
    here.caller.demand(16)
    await until(() => slots.demands.length === 1)
    streams[0].pause()
    await pass(there.clock, TIMES.pingInterval + TIMES.suspectAfter)
    assert.deepEqual(slots.demands, [16, 0])
    streams[0].resume()
    await until(() => slots.demands.length === 3)
    assert.deepEqual(slots.demands, [16, 0, 16])
    here.caller.destroy()
  })

  test('whose proxy has sent GOAWAY demands no slots, even while its last requests run', async () => {
    const slots = new Asked()
    const { here, there } = await linked(never, { server: { slots } })
    here.caller.demand(16)
    call(here.caller).failed.catch(() => {})
    await until(() => there.server.active === 1)
    here.caller.close('another link follows')
    await until(() => there.server.state === 'draining')
    assert.deepEqual([slots.demands.at(-1), there.server.active], [0, 1])
    here.caller.destroy()
  })
})

const iterationEnd = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

async function pass(clock: FakeClock, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 50) {
    clock.advance(Math.min(50, left))
    await iterationEnd()
  }
}

/** A link that has become silent. */
async function silent(peers?: PeerLinks): Promise<{ clock: FakeClock; link: FakeLink }> {
  const clock = new FakeClock()
  const link = new FakeLink(clock, peers)
  await pass(clock, TIMES.pingInterval + TIMES.suspectAfter)
  assert.equal(link.life, 'suspect')
  return { clock, link }
}

suite('a watched link', () => {
  test('gets PINGs, and any byte is an answer', async () => {
    const clock = new FakeClock()
    const link = new FakeLink(clock)
    for (let round = 1; round <= 5; round++) {
      await pass(clock, TIMES.pingInterval)
      assert.deepEqual([link.life, link.pings], ['pinged', round])
      link.watch.received()
      assert.equal(link.life, 'alive')
    }
  })

  test('on which bytes keep arriving is never suspect, even without PONGs', async () => {
    const clock = new FakeClock()
    const link = new FakeLink(clock)
    for (let round = 0; round < 200; round++) {
      await pass(clock, 100)
      link.watch.received()
    }
    assert.ok(!link.lives.includes('suspect'))
  })

  test('that is silent stays suspect while requests run on it, however long they take', async () => {
    const { clock, link } = await silent()
    link.busy = true
    await pass(clock, 20 * TIMES.silenceTimeout)
    assert.deepEqual([link.life, link.done], ['suspect', []])
    link.watch.received()
    assert.deepEqual([link.life, link.watch.isAnswering], ['alive', true])
  })

  test('that is silent is closed some time after its last request, and finally destroyed', async () => {
    const { clock, link } = await silent()
    await pass(clock, TIMES.silenceTimeout)
    assert.deepEqual(link.done, ['close: the peer has not answered'])
    await pass(clock, 2_000)
    assert.deepEqual(link.done, [
      'close: the peer has not answered',
      'destroy: the peer has not answered, and no request ran on the link',
    ])
    assert.equal(clock.pending, 0)
  })

  test('that is silent while its peer drains stays suspect, though new connections are refused', async () => {
    const { link } = await silent()
    link.peerGoingAway = true
    link.watch.unreachable()
    await iterationEnd()
    assert.deepEqual([link.life, link.done], ['suspect', []])
  })

  test('that is silent is dead when a new connection is refused', async () => {
    const { link } = await silent()
    link.watch.unreachable()
    await iterationEnd()
    assert.deepEqual(link.done, ['destroy: the peer has not answered for 400 ms'])
  })

  test('is not dead when its bytes and the refusal arrive together, in either order', async () => {
    const { link } = await silent()
    link.watch.unreachable()
    link.watch.received()
    await iterationEnd()
    assert.deepEqual([link.life, link.done], ['alive', []])
  })

  test('on which bytes arrive is not dead when a new connection is refused: its listener may be closed', async () => {
    const clock = new FakeClock()
    const link = new FakeLink(clock)
    link.watch.unreachable()
    await pass(clock, TIMES.pingInterval)
    link.watch.unreachable()
    await iterationEnd()
    assert.deepEqual([link.life, link.done], ['pinged', []])
  })

  test('is not suspect after a pause of this process', async () => {
    const clock = new FakeClock()
    const link = new FakeLink(clock)
    await pass(clock, TIMES.pingInterval)
    clock.pause(60_000)
    // Now the bytes that the peer sent meanwhile are read.
    link.watch.received()
    await iterationEnd()
    assert.ok(!link.lives.includes('suspect'), link.lives.join())
  })

  test('counts only the time after a pause of this process', async () => {
    const clock = new FakeClock()
    const link = new FakeLink(clock)
    await pass(clock, TIMES.pingInterval)
    clock.pause(60_000)
    await iterationEnd()
    assert.equal(link.life, 'pinged')
    await pass(clock, TIMES.suspectAfter / 2)
    assert.equal(link.life, 'suspect')
  })

  test('leaves no timer behind', async () => {
    const clock = new FakeClock()
    const link = new FakeLink(clock)
    link.watch.stop()
    assert.equal(clock.pending, 0)
    link.watch.received()
    link.watch.unreachable()
    await iterationEnd()
    assert.deepEqual(link.done, [])
  })
})

suite('a silent link whose peer answers on another one', () => {
  test('is dead once the rival has answered a PING that was sent after the challenge timed out', async () => {
    const peers = new PeerLinks()
    const { clock, link } = await silent(peers)
    link.busy = true
    const rival = new FakeLink(clock, peers)
    assert.deepEqual([link.life, rival.pings], ['challenged', 0])
    await pass(clock, TIMES.probeGrace)
    assert.deepEqual([link.life, rival.pings], ['unconfirmed', 1])
    rival.answer()
    await iterationEnd()
    assert.equal(link.life, 'condemned')
    await pass(clock, TIMES.probeGrace)
    assert.match(link.done[0]!, /^destroy/)
    assert.deepEqual(rival.done, [])
  })

  for (const state of ['challenged', 'unconfirmed', 'condemned'] as const) {
    test(`becomes alive when a byte arrives while it is ${state}`, async () => {
      const peers = new PeerLinks()
      const { clock, link } = await silent(peers)
      const rival = new FakeLink(clock, peers)
      if (state !== 'challenged') await pass(clock, TIMES.probeGrace)
      if (state === 'condemned') {
        rival.answer()
        await iterationEnd()
      }
      assert.equal(link.life, state)
      link.answer()
      await pass(clock, TIMES.pingInterval - 100)
      assert.deepEqual([link.life, link.done], ['alive', []])
    })
  }

  test('waits while the peer’s event loop is blocked: the handshake may have been its last iteration', async () => {
    const peers = new PeerLinks()
    const { clock, link } = await silent(peers)
    link.busy = true
    const rival = new FakeLink(clock, peers)
    rival.busy = true
    await pass(clock, 30_000)
    assert.deepEqual([link.life, link.done], ['unconfirmed', []])
    // Both PONGs are sent together; either may be read first.
    rival.answer()
    link.answer()
    await iterationEnd()
    assert.deepEqual([link.life, rival.life], ['alive', 'alive'])
  })

  test('is suspect again when the rival is lost before it has answered', async () => {
    const peers = new PeerLinks()
    const { clock, link } = await silent(peers)
    const first = new FakeLink(clock, peers)
    first.destroy(new Error('reset'))
    assert.equal(link.life, 'suspect')
    const second = new FakeLink(clock, peers)
    await pass(clock, TIMES.probeGrace)
    second.destroy(new Error('reset'))
    await iterationEnd()
    assert.equal(link.life, 'suspect')
  })

  test('is dead by the answer of a third link, when the second has become silent too', async () => {
    const peers = new PeerLinks()
    const { clock, link } = await silent(peers)
    link.busy = true
    const second = new FakeLink(clock, peers)
    await pass(clock, TIMES.pingInterval + TIMES.suspectAfter)
    assert.deepEqual([link.life, second.life], ['unconfirmed', 'suspect'])
    const third = new FakeLink(clock, peers)
    third.answer()
    await iterationEnd()
    assert.equal(link.life, 'condemned')
  })

  test('is challenged as soon as it is silent, if the rival existed before', async () => {
    const clock = new FakeClock()
    const peers = new PeerLinks()
    const one = new FakeLink(clock, peers)
    const other = new FakeLink(clock, peers)
    one.answer()
    assert.deepEqual([one.life, other.life], ['alive', 'alive'])
    for (let round = 0; round < 30 && one.life !== 'challenged'; round++) {
      await pass(clock, 50)
      other.answer()
    }
    assert.equal(one.life, 'challenged')
  })

  test('gets no new request as soon as the peer has another link, even before its silence is noticed', async () => {
    const clock = new FakeClock()
    const peers = new PeerLinks()
    const link = new FakeLink(clock, peers)
    new FakeLink(clock, peers)
    assert.deepEqual([link.life, link.watch.isAnswering, link.watch.silent], ['questioned', false, false])
  })

  test('is in use again at once when that other link is closed before this one has answered', async () => {
    const clock = new FakeClock()
    const peers = new PeerLinks()
    const link = new FakeLink(clock, peers)
    new FakeLink(clock, peers).watch.stop()
    assert.deepEqual(link.lives, ['questioned', 'pinged'])
    await pass(clock, TIMES.suspectAfter)
    assert.equal(link.life, 'suspect')
  })

  test('is not dead when a connection is refused before it could answer', async () => {
    const clock = new FakeClock()
    const peers = new PeerLinks()
    const link = new FakeLink(clock, peers)
    new FakeLink(clock, peers)
    link.watch.unreachable()
    await iterationEnd()
    assert.deepEqual([link.life, link.done], ['questioned', []])
  })

  test('is not challenged by another peer, another worker, or a peer without an id', async () => {
    const clock = new FakeClock()
    const peers = new PeerLinks()
    const link = new FakeLink(clock, peers)
    const nameless = new FakeLink(clock, peers, '')
    new FakeLink(clock, peers, 'c2')
    new FakeLink(clock, peers, 'c1', 1)
    new FakeLink(clock, peers, '')
    assert.deepEqual([link.life, nameless.life], ['alive', 'alive'])
  })

  test('is not questioned because of another process with the same id', async () => {
    const clock = new FakeClock()
    const peers = new PeerLinks()
    const link = new FakeLink(clock, peers, 'c1', 0, 'aaaa')
    new FakeLink(clock, peers, 'c1', 0, 'bbbb')
    new FakeLink(clock, peers, 'c1', 0)
    assert.equal(link.life, 'alive')
    new FakeLink(clock, peers, 'c1', 0, 'aaaa')
    assert.equal(link.life, 'questioned')
  })

  test('is not questioned while its peer drains: another process may have its id already', async () => {
    const peers = new PeerLinks()
    const { clock, link } = await silent(peers)
    link.peerGoingAway = true
    new FakeLink(clock, peers)
    assert.equal(link.life, 'suspect')
  })
})
