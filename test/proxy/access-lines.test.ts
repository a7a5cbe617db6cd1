/** The upstream and the times in a pool's access lines. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { accessLog } from '../../middleware/access-log/access-log.ts'
import { cache } from '../../middleware/cache/cache.ts'
import { compose } from '../../middleware/compose.ts'
import { timeout } from '../../middleware/timeout.ts'
import { Pool } from '../../pool/pool.ts'
import type { PoolOptions } from '../../pool/pool-options.ts'
import type { Application, Middleware } from '../../protocol/contract/application.ts'
import { lint } from '../../protocol/contract/lint.ts'
import { FakeUpstream } from '../pool/fake-upstream.ts'
import { FakeClock } from '../support/clock.ts'
import { type Run, type RunOptions, run } from '../support/exchange.ts'
import { RecordingLog } from '../support/log.ts'
import { until } from '../support/until.ts'

class Scene {
  readonly clock: FakeClock = new FakeClock()
  readonly lines: RecordingLog = new RecordingLog()
  readonly pool: Pool
  readonly #application: Application

  constructor(options: Partial<PoolOptions> = {}, ...middleware: Middleware[]) {
    this.pool = new Pool({
      queueSize: 1,
      queueTimeout: 10_000,
      timeout: 60_000,
      idleTimeout: 30_000,
      clock: this.clock,
      log: new RecordingLog(),
      random: () => 0,
      ...options,
    })
    this.#application = compose(accessLog({ log: this.lines }), ...middleware, this.pool.application)
  }

  member(name: string, { id = name, grant = 10 }: { id?: string; grant?: number } = {}): FakeUpstream {
    const upstream = new FakeUpstream(`10.0.0.2:8000 (${id}/1)`, grant)
    upstream.address = '10.0.0.2:8000'
    upstream.peer = { id, worker: 1, workers: 2, slots: grant, limits: {}, instance: `random-${id}` }
    this.pool.add(upstream)
    return upstream.become('ready')
  }

  get(options?: RunOptions): Run {
    return run(this.#application, options)
  }

  /** The access line of the request that ended last, without the fields of every line. */
  async line(count: number = 1): Promise<Record<string, unknown>> {
    await until(() => this.lines.lines.length === count)
    const { requestId, remote, method, url, protocol, ms, bytes, ...rest } = this.lines.lines.at(-1)!.fields
    return rest
  }
}

suite('an access line', () => {
  test('names the address, the container, its worker and its process, with the times to the head and the end', async () => {
    const scene = new Scene()
    const a = scene.member('a')
    scene.get()
    scene.clock.advance(40)
    const gate = Promise.withResolvers<void>()
    a.last.begin(
      (async function* () {
        yield Buffer.from('some')
        await gate.promise
      })(),
    )
    scene.clock.advance(60)
    gate.resolve()
    assert.deepEqual(await scene.line(), {
      status: 200,
      queueMs: 0,
      upstream: '10.0.0.2:8000',
      container: 'a',
      worker: 1,
      instance: 'random-a',
      upstreamHeadMs: 40,
      upstreamMs: 100,
    })
  })

  test('separates the time in the queue from the time of the upstream', async () => {
    const scene = new Scene()
    scene.get()
    scene.clock.advance(250)
    const a = scene.member('a')
    scene.clock.advance(30)
    a.last.answer()
    const { queueMs, upstreamHeadMs, upstreamMs } = await scene.line()
    assert.deepEqual([queueMs, upstreamHeadMs, upstreamMs], [250, 30, 30])
  })

  test('names the last container of several, and how many were tried', async () => {
    const scene = new Scene()
    const a = scene.member('a')
    scene.get()
    scene.clock.advance(500)
    a.become('draining')
    const b = scene.member('b')
    a.last.refuse()
    await until(() => b.calls.length === 1)
    scene.clock.advance(20)
    b.last.answer()
    const { container, tries, upstreamMs } = await scene.line()
    assert.deepEqual([container, tries, upstreamMs], ['b', 2, 20])
  })

  test('names the container that was lost when no other one is tried', async () => {
    const scene = new Scene()
    const a = scene.member('a')
    scene.get({ method: 'POST' })
    scene.clock.advance(70)
    a.die()
    const line = await scene.line()
    assert.deepEqual(
      [line['status'], line['container'], line['upstreamMs'], 'upstreamHeadMs' in line, 'tries' in line],
      [502, 'a', 70, false, false],
    )
  })

  test('names an HTTP server by its URL alone', async () => {
    const scene = new Scene()
    const server = new FakeUpstream('http://10.0.0.9:3000')
    scene.pool.add(server)
    server.become('ready')
    scene.get()
    server.last.answer()
    assert.deepEqual(await scene.line(), {
      status: 200,
      queueMs: 0,
      upstream: 'http://10.0.0.9:3000',
      upstreamHeadMs: 0,
      upstreamMs: 0,
    })
  })

  test('has no upstream if the proxy answers itself', async () => {
    const scene = new Scene({ queueSize: 0 })
    scene.get()
    assert.deepEqual(await scene.line(), { status: 503 })
  })

  test('has only the time in the queue if the request was never sent', async () => {
    const scene = new Scene()
    scene.get()
    scene.clock.advance(10_000)
    assert.deepEqual(await scene.line(), { status: 503, queueMs: 10_000 })
  })

  test('sees through a deadline of its own, and through lint', async () => {
    const scene = new Scene({}, timeout({ firstByte: 5_000, clock: new FakeClock() }), lint)
    const a = scene.member('a')
    scene.get()
    a.last.startResponse('204 No Content', [])
    a.last.end()
    a.last.response.resolve([])
    assert.equal((await scene.line())['container'], 'a')
  })

  test('names the container of a cache miss, and none of a cache hit', async () => {
    const scene = new Scene({}, cache())
    const a = scene.member('a')
    scene.get()
    a.last.startResponse('200 OK', [
      ['Cache-Control', 'max-age=60'],
      ['Content-Length', '5'],
    ])
    a.last.end()
    a.last.response.resolve([Buffer.from('hello')])
    assert.equal((await scene.line())['container'], 'a')
    scene.get()
    assert.deepEqual(await scene.line(2), { status: 200 })
    assert.equal(a.calls.length, 1)
  })
})
