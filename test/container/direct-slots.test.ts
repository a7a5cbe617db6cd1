/** Requests to a container's port that wait for slots. For slow clients see test/pair/fair-slots.test.ts. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Application } from '../../protocol/contract/application.ts'
import { FakeClock } from '../support/clock.ts'
import { until } from '../support/until.ts'
import { Serving } from './serving.ts'

const BLOCK = Buffer.alloc(64 * 1024)

/** `/big` exceeds the capacity of every buffer; `/hold` runs until it is released. */
function application(): { application: Application; running: string[]; release: () => void } {
  const running: string[] = []
  const gate = Promise.withResolvers<void>()
  return {
    running,
    release: gate.resolve,
    application: async (environ, start) => {
      const target = environ.PATH_INFO
      running.push(target)
      const over = (): void => void running.splice(running.indexOf(target), 1)
      if (target === '/hold') await gate.promise
      start('200 OK', [['Content-Type', 'text/plain']])
      async function* body(): AsyncGenerator<Uint8Array> {
        if (target !== '/big') yield Buffer.from(target)
        else for (let at = 0; at < 320; at++) yield BLOCK
      }
      return Object.assign(body(), { close: over })
    },
  }
}

async function pass(clock: FakeClock, ms: number, condition: () => boolean = () => false): Promise<void> {
  for (let left = ms; left > 0 && !condition(); left -= 50) {
    clock.advance(50)
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
  }
}

describe('a request to the port of a container without a free slot', () => {
  it('waits for a slot, and is logged like other requests', async () => {
    const held = application()
    await using serving = await Serving.start(held.application, ['--slots', '1'])
    const first = (await serving.http()).request({ target: '/hold' })
    await until(() => held.running.length === 1)
    const second = (await serving.http()).request({ target: '/next' })
    const third = (await serving.http()).request({ target: '/next' })
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(held.running, ['/hold'])
    held.release()
    const answers = await Promise.all([first, second, third].map((sent) => sent.whole()))
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 200],
    )
    await until(() => serving.accessLog.lines.length === 3)
  })

  it('gets 503 with Retry-After after --queue-timeout, or at once if too many requests wait', async () => {
    const held = application()
    const clock = new FakeClock()
    const argv = ['--slots', '1', '--queue-size', '1', '--queue-timeout', '2s']
    await using serving = await Serving.start(held.application, argv, { clock })
    const first = (await serving.http()).request({ target: '/hold' })
    await until(() => held.running.length === 1)
    const waits = (await serving.http()).request({ target: '/next' })
    const refused = await (await serving.http()).request({ target: '/next' }).whole()
    assert.equal(refused.status, 503)
    assert.deepEqual(refused.headers.find(([name]) => name === 'Retry-After')?.[1], '1')
    let over = false
    const late = waits.whole().finally(() => (over = true))
    await pass(clock, 10_000, () => over)
    assert.equal((await late).status, 503)
    held.release()
    assert.equal((await first.whole()).status, 200)
  })

  it('leaves the queue when its client disconnects', async () => {
    const held = application()
    await using serving = await Serving.start(held.application, ['--slots', '1'])
    const first = (await serving.http()).request({ target: '/hold' })
    await until(() => held.running.length === 1)
    const client = await serving.http()
    client.request({ target: '/gone' })
    await until(() => serving.container.inspect().includes(' 2 connections'))
    client.destroy()
    await until(() => serving.container.inspect().includes(' 1 connections'))
    held.release()
    assert.equal((await first.whole()).status, 200)
    assert.equal((await (await serving.http()).fetch({ target: '/next' })).body.toString(), '/next')
  })
})

describe('slow clients of a container’s port', () => {
  it('lose a slot to a proxy that has none', async () => {
    const held = application()
    const clock = new FakeClock()
    const argv = ['--slots', '2', '--trusted-peers', 'none', '--send-timeout', 'none']
    await using serving = await Serving.start(held.application, argv, { clock })
    for (let at = 0; at < 2; at++) {
      const client = await serving.http()
      client.request({ target: '/big' })
      client.socket.pause()
    }
    await until(() => held.running.length === 2)
    const proxy = await serving.proxy()
    let answer = ''
    void proxy.queue('/from-proxy').then((body) => (answer = body))
    await pass(clock, 600_000, () => answer !== '')
    assert.equal(answer, '/from-proxy')
    const slow = serving.log.lines.filter(({ fields }) => fields['code'] === 'SLOW_CLIENT')
    assert.equal(slow.length, 1)
  })

  it('lose a slot to a proxy that has few, although one of its requests took the last free slot', async () => {
    const held = application()
    const clock = new FakeClock()
    const argv = ['--slots', '3', '--trusted-peers', 'none', '--send-timeout', 'none']
    await using serving = await Serving.start(held.application, argv, { clock })
    const slow = [await serving.http(), await serving.http()]
    for (const client of slow) {
      client.request({ target: '/big' })
      client.socket.pause()
    }
    await until(() => held.running.length === 2)
    const proxy = await serving.proxy()
    void proxy.queue('/hold').catch(() => {})
    await until(() => held.running.length === 3)
    let answer = ''
    void proxy.queue('/from-proxy').then((body) => (answer = body))
    await pass(clock, 60_000, () => answer !== '')
    held.release()
    for (const client of slow) client.destroy()
    assert.equal(answer, '/from-proxy')
  })

  it('lose no slot to a proxy that holds an equal share, whatever it requests', async () => {
    const held = application()
    const clock = new FakeClock()
    const argv = ['--slots', '2', '--trusted-peers', 'none', '--send-timeout', 'none']
    await using serving = await Serving.start(held.application, argv, { clock })
    const client = await serving.http()
    client.request({ target: '/big' })
    client.socket.pause()
    await until(() => held.running.length === 1)
    const proxy = await serving.proxy()
    void proxy.queue('/hold').catch(() => {})
    await until(() => held.running.length === 2)
    proxy.caller.demand(16)
    await pass(clock, 20_000)
    const running = [...held.running]
    held.release()
    client.destroy()
    assert.deepEqual(running, ['/big', '/hold'])
  })
})
