import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Pool } from '../../pool/pool.ts'
import type { PoolOptions } from '../../pool/pool-options.ts'
import { MOST_ATTEMPTS, RETRIES } from '../../pool/replay.ts'
import type { CallErrorCode } from '../../protocol/frames/caller.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'
import { Client, type ClientOptions, turn } from './client.ts'
import { FakeUpstream } from './fake-upstream.ts'

class Scene {
  readonly clock: FakeClock = new FakeClock()
  readonly log: RecordingLog = new RecordingLog()
  readonly pool: Pool
  wanted = 0

  constructor(options: Partial<PoolOptions> = {}) {
    this.pool = new Pool({
      queueSize: 100,
      queueTimeout: 10_000,
      timeout: 60_000,
      idleTimeout: 30_000,
      clock: this.clock,
      log: this.log,
      random: () => 0,
      onWanted: () => this.wanted++,
      ...options,
    })
  }

  member(name: string, grant: number = 10): FakeUpstream {
    const upstream = new FakeUpstream(name, grant)
    this.pool.add(upstream)
    return upstream.become('ready')
  }

  get(options?: ClientOptions): Client {
    return new Client(options).run(this.pool.application)
  }

  post(): Client {
    return this.get({ method: 'POST' })
  }
}

suite('choosing', () => {
  test('gives a request to a member with a free slot in the tick in which it arrives', () => {
    const scene = new Scene()
    const a = scene.member('a')
    scene.get()
    assert.equal(a.calls.length, 1)
  })

  test('passes on the response of a member', async () => {
    const scene = new Scene()
    const a = scene.member('a')
    const client = scene.get()
    const body = [Buffer.from('hi')]
    a.last.answer('200 OK', body)
    await turn()
    assert.equal(client.outcome, '200 OK')
    assert.equal(client.body, body)
  })

  test('gives no request to a member that drains', () => {
    const scene = new Scene()
    const a = scene.member('a').become('draining')
    scene.get()
    assert.equal(a.calls.length, 0)
  })

  test('never goes above a grant', () => {
    const scene = new Scene()
    const a = scene.member('a', 2)
    for (let count = 0; count < 5; count++) scene.get()
    assert.equal(a.peak, 2)
    assert.equal(scene.pool.queued, 3)
  })

  test('gives waiting requests no more slots than a grown grant has', () => {
    const scene = new Scene()
    const a = scene.member('a', 0)
    for (let count = 0; count < 5; count++) scene.get()
    a.allow(3)
    assert.equal(a.calls.length, 3)
    assert.equal(scene.pool.queued, 2)
  })

  test('uses a member again when a shrunken grant has a free slot', () => {
    const scene = new Scene()
    const a = scene.member('a', 2)
    scene.get()
    scene.get()
    a.allow(1)
    a.calls[0]!.answer()
    scene.get()
    assert.equal(a.calls.length, 2)
    a.calls[1]!.answer()
    assert.equal(a.calls.length, 3)
  })
})

