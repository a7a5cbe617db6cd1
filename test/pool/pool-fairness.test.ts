/** How the pool shares its slots among clients: by address and by progress. The decision: slow-clients.test.ts. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Pool } from '../../pool/pool.ts'
import type { PoolOptions } from '../../pool/pool-options.ts'
import { TrustedPeers } from '../../protocol/client/peers.ts'
import type { ClientView, WaitsFor } from '../../protocol/contract/client-view.ts'
import type { AbortError } from '../../protocol/contract/errors.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'
import { Client, type ClientOptions, turn } from './client.ts'
import { type FakeCall, FakeUpstream } from './fake-upstream.ts'

/** A client as its gateway sees it. */
class SeenClient extends Client implements ClientView {
  waitsFor: WaitsFor = 'nothing'
  delivered = 0
  accepted = 0
  arriving = false
  held = 0
  slow: AbortError | undefined
  onAbort: (() => void) | undefined
  #arrival: (() => void) | undefined

  constructor(address: string, options: ClientOptions = {}) {
    super(options)
    this.environ.REMOTE_ADDR = address
    Object.defineProperty(this.context, 'client', { value: this })
  }

  onArrival(callback: (() => void) | undefined): void {
    this.#arrival = callback
  }

  arrive(whole: boolean): void {
    this.arriving = !whole
    this.#arrival?.()
  }

  abortSlow(reason: AbortError): void {
    this.waitsFor = 'nothing'
    this.slow = reason
    this.abort()
  }

  override abort(): void {
    super.abort()
    this.onAbort?.()
  }
}

class Scene {
  readonly clock: FakeClock = new FakeClock()
  readonly pool: Pool
  readonly member: FakeUpstream

  constructor(grant: number, options: Partial<PoolOptions> = {}) {
    this.pool = new Pool({
      queueSize: 100,
      queueTimeout: 60_000,
      timeout: Number.POSITIVE_INFINITY,
      idleTimeout: Number.POSITIVE_INFINITY,
      clock: this.clock,
      log: new RecordingLog(),
      random: () => 0,
      ...options,
    })
    this.member = new FakeUpstream('a', grant)
    this.pool.add(this.member)
    this.member.become('ready')
  }

  client(
    address: string,
    waitsFor: WaitsFor = 'nothing',
    prepare: (client: SeenClient) => void = () => {},
  ): SeenClient {
    const client = new SeenClient(address)
    client.waitsFor = waitsFor
    prepare(client)
    // As a caller does, in the same tick.
    client.onAbort = () => {
      const call = this.callOf(client)
      if (call && !call.over) call.fail('ABORTED', 'maybe')
    }
    client.run(this.pool.application)
    return client
  }

  callOf(client: Client): FakeCall | undefined {
    return this.member.calls.find(({ environ }) => environ === client.environ)
  }

  /** The clients that hold a slot, in the order of their requests. */
  get served(): string[] {
    return this.member.calls.filter(({ over }) => !over).map(({ environ }) => environ.REMOTE_ADDR)
  }
}

const [A, B, C] = ['192.0.2.1', '192.0.2.2', '2001:db8::1']

suite('a free slot', () => {
  test('goes to the client that holds the fewest', () => {
    const scene = new Scene(2)
    const first = scene.client(A)
    scene.client(A)
    scene.client(A)
    scene.client(B)
    scene.callOf(first)!.answer()
    assert.deepEqual(scene.served, [A, B])
  })

  test('counts the addresses of an IPv6 /64 as one client', () => {
    const scene = new Scene(2)
    const first = scene.client(C)
    scene.client('2001:db8::2')
    scene.client('2001:db8::3')
    scene.client(A)
    scene.callOf(first)!.answer()
    assert.deepEqual(scene.served, ['2001:db8::2', A])
  })

  test('goes to the oldest request if a proxy in front hides its clients', () => {
    const scene = new Scene(2, { trustedPeers: new TrustedPeers(['10.0.0.0/8']) })
    const first = scene.client('10.0.0.1')
    scene.client('10.0.0.1')
    scene.client('10.0.0.1')
    scene.client(B)
    scene.callOf(first)!.answer()
    assert.deepEqual(scene.served, ['10.0.0.1', '10.0.0.1'])
  })
})

