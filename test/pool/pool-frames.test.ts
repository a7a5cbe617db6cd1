/** The pool over real in-memory links: its assumptions about calls hold for real calls. */

import assert from 'node:assert/strict'
import type { Duplex } from 'node:stream'
import { afterEach, suite, test } from 'node:test'
import { Pool } from '../../pool/pool.ts'
import type { PoolOptions } from '../../pool/pool-options.ts'
import type { Application } from '../../protocol/contract/application.ts'
import { systemClock } from '../../protocol/net/clock.ts'
import { Container, type ContainerOptions, until } from '../proxy/container.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'
import { MemoryClient } from '../support/memory-client.ts'
import { turn } from './client.ts'

/** Echoes uploads; `/held` waits for the test, `/drip` gives a chunk and then waits. */
class App {
  readonly started: string[] = []
  readonly aborted: string[] = []
  #held: (() => void)[] = []

  readonly application: Application = async (environ, startResponse) => {
    const { REQUEST_URI, gantry } = environ
    this.started.push(REQUEST_URI)
    gantry.signal.addEventListener('abort', () => this.aborted.push(REQUEST_URI))
    if (REQUEST_URI.startsWith('/held')) await new Promise<void>((resolve) => this.#held.push(resolve))
    if (REQUEST_URI.startsWith('/drip')) {
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return drip(gantry.signal)
    }
    const body = await environ['wsgi.input'].read()
    startResponse('200 OK', [['Content-Type', 'text/plain']])
    return [body.length > 0 ? body : Buffer.from('hello')]
  }

  release(): void {
    for (const resolve of this.#held.splice(0)) resolve()
  }
}

async function* drip(signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield Buffer.from('first')
  await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
}

const cleanups: (() => void)[] = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})

type Joined = Container & { proxyEnd: Duplex }

/** Counts the bytes that are written to a stream from now on. */
function writes(stream: Duplex): { count: number } {
  const written = { count: 0 }
  const write = stream.write.bind(stream) as (chunk: Uint8Array) => boolean
  stream.write = (chunk: Uint8Array): boolean => {
    written.count++
    return write(chunk)
  }
  return written
}

class Scene {
  readonly app: App = new App()
  readonly log: RecordingLog = new RecordingLog()
  readonly pool: Pool
  readonly client: MemoryClient

  constructor(options: Partial<PoolOptions> = {}) {
    this.pool = new Pool({
      queueSize: 100,
      queueTimeout: 10_000,
      timeout: 60_000,
      idleTimeout: 60_000,
      clock: systemClock,
      log: this.log,
      random: () => 0,
      ...options,
    })
    this.client = new MemoryClient(this.pool.application)
    cleanups.push(() => {
      this.app.release()
      this.pool.destroy('the test is over')
    })
  }

  async container(options?: ContainerOptions): Promise<Joined> {
    const container = new Container(this.app.application, options)
    const { stream, upstream } = container.joinInMemory(this.pool)
    await until(() => upstream.grant > 0)
    return Object.assign(container, { proxyEnd: stream })
  }
}