suite('the queue', () => {
  test('holds a request while there is no member, and gives it to the first one', () => {
    const scene = new Scene()
    const client = scene.get()
    assert.equal(client.outcome, 'waits')
    const a = scene.member('a')
    assert.equal(a.calls.length, 1)
  })

  test('reports when its first request waits', () => {
    const scene = new Scene()
    scene.get()
    scene.get()
    assert.equal(scene.wanted, 1)
  })

  test('gives a freed slot to the oldest', () => {
    const scene = new Scene()
    const a = scene.member('a', 1)
    scene.get()
    const second = scene.get({ target: '/second' })
    scene.get({ target: '/third' })
    a.last.answer()
    assert.equal(a.last.environ, second.environ)
    assert.equal(scene.pool.queued, 1)
  })

  test('lets no request overtake: one that arrives when a slot is freed goes behind', () => {
    const scene = new Scene()
    const a = scene.member('a', 1)
    scene.get()
    const second = scene.get()
    a.last.answer()
    scene.get()
    assert.equal(a.last.environ, second.environ)
  })

  test('refuses requests above its size immediately with 503 and Retry-After', async () => {
    const scene = new Scene({ queueSize: 2 })
    const clients = [scene.get(), scene.get(), scene.get()]
    await turn()
    assert.deepEqual(
      clients.map(({ outcome }) => outcome),
      ['waits', 'waits', '503 QUEUE_FULL'],
    )
    assert.deepEqual((clients[2]!.error as { headers: unknown }).headers, [['Retry-After', '1']])
  })

  test('holds a request no longer than its timeout', async () => {
    const scene = new Scene({ queueTimeout: 1_000 })
    const client = scene.get()
    scene.clock.advance(750)
    await turn()
    assert.equal(client.outcome, 'waits')
    scene.clock.advance(500)
    await turn()
    assert.equal(client.outcome, '503 QUEUE_TIMEOUT')
    assert.equal((client.error as Error).message, 'no container had a free slot within 1 s (--queue-timeout)')
    assert.deepEqual((client.error as { headers: unknown }).headers, [['Retry-After', '1']])
  })

  test('gives a member no request whose timeout has passed', async () => {
    const scene = new Scene({ queueTimeout: 1_000 })
    scene.get()
    scene.clock.advance(2_000)
    await turn()
    assert.equal(scene.member('a').calls.length, 0)
  })

  test('removes a request immediately when its client disconnects', async () => {
    const scene = new Scene()
    const client = scene.get()
    client.abort()
    assert.equal(scene.pool.queued, 0)
    await turn()
    assert.equal(client.outcome, 'CLIENT_GONE')
  })

  test('never sends a request whose client has disconnected', () => {
    const scene = new Scene()
    scene.get().abort()
    const a = scene.member('a')
    assert.equal(a.calls.length, 0)
  })

  test('keeps the order of the others when a client disconnects', () => {
    const scene = new Scene()
    const clients = [scene.get(), scene.get(), scene.get()]
    clients[1]!.abort()
    const a = scene.member('a', 2)
    assert.deepEqual(
      a.calls.map(({ environ }) => environ),
      [clients[0]!.environ, clients[2]!.environ],
    )
  })

  test('refuses waiting requests when the pool closes', async () => {
    const scene = new Scene()
    const client = scene.get()
    scene.pool.close('stopping')
    await turn()
    assert.equal(client.outcome, '503 CLOSING')
  })

  test('asks its members for as many slots as could be used', () => {
    const scene = new Scene()
    const a = scene.member('a', 4)
    for (let count = 0; count < 60; count++) scene.get()
    assert.ok(a.demanded >= 60, String(a.demanded))
    for (const call of [...a.calls]) call.answer()
    while (scene.pool.queued > 0) a.last.answer()
    for (const call of a.calls) if (!call.over) call.answer()
    assert.ok(a.demanded <= 16, String(a.demanded))
  })

  test('leaves no timer and no deadline behind', async () => {
    const scene = new Scene()
    const a = scene.member('a', 1)
    scene.get()
    scene.get().abort()
    scene.get()
    a.last.answer()
    a.last.answer()
    await turn()
    scene.clock.advance(1_000)
    assert.equal(scene.clock.pending, 0)
  })
})