suite('a full queue', () => {
  test('refuses the newest request of the client with most waiting requests, for another client', async () => {
    const scene = new Scene(1, { queueSize: 3 })
    scene.client(A)
    const waiting = [scene.client(A), scene.client(A), scene.client(A)]
    const other = scene.client(B)
    await turn()
    assert.deepEqual(
      waiting.map(({ outcome }) => outcome),
      ['waits', 'waits', '503 QUEUE_FULL'],
    )
    assert.deepEqual([other.outcome, scene.pool.queued], ['waits', 3])
  })

  test('refuses a new request of the client with most waiting requests', async () => {
    const scene = new Scene(1, { queueSize: 2 })
    scene.client(A)
    scene.client(A)
    scene.client(A)
    const refused = scene.client(A)
    await turn()
    assert.equal(refused.outcome, '503 QUEUE_FULL')
  })

  test('refuses the oldest request of a client that is slow, for its newest', async () => {
    const scene = new Scene(2, { queueSize: 2 })
    const running = [scene.client(A, 'download'), scene.client(A)]
    const waiting = [scene.client(A), scene.client(A)]
    scene.clock.advance(200)
    const newest = scene.client(A)
    await turn()
    assert.deepEqual(
      [...running, ...waiting, newest].map(({ outcome }) => outcome),
      ['waits', 'waits', '503 QUEUE_FULL', 'waits', 'waits'],
    )
    const other = scene.client(B)
    await turn()
    assert.deepEqual(
      [...waiting, newest, other].map(({ outcome }) => outcome),
      ['503 QUEUE_FULL', '503 QUEUE_FULL', 'waits', 'waits'],
    )
  })

  test('refuses no request that returned from a container that drains', async () => {
    const scene = new Scene(3, { queueSize: 1 })
    const ran = [scene.client(A), scene.client(A), scene.client(A)]
    scene.member.become('draining')
    for (const client of ran) scene.callOf(client)!.fail('GOAWAY', 'no')
    await turn()
    assert.equal(scene.pool.queued, 3)
    const other = scene.client(B)
    await turn()
    assert.deepEqual(
      [...ran, other].map(({ outcome }) => outcome),
      ['waits', 'waits', 'waits', '503 QUEUE_FULL'],
    )
  })

  test('refuses a request of a slow client if the slot of its aborted one becomes free only later', async () => {
    const scene = new Scene(1, { queueSize: 2 })
    const running = scene.client(A, 'download')
    running.onAbort = undefined
    scene.clock.advance(1_050)
    const waiting = [scene.client(A), scene.client(A)]
    const next = scene.client(B)
    await turn()
    assert.ok(running.slow)
    assert.deepEqual(
      [...waiting, next].map(({ outcome }) => outcome),
      ['503 QUEUE_FULL', 'waits', 'waits'],
    )
  })

  test('takes the slot of a slow client instead of refusing', async () => {
    const scene = new Scene(2, { queueSize: 0 })
    const slow = [scene.client(A, 'download'), scene.client(A, 'download')]
    scene.clock.advance(1_000)
    const next = scene.client(B)
    await turn()
    assert.equal(next.outcome, 'waits')
    assert.deepEqual(scene.served, [A, B])
    assert.equal(slow.filter(({ slow }) => slow).length, 1)
  })
})

