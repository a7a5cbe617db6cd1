import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { FramesUpstream } from '../../pool/frames-upstream.ts'
import { Pool } from '../../pool/pool.ts'
import type { Application } from '../../protocol/contract/application.ts'
import { USUAL_TIMES } from '../../protocol/frames/codec/liveness.ts'
import { systemClock } from '../../protocol/net/clock.ts'
import { Client, turn } from '../pool/client.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'
import { Container, until } from './container.ts'

const { pingInterval: PING_INTERVAL, suspectAfter: SUSPECT_AFTER, silenceTimeout: SILENCE_TIMEOUT } = USUAL_TIMES

const never: Application = () => new Promise(() => {})

class Scene {
  readonly clock: FakeClock = new FakeClock()
  readonly pool: Pool = new Pool({
    queueSize: 10,
    queueTimeout: 600_000,
    timeout: 600_000,
    idleTimeout: 600_000,
    clock: systemClock,
    log: new RecordingLog(),
  })
  readonly container: Container = new Container(never)
  readonly upstream: FramesUpstream

  constructor() {
    this.upstream = this.container.joinInMemory(this.pool, {}, this.clock).upstream
  }

  static async make(): Promise<Scene> {
    const scene = new Scene()
    await until(() => scene.upstream.grant > 0)
    return scene
  }

  /** The container's event loop is blocked: nothing that is sent to it is read. */
  block(): void {
    this.container.streams[0]!.pause()
  }

  unblock(): void {
    this.container.streams[0]!.resume()
  }

  async pass(milliseconds: number): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += 500) {
      this.clock.advance(500)
      for (let count = 0; count < 5; count++) await turn()
    }
  }
}

suite('a container', () => {
  test('that answers is a member for as long as it likes', async () => {
    const scene = await Scene.make()
    const client = new Client().run(scene.pool.application)
    await scene.pass(10 * PING_INTERVAL)
    assert.deepEqual([scene.upstream.state, scene.upstream.inFlight, client.outcome], ['ready', 1, 'waits'])
    scene.pool.destroy('over')
  })

  test('that stops answering gets nothing new', async () => {
    const scene = await Scene.make()
    scene.block()
    await scene.pass(PING_INTERVAL + SUSPECT_AFTER)
    new Client().run(scene.pool.application)
    assert.deepEqual([scene.pool.queued, scene.upstream.inFlight], [1, 0])
    scene.pool.destroy('over')
  })

  test('that answers again gets the waiting requests', async () => {
    const scene = await Scene.make()
    scene.block()
    await scene.pass(PING_INTERVAL + SUSPECT_AFTER)
    new Client().run(scene.pool.application)
    scene.unblock()
    await until(() => scene.upstream.inFlight === 1)
    assert.equal(scene.pool.queued, 0)
    scene.pool.destroy('over')
  })

  test('that does not answer keeps its requests, however long they take', async () => {
    const scene = await Scene.make()
    const client = new Client({ method: 'POST' }).run(scene.pool.application)
    await until(() => scene.container.runs.size === 1)
    scene.block()
    await scene.pass(5 * SILENCE_TIMEOUT)
    assert.deepEqual([scene.upstream.state, scene.upstream.grant, client.outcome], ['ready', 0, 'waits'])
    scene.unblock()
    await until(() => scene.upstream.grant > 0)
    scene.pool.destroy('over')
  })

  test('that does not answer and has no requests is closed after some time', async () => {
    const scene = await Scene.make()
    scene.block()
    await scene.pass(PING_INTERVAL + SUSPECT_AFTER + SILENCE_TIMEOUT + 3_000)
    assert.equal(scene.upstream.state, 'closed')
    assert.equal(scene.clock.pending, 0)
  })

  test('that was removed is not dialled any more', async () => {
    const scene = await Scene.make()
    await scene.container.kill()
    await until(() => scene.upstream.state === 'closed')
    await scene.pass(2 * PING_INTERVAL)
    assert.equal(scene.clock.pending, 0)
  })
})