suite('replay', () => {
  test('sends a refused POST to another member', async () => {
    const scene = new Scene()
    const [a, b] = [scene.member('a'), scene.member('b')]
    const client = scene.post()
    a.last.refuse()
    await turn()
    b.last.answer()
    await turn()
    assert.equal(client.outcome, '200 OK')
    assert.deepEqual([a.calls.length, b.calls.length], [1, 1])
  })

  test('lets a refused request wait if there is no other member, and tries again', async () => {
    const scene = new Scene()
    const a = scene.member('a')
    const client = scene.post()
    a.last.refuse()
    await turn()
    assert.deepEqual([a.calls.length, scene.pool.queued], [1, 1])
    scene.clock.advance(20)
    assert.equal(a.calls.length, 2)
    a.last.answer()
    await turn()
    assert.equal(client.outcome, '200 OK')
  })

  test('does not let a refused request block the others behind it', async () => {
    const scene = new Scene()
    const a = scene.member('a', 1)
    scene.post()
    a.last.refuse()
    await turn()
    const other = scene.get()
    assert.equal(a.last.environ, other.environ)
  })

  test('gives one that was refused its old place in the queue', async () => {
    const scene = new Scene()
    const a = scene.member('a', 1)
    const first = scene.post()
    scene.get()
    const b = new FakeUpstream('b', 1)
    scene.pool.add(b)
    a.last.fail('GOAWAY', 'no')
    a.become('draining')
    await turn()
    b.become('ready')
    assert.equal(b.last.environ, first.environ)
  })

  test('comes to an end when two members refuse for ever', async () => {
    const scene = new Scene({ queueTimeout: 60_000 })
    const members = [scene.member('a'), scene.member('b')]
    const client = scene.post()
    for (let round = 0; round < 100 && client.ended === 0; round++) {
      for (const { calls } of members) for (const call of calls) if (!call.over) call.refuse()
      await turn()
      scene.clock.advance(1_000)
      await turn()
    }
    assert.equal(client.outcome, '503 UPSTREAM_REFUSED')
    assert.equal(members[0]!.calls.length + members[1]!.calls.length, MOST_ATTEMPTS)
  })

  test('counts all its stays in the queue together', async () => {
    const scene = new Scene({ queueTimeout: 1_000 })
    const client = scene.post()
    scene.clock.advance(900)
    const a = scene.member('a')
    a.last.fail('GOAWAY', 'no')
    a.become('draining')
    await turn()
    scene.clock.advance(500)
    await turn()
    assert.equal(client.outcome, '503 QUEUE_TIMEOUT')
  })

  test('sends a lost GET again when its container comes back', async () => {
    const scene = new Scene()
    const a = scene.member('a')
    const client = scene.get()
    a.die()
    await turn()
    assert.equal(client.outcome, 'waits')
    const again = scene.member('a again')
    again.last.answer()
    await turn()
    assert.equal(client.outcome, '200 OK')
  })

  test('answers 502 for a lost POST, and sends it to no other member', async () => {
    const scene = new Scene()
    const [a, b] = [scene.member('a'), scene.member('b')]
    const client = scene.post()
    a.die()
    await turn()
    assert.equal(client.outcome, '502 UPSTREAM_LOST')
    assert.equal(b.calls.length, 0)
  })

  test('sends a POST no third time that was refused and then lost', async () => {
    const scene = new Scene()
    const [a, b, c] = [scene.member('a'), scene.member('b'), scene.member('c')]
    const client = scene.post()
    a.last.refuse()
    await turn()
    const second = b.calls.length > 0 ? b : c
    second.die()
    await turn()
    assert.equal(client.outcome, '502 UPSTREAM_LOST')
    assert.equal(a.calls.length + b.calls.length + c.calls.length, 2)
  })

  test('sends a POST again that was above GOAWAY although the link died after it', async () => {
    const scene = new Scene()
    const [a, b] = [scene.member('a'), scene.member('b')]
    const client = scene.post()
    a.last.fail('GOAWAY', 'no')
    a.die()
    await turn()
    b.last.answer()
    await turn()
    assert.equal(client.outcome, '200 OK')
  })

  test('sends a request with GOAWAY in its way to another member, whichever comes first', async () => {
    for (const goawayFirst of [true, false]) {
      const scene = new Scene()
      const [a, b] = [scene.member('a'), scene.member('b')]
      const client = scene.post()
      if (goawayFirst) a.become('draining')
      a.last.fail('GOAWAY', 'no')
      if (!goawayFirst) a.become('draining')
      await turn()
      assert.equal(b.calls.length, 1)
      b.last.answer()
      await turn()
      assert.equal(client.outcome, '200 OK')
    }
  })

  for (const code of ['LOST', 'RESET', 'PROTOCOL'] as CallErrorCode[]) {
    test(`replays nothing whose head was sent (${code})`, async () => {
      const scene = new Scene()
      const [a, b] = [scene.member('a'), scene.member('b')]
      const client = scene.get()
      a.last.startResponse('200 OK', [])
      a.last.fail(code, 'maybe', true)
      await turn()
      assert.equal(client.outcome, '502 UPSTREAM_LOST')
      assert.equal(b.calls.length, 0)
    })
  }

  test('does not replay a GET that its application has ended on a live link, and keeps the container', async () => {
    const scene = new Scene()
    const [a, b] = [scene.member('a'), scene.member('b')]
    const client = scene.get()
    a.last.fail('RESET', 'maybe', false, true)
    await turn()
    assert.equal(client.outcome, '502 UPSTREAM_LOST')
    assert.equal(b.calls.length, 0)
    assert.equal(scene.pool.count('ready'), 2)
  })

  test('replays nothing whose head was sent even if the failure claims that it never ran', async () => {
    const scene = new Scene()
    const [a, b] = [scene.member('a'), scene.member('b')]
    scene.get()
    a.last.startResponse('200 OK', [])
    a.last.refuse()
    await turn()
    assert.equal(b.calls.length, 0)
  })

  test('stops killing containers with the same request', async () => {
    const scene = new Scene()
    const client = scene.get()
    let calls = 0
    for (let round = 0; round < 10 && client.ended === 0; round++) {
      const victim = scene.member(`m${round}`)
      calls += victim.calls.length
      victim.die()
      await turn()
    }
    assert.equal(client.outcome, '502 UPSTREAM_LOST')
    assert.equal(calls, RETRIES + 1)
  })

  test('warns of each request that is sent again, with its id, the lost member and the new one', async () => {
    const scene = new Scene()
    const a = scene.member('a')
    const { environ } = scene.get()
    a.die()
    await turn()
    assert.deepEqual(scene.log.messages('warn'), [])
    const b = scene.member('b')
    assert.equal(b.calls.length, 1)
    const warnings = scene.log.lines.filter(({ level }) => level === 'warn')
    assert.deepEqual(
      warnings.map(({ fields }) => fields),
      [{ requestId: environ.gantry.requestId, lost: 'a', member: 'b', attempt: 2 }],
    )
  })

  test('neither warns of a refused request nor counts it', async () => {
    const scene = new Scene({ retries: 0 })
    const [a, b] = [scene.member('a'), scene.member('b')]
    scene.post()
    a.last.refuse()
    await turn()
    assert.equal(b.calls.length, 1)
    assert.deepEqual(scene.log.messages('warn'), [])
  })

  test('logs a refused request that is sent again in one line with its id, however often it is refused', async () => {
    const scene = new Scene()
    const members = ['a', 'b', 'c'].map((name) => scene.member(name))
    const { environ } = scene.post()
    for (const member of members.slice(0, 2)) {
      member.last.refuse()
      await turn()
    }
    assert.equal(members[2]!.calls.length, 1)
    const { requestId } = environ.gantry
    assert.deepEqual(
      scene.log.lines
        .filter(({ level, message }) => level === 'info' && message.startsWith('request is sent again'))
        .map(({ fields }) => fields),
      [{ requestId, member: 'a', code: 'REFUSED', attempts: 1 }],
    )
  })

  test('with no retries does not send a request again that may have run', async () => {
    const scene = new Scene({ retries: 0 })
    const [a, b] = [scene.member('a'), scene.member('b')]
    const client = scene.get()
    a.die()
    await turn()
    assert.deepEqual([client.outcome, b.calls.length], ['502 UPSTREAM_LOST', 0])
  })

  test('sends no request again whose client disconnected between the failure and the next choice', async () => {
    const scene = new Scene()
    const [a, b] = [scene.member('a'), scene.member('b')]
    const client = scene.get()
    a.last.refuse()
    client.abort()
    await turn()
    assert.equal(client.outcome, 'CLIENT_GONE')
    assert.equal(b.calls.length, 0)
  })

  test('sends no refused request again whose client disconnected while it waited', async () => {
    const scene = new Scene()
    const a = scene.member('a')
    const client = scene.get()
    a.last.refuse()
    await turn()
    client.abort()
    scene.clock.advance(5_000)
    await turn()
    assert.equal(client.outcome, 'CLIENT_GONE')
    assert.equal(a.calls.length, 1)
  })

  test('passes on what the call threw for its own reasons', async () => {
    const scene = new Scene()
    const [a, b] = [scene.member('a'), scene.member('b')]
    const client = scene.get()
    const error = new TypeError('a bad header')
    a.last.response.reject(error)
    await turn()
    assert.equal(client.error, error)
    assert.equal(b.calls.length, 0)
  })

  test('does not replay a request that its client aborted', async () => {
    const scene = new Scene()
    const [a, b] = [scene.member('a'), scene.member('b')]
    scene.get()
    a.last.fail('ABORTED', 'maybe')
    await turn()
    assert.equal(b.calls.length, 0)
  })

  test('lets returning requests wait although the queue is full', async () => {
    const scene = new Scene({ queueSize: 0 })
    const a = scene.member('a')
    const client = scene.get()
    a.die()
    await turn()
    assert.equal(client.outcome, 'waits')
  })
})