suite('a slow client', () => {
  test('loses its slot to a waiting request, which runs in the same tick', () => {
    const scene = new Scene(2)
    scene.client(A, 'download')
    scene.client(A, 'upload')
    scene.client(B)
    scene.clock.advance(600)
    assert.deepEqual(scene.served, [A, B])
    assert.equal(scene.member.peak, 2)
  })

  test('leaves slots to the newest and the oldest waiting request alternately, since the older ones may be slow too', () => {
    const scene = new Scene(2)
    scene.client(A, 'download')
    scene.client(A, 'download')
    const [oldest, between, newest] = [scene.client(A), scene.client(A), scene.client(A)]
    const served = (): boolean[] => [oldest, between, newest].map((client) => scene.callOf(client) !== undefined)
    scene.clock.advance(500)
    assert.deepEqual(served(), [false, false, true])
    // This slot becomes free without an abort.
    scene.callOf(newest)!.answer()
    assert.deepEqual(served(), [true, false, true])
  })

  test('whose application ends late still loses its slot to the newest', () => {
    const scene = new Scene(2)
    const slow = [scene.client(A, 'download'), scene.client(A, 'download')]
    for (const one of slow) one.onAbort = undefined
    const [oldest, newest] = [scene.client(A), scene.client(A)]
    scene.clock.advance(500)
    assert.deepEqual([scene.callOf(oldest), scene.callOf(newest)], [undefined, undefined])
    scene.callOf(slow.find((one) => one.slow !== undefined)!)!.fail('ABORTED', 'maybe')
    assert.ok(scene.callOf(newest))
  })

  test('loses one slot for each waiting request, although its application has not ended yet', () => {
    const scene = new Scene(64)
    const slow = Array.from({ length: 64 }, () => scene.client(A, 'download'))
    for (const one of slow) one.onAbort = undefined
    scene.client(B)
    const aborted = (): number => slow.filter((one) => one.slow !== undefined).length
    scene.clock.advance(1_400)
    assert.equal(aborted(), 1)
    // This request keeps its slot, so another one must be aborted.
    scene.clock.advance(300)
    assert.equal(aborted(), 2)
  })

  test('loses nothing if its member is silent, drains or was granted fewer slots: no slot would become free', () => {
    for (const change of [
      (member: FakeUpstream) => member.allow(0),
      (member: FakeUpstream) => member.allow(1),
      (member: FakeUpstream) => member.become('draining'),
    ]) {
      const scene = new Scene(2)
      const slow = [scene.client(A, 'download'), scene.client(A, 'download')]
      change(scene.member)
      scene.client(B)
      scene.clock.advance(30_000)
      assert.deepEqual(
        slow.map(({ slow }) => slow),
        [undefined, undefined],
      )
    }
  })

  test('keeps its slot while its application has not read all of the upload', () => {
    const scene = new Scene(2)
    const slow = [scene.client(A, 'upload'), scene.client(A, 'upload')]
    for (const { body } of scene.member.calls) {
      body.begin({ bodyReady() {}, abort() {}, caughtUp: false })
    }
    scene.client(B)
    scene.clock.advance(30_000)
    assert.deepEqual(
      slow.map(({ slow }) => slow),
      [undefined, undefined],
    )
  })
})

suite('a request whose body is arriving', () => {
  const arriving = (client: SeenClient): void => {
    client.arriving = true
  }

  test('begins at once while more than half of the slots are free', () => {
    const scene = new Scene(4)
    scene.client(A, 'nothing', arriving)
    assert.equal(scene.served.length, 1)
  })

  test('waits for its body while few slots are free, for a moment', () => {
    const scene = new Scene(2)
    scene.client(A)
    scene.client(B, 'nothing', arriving)
    assert.equal(scene.served.length, 1)
    scene.clock.advance(500)
    assert.equal(scene.served.length, 2)
  })

  test('takes no place in the queue, and no slot before requests that are whole', () => {
    const scene = new Scene(1)
    const first = scene.client(A)
    const upload = scene.client(B, 'nothing', arriving)
    assert.equal(scene.pool.queued, 0)
    scene.client(C)
    scene.callOf(first)!.answer()
    assert.deepEqual(scene.served, [C])
    upload.arrive(true)
    assert.equal(scene.pool.queued, 1)
  })

  test('is never sent if its client disconnects', () => {
    const scene = new Scene(1)
    const first = scene.client(A)
    const upload = scene.client(B, 'nothing', arriving)
    upload.abort()
    scene.callOf(first)!.answer()
    upload.arrive(true)
    scene.clock.advance(1_000)
    assert.equal(scene.callOf(upload), undefined)
    assert.equal(scene.pool.bodies.size, 0)
  })

  test('is not replayed if it is a POST, although its body was buffered', async () => {
    const scene = new Scene(1)
    const first = scene.client(A)
    const upload = new SeenClient(B, { method: 'POST' })
    upload.arriving = true
    upload.run(scene.pool.application)
    upload.arrive(true)
    scene.callOf(first)!.answer()
    scene.callOf(upload)!.fail('LOST', 'maybe')
    await turn()
    assert.equal(upload.outcome, '502 UPSTREAM_LOST')
    assert.equal(scene.member.calls.length, 2)
  })
})