suite('over links, a request', () => {
  test('is answered', async () => {
    const scene = new Scene()
    await scene.container()
    const answer = await scene.client.request({ target: '/' }).whole()
    assert.deepEqual([answer.status, String(answer.body), answer.complete], [200, 'hello', true])
  })

  test('is reset in the same tick when its client disconnects', async () => {
    const scene = new Scene()
    const { proxyEnd } = await scene.container()
    const sent = scene.client.request({ target: '/held' })
    await until(() => scene.app.started.length === 1)
    const written = writes(proxyEnd)
    sent.abort()
    assert.equal(written.count, 1)
    await until(() => scene.app.aborted.length === 1)
  })

  test('is reset in the same tick when its client disconnects in mid-response', async () => {
    const scene = new Scene()
    const { proxyEnd } = await scene.container()
    const sent = scene.client.request({ target: '/drip' })
    await sent.has(5)
    const written = writes(proxyEnd)
    sent.abort()
    assert.equal(written.count, 1)
    await until(() => scene.app.aborted.length === 1)
  })

  test('is not logged as an error when its client disconnects', async () => {
    const scene = new Scene()
    await scene.container()
    const sent = scene.client.request({ target: '/drip' })
    await sent.has(5)
    sent.abort()
    await until(() => scene.app.aborted.length === 1)
    await scene.client.host.idle()
    const { lines } = scene.client.host.log as RecordingLog
    assert.deepEqual(lines, [])
  })

  test('goes elsewhere, or waits, while a link’s output queue is too long; none is lost', async () => {
    const scene = new Scene({ random: () => 0.9 })
    const stuck = await scene.container()
    const line = stuck.streams[0]!
    line.pause()
    const headers: [string, string][] = [['X-Big', 'y'.repeat(8_000)]]
    const sent = []
    const [member] = scene.pool.members
    while (member!.state === 'ready') {
      sent.push(scene.client.request({ target: '/', headers }))
      await turn()
      assert.ok(sent.length < 60, 'its slots are not what ends it')
    }
    assert.equal(member!.state, 'full')
    sent.push(scene.client.request({ target: '/waits', headers }))
    assert.equal(scene.pool.queued, 1)
    const other = await scene.container({ id: 'other' })
    assert.equal((await sent.pop()!.whole()).status, 200)
    assert.deepEqual([...other.runs], [['GET /waits', 1]])
    const post = scene.client.request({ method: 'POST', target: '/', headers, body: 'once' })
    assert.equal(String((await post.whole()).body), 'once')
    line.resume()
    for (const one of sent) assert.equal((await one.whole()).status, 200)
    assert.deepEqual([...stuck.runs], [['GET /', sent.length]])
    assert.equal(member!.state, 'ready')
  })

  test('that takes too long is answered 504, and its container is notified in the same tick', async () => {
    const clock = new FakeClock()
    const scene = new Scene({ clock, timeout: 2_000 })
    const { proxyEnd } = await scene.container()
    const sent = scene.client.request({ target: '/held' })
    await until(() => scene.app.started.length === 1)
    const written = writes(proxyEnd)
    clock.advance(2_500)
    assert.equal(written.count, 1)
    assert.equal((await sent.whole()).status, 504)
    await until(() => scene.app.aborted.length === 1)
  })

  test('whose container is silent in mid-response is aborted visibly', async () => {
    const clock = new FakeClock()
    const scene = new Scene({ clock, idleTimeout: 2_000 })
    await scene.container()
    const sent = scene.client.request({ target: '/drip' })
    await sent.has(5)
    await turn()
    clock.advance(2_500)
    const answer = await sent.whole()
    assert.deepEqual([answer.status, answer.complete], [200, false])
    await until(() => scene.app.aborted.length === 1)
  })

  test('whose upload goes on has its time from the last progress', async () => {
    const clock = new FakeClock()
    const scene = new Scene({ clock, timeout: 2_000 })
    await scene.container()
    const sent = scene.client.request({ method: 'POST', target: '/', body: 'stream' })
    for (let count = 0; count < 6; count++) {
      await sent.send('more')
      await turn()
      clock.advance(1_500)
    }
    sent.finish()
    const answer = await sent.whole()
    assert.deepEqual([answer.status, String(answer.body)], [200, 'more'.repeat(6)])
  })

  test('whose client is slow to send is no fault of the container', async () => {
    const clock = new FakeClock()
    const scene = new Scene({ clock, timeout: 2_000 })
    await scene.container()
    const sent = scene.client.request({ method: 'POST', target: '/', body: 'stream' })
    await sent.send('some')
    await until(() => scene.app.started.length === 1)
    await turn()
    for (let count = 0; count < 10; count++) clock.advance(1_000)
    sent.finish()
    assert.equal((await sent.whole()).status, 200)
  })

  test('whose container does not read its upload is answered 504', async () => {
    const clock = new FakeClock()
    const scene = new Scene({ clock, timeout: 2_000 })
    await scene.container()
    const sent = scene.client.request({ method: 'POST', target: '/held', body: 'stream' })
    sent.send(Buffer.alloc(2_000_000)).catch(() => {})
    await until(() => scene.app.started.length === 1)
    for (let count = 0; count < 20; count++) await turn()
    for (let count = 0; count < 5; count++) clock.advance(1_000)
    assert.equal((await sent.whole()).status, 504)
  })
})

suite('over links, a PUT', () => {
  test('that runs when its link dies is sent again, with its whole body', async () => {
    const scene = new Scene()
    const a = await scene.container({ id: 'a' })
    const sent = scene.client.request({ method: 'PUT', target: '/held', body: 'twice' })
    await until(() => scene.app.started.length === 1)
    const b = await scene.container({ id: 'b' })
    await a.kill()
    await until(() => scene.app.started.length === 2)
    scene.app.release()
    const answer = await sent.whole()
    assert.deepEqual([answer.status, String(answer.body)], [200, 'twice'])
    assert.equal(b.runs.get('PUT /held'), 1)
  })
})