suite('timeouts', () => {
  test('answers 504 when the head does not arrive, and aborts the call in the same tick', async () => {
    const scene = new Scene({ timeout: 2_000 })
    const a = scene.member('a')
    const client = scene.get()
    scene.clock.advance(1_900)
    assert.equal(a.last.aborted, undefined)
    scene.clock.advance(400)
    assert.equal((a.last.aborted as { code?: string } | undefined)?.code, 'DEADLINE')
    await turn()
    assert.equal(client.outcome, '504 UPSTREAM_TIMEOUT')
  })

  test('does not replay what timed out', async () => {
    const scene = new Scene({ timeout: 2_000 })
    const [a, b] = [scene.member('a'), scene.member('b')]
    scene.get()
    scene.clock.advance(3_000)
    await turn()
    assert.deepEqual([a.calls.length, b.calls.length], [1, 0])
  })

  test('gives no head to a client after its 504', async () => {
    const scene = new Scene({ timeout: 2_000 })
    const a = scene.member('a')
    const client = scene.get()
    scene.clock.advance(3_000)
    assert.throws(() => a.last.startResponse('200 OK', []))
    await turn()
    assert.deepEqual(client.heads, [])
  })

  test('frees the slot of what timed out for the next', async () => {
    const scene = new Scene({ timeout: 2_000 })
    const a = scene.member('a', 1)
    scene.get()
    scene.clock.advance(1_000)
    const next = scene.get()
    scene.clock.advance(1_500)
    assert.equal(a.last.environ, next.environ)
  })

  test('gives each attempt its own time', async () => {
    const scene = new Scene({ timeout: 2_000 })
    const [a, b] = [scene.member('a'), scene.member('b')]
    const client = scene.get()
    scene.clock.advance(1_500)
    a.die()
    await turn()
    scene.clock.advance(1_500)
    b.last.answer()
    await turn()
    assert.equal(client.outcome, '200 OK')
  })

  test('does not count the time in the queue against a container', async () => {
    const scene = new Scene({ timeout: 2_000 })
    const client = scene.get()
    scene.clock.advance(5_000)
    const a = scene.member('a')
    scene.clock.advance(1_500)
    a.last.answer()
    await turn()
    assert.equal(client.outcome, '200 OK')
  })

  test('has no timeout after the head has arrived', async () => {
    const scene = new Scene({ timeout: 2_000, idleTimeout: Number.POSITIVE_INFINITY })
    const a = scene.member('a')
    scene.get()
    a.last.begin((async function* () {})())
    scene.clock.advance(10_000)
    assert.equal(a.last.aborted, undefined)
  })
})

suite('a body', () => {
  /** A body that yields a chunk when the test says so. */
  class Drip implements AsyncIterableIterator<Uint8Array> {
    closed = 0
    asked = 0
    #next: PromiseWithResolvers<IteratorResult<Uint8Array>> | undefined;
    [Symbol.asyncIterator](): this {
      return this
    }
    next(): Promise<IteratorResult<Uint8Array>> {
      this.asked++
      this.#next = Promise.withResolvers()
      return this.#next.promise
    }
    give(text: string): void {
      this.#next?.resolve({ done: false, value: Buffer.from(text) })
    }
    close(): void {
      this.closed++
    }
  }

  async function begun(options: Partial<PoolOptions> = {}, status: string = '200 OK') {
    const scene = new Scene({ idleTimeout: 2_000, ...options })
    const upstream = scene.member('a')
    const client = scene.get()
    const drip = new Drip()
    upstream.last.begin(drip, status)
    await turn()
    const body = client.body as AsyncIterableIterator<Uint8Array> & { close(): void }
    return { scene, upstream, client, drip, body }
  }

  test('is passed on as it arrives', async () => {
    const { body, drip } = await begun()
    const step = body.next()
    drip.give('one')
    assert.deepEqual(await step, { done: false, value: Buffer.from('one') })
  })

  test('is aborted when the container is silent for too long', async () => {
    const { scene, upstream, body } = await begun()
    const step = body.next()
    scene.clock.advance(2_500)
    assert.ok(upstream.last.aborted)
    await assert.rejects(step, { code: 'UPSTREAM_IDLE' })
  })

  test('restarts its timeout with each chunk', async () => {
    const { scene, upstream, body, drip } = await begun()
    for (let count = 0; count < 5; count++) {
      const step = body.next()
      scene.clock.advance(1_500)
      drip.give('more')
      await step
    }
    assert.equal(upstream.last.aborted, undefined)
  })

  test('is not aborted while its client does not read', async () => {
    const { scene, upstream } = await begun()
    scene.clock.advance(60_000)
    assert.equal(upstream.last.aborted, undefined)
  })

  test('is not timed after an upgrade', async () => {
    const { scene, upstream, body } = await begun({}, '101 Switching Protocols')
    body.next()
    scene.clock.advance(60_000)
    assert.equal(upstream.last.aborted, undefined)
  })

  test('is closed with its close()', async () => {
    const { body, drip } = await begun()
    body.close()
    assert.equal(drip.closed, 1)
  })

  test('is closed when it arrives after the client got 504', async () => {
    const scene = new Scene({ timeout: 1_000 })
    const a = scene.member('a')
    scene.get()
    const drip = new Drip()
    // Settled shortly before the deadline, delivered shortly after it.
    a.last.response.resolve(drip)
    scene.clock.advance(2_000)
    await turn()
    assert.equal(drip.closed, 1)
  })

  test('leaves no deadline behind when it ends', async () => {
    const scene = new Scene()
    const a = scene.member('a')
    const client = scene.get()
    a.last.begin(
      (async function* () {
        yield Buffer.from('x')
      })(),
    )
    await turn()
    for await (const chunk of client.body!) void chunk
    scene.clock.advance(1_000)
    assert.equal(scene.clock.pending, 0)
  })
})