suite('over links, a POST', () => {
  test('that a container refuses runs once, in another container, with its whole body', async () => {
    const scene = new Scene()
    // The grant exceeds the container's slots: further requests are refused.
    const narrow = await scene.container({ id: 'narrow', slots: 1 })
    const body = 'x'.repeat(50_000)
    const first = scene.client.request({ target: '/held' })
    await until(() => scene.app.started.length === 1)
    // The proxy assumes that there is a second slot.
    const member = scene.pool.members[0]!
    Object.defineProperty(member.upstream, 'grant', { value: 2 })
    member.upstream.onChange()
    const second = scene.client.request({ method: 'POST', target: '/post', body })
    const wide = await scene.container({ id: 'wide' })
    const answer = await second.whole()
    assert.deepEqual([answer.status, answer.body.length], [200, body.length])
    assert.deepEqual([narrow.runs.get('POST /post'), wide.runs.get('POST /post')], [undefined, 1])
    scene.app.release()
    await first.whole()
  })

  test('in flight when its link dies is answered 502 and runs nowhere else', async () => {
    const scene = new Scene()
    const a = await scene.container({ id: 'a' })
    const sent = scene.client.request({ method: 'POST', target: '/held', body: 'once' })
    await until(() => scene.app.started.length === 1)
    const b = await scene.container({ id: 'b' })
    await a.kill()
    assert.equal((await sent.whole()).status, 502)
    assert.deepEqual([a.runs.get('POST /held'), b.runs.get('POST /held')], [1, undefined])
  })

  test('sent to a link that dies before any byte of it was read is not sent again: it may have run', async () => {
    const scene = new Scene()
    const a = await scene.container({ id: 'a' })
    const sent = scene.client.request({ method: 'POST', target: '/post', body: 'once' })
    await a.kill()
    const b = await scene.container({ id: 'b' })
    assert.equal((await sent.whole()).status, 502)
    assert.equal((a.runs.get('POST /post') ?? 0) + (b.runs.get('POST /post') ?? 0), 0)
  })

  test('that crosses a GOAWAY runs once, in the next container', async () => {
    const scene = new Scene()
    const a = await scene.container({ id: 'a' })
    // The GOAWAY is in transit when the request is sent.
    a.drain()
    const sent = scene.client.request({ method: 'POST', target: '/post', body: 'once' })
    const b = await scene.container({ id: 'b' })
    const answer = await sent.whole()
    assert.deepEqual([answer.status, String(answer.body)], [200, 'once'])
    assert.deepEqual([a.runs.get('POST /post'), b.runs.get('POST /post')], [undefined, 1])
  })

  test('that runs when its container drains is finished there', async () => {
    const scene = new Scene()
    const a = await scene.container({ id: 'a' })
    const sent = scene.client.request({ method: 'POST', target: '/held', body: 'once' })
    await until(() => scene.app.started.length === 1)
    a.drain()
    await until(() => scene.pool.count('draining') === 1)
    scene.app.release()
    assert.equal((await sent.whole()).status, 200)
    assert.equal(a.runs.get('POST /held'), 1)
    await until(() => scene.pool.members.length === 0)
  })
})

suite('over links, a GET', () => {
  test('in flight when its link dies runs again at the next container', async () => {
    const scene = new Scene()
    const a = await scene.container({ id: 'a' })
    const sent = scene.client.request({ target: '/held' })
    await until(() => scene.app.started.length === 1)
    await a.kill()
    await scene.container({ id: 'b' })
    await until(() => scene.app.started.length === 2)
    scene.app.release()
    assert.equal((await sent.whole()).status, 200)
  })

  test('whose response had begun when its link died is aborted, not sent again', async () => {
    const scene = new Scene()
    const a = await scene.container({ id: 'a' })
    const sent = scene.client.request({ target: '/drip' })
    await sent.has(5)
    const b = await scene.container({ id: 'b' })
    await a.kill()
    const answer = await sent.whole()
    assert.deepEqual([answer.status, answer.complete, String(answer.body)], [200, false, 'first'])
    assert.equal(b.runs.size, 0)
  })
})

suite('a queued upload', () => {
  test('is not read while it waits', async () => {
    const scene = new Scene()
    const sent = scene.client.request({ method: 'POST', target: '/', body: 'stream' })
    let taken = 0
    const chunk = Buffer.alloc(64 * 1024)
    const sending = (async () => {
      for (let count = 0; count < 100; count++) {
        await sent.send(chunk)
        taken += chunk.length
      }
      sent.finish()
    })()
    for (let count = 0; count < 50; count++) await turn()
    assert.ok(taken <= 128 * 1024, `${taken} bytes were taken`)
    await scene.container()
    await sending
    assert.equal((await sent.whole()).body.length, 100 * chunk.length)
  })
})