suite('members', () => {
  test('are described by their states', () => {
    const scene = new Scene()
    scene.member('a')
    scene.member('b')
    const c = scene.member('c')
    for (let count = 0; count < 7; count++) scene.get()
    c.become('draining')
    assert.equal(scene.pool.inspect(), '<Pool 2 ready, 1 draining | 7 streams, 0 queued>')
  })

  test('an empty pool says so', () => {
    assert.equal(new Scene().pool.inspect(), '<Pool empty | 0 streams, 0 queued>')
  })

  test('are logged once for each change of their state', () => {
    const scene = new Scene()
    const a = scene.member('a')
    a.become('draining')
    a.become('draining')
    a.become('closed')
    assert.deepEqual(scene.log.messages('info'), ['container is ready', 'container is draining', 'container is closed'])
  })

  test('that are lost are a warning with the reason, and those that drain, or that this side closes, are none', () => {
    const scene = new Scene()
    const failure = new Error('the connection was closed')
    Object.assign(scene.member('lost'), { failure }).become('closed')
    const [line] = scene.log.lines.filter(({ level }) => level === 'warn')
    assert.deepEqual(
      [line?.message, line?.fields['member'], line?.fields['error']],
      ['container is lost', 'lost', failure.message],
    )
    Object.assign(scene.member('drained'), { failure }).become('draining').become('closed')
    Object.assign(scene.member('left'), { failure, closing: 'the proxy stops' }).become('draining').become('closed')
    assert.deepEqual(scene.log.messages('warn').length, 1)
    const ours = scene.log.lines.find(({ message }) => message === 'the proxy drains its connection to the container')
    assert.deepEqual([ours?.fields['member'], ours?.fields['reason']], ['left', 'the proxy stops'])
    assert.equal(scene.log.messages('info').filter((message) => message === 'container is draining').length, 1)
  })

  test('with two connections are not lost with one of them', () => {
    const scene = new Scene()
    const failure = new Error('the connection was closed')
    const peer = (id: string, instance: string) => ({ id, instance, worker: 0, workers: 1, slots: 10, limits: {} })
    const [first, second] = [scene.member('a 1'), scene.member('a 2')]
    Object.assign(scene.member('another'), { peer: peer('a', '02') })
    Object.assign(first, { failure, peer: peer('a', '01') })
    Object.assign(second, { failure, peer: peer('a', '01') })
    second.become('closed')
    assert.deepEqual(scene.log.messages('warn'), [])
    first.become('closed')
    assert.deepEqual(scene.log.messages('warn'), ['container is lost'])
  })

  test('with one id and two instances are named in one warning, and one that has no grant is not', () => {
    const scene = new Scene()
    const join = (name: string, instance: string, grant: number = 10): FakeUpstream => {
      const upstream = new FakeUpstream(name, grant)
      upstream.peer = { id: 'app', instance, worker: 0, workers: 1, slots: 10, limits: {} }
      scene.pool.add(upstream)
      return upstream.become('ready')
    }
    const warnings = () => scene.log.lines.filter(({ level }) => level === 'warn').map(({ fields }) => fields)
    const silent = join('silent', '01', 0)
    join('first', '02')
    join('first again', '02')
    silent.become('closed')
    assert.deepEqual(warnings(), [])
    join('second', '03')
    join('third', '04')
    assert.deepEqual(warnings(), [{ id: 'app', members: ['first', 'second'] }])
  })

  test('that become full and free at each request are not logged', () => {
    const scene = new Scene()
    const a = scene.member('a', 1)
    scene.get()
    a.last.answer()
    assert.deepEqual(scene.log.messages('info'), ['container is ready'])
  })

  test('that are closed are forgotten', () => {
    const scene = new Scene()
    scene.member('a').become('closed')
    assert.deepEqual([scene.pool.members.length, scene.pool.counters.left], [0, 1])
  })

  test('are closed with the pool, what they run first', () => {
    const scene = new Scene()
    const [a, b] = [scene.member('a'), scene.member('b')]
    scene.get()
    scene.pool.close('stopping')
    assert.deepEqual([a.state, b.state], ['draining', 'closed'])
  })
})
