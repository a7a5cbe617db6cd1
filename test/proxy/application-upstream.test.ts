import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Pool } from '../../pool/pool.ts'
import type { Application } from '../../protocol/contract/application.ts'
import { RequestInput } from '../../protocol/contract/input.ts'
import { CallError } from '../../protocol/frames/caller.ts'
import { ApplicationUpstream } from '../../proxy/upstreams/application.ts'
import { Client, iterationEnd } from '../pool/client.ts'
import { FakeUpstream } from '../pool/fake-upstream.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'

const unreachable = async (): Promise<never> => {
  throw new CallError('LOST', 'connection refused', 'no', false)
}

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', [])
  return [Buffer.from('hello')]
}

class Scene {
  readonly clock: FakeClock = new FakeClock()
  readonly log: RecordingLog = new RecordingLog()
  readonly pool: Pool = new Pool({
    queueSize: 100,
    queueTimeout: 10_000,
    timeout: 60_000,
    idleTimeout: 60_000,
    clock: this.clock,
    log: this.log,
    random: () => 0,
  })
  readonly upstream: ApplicationUpstream
  application: Application = hello
  calls = 0
  closed = 0

  constructor(slots?: number) {
    this.upstream = new ApplicationUpstream(
      'http://server.test/',
      (environ, startResponse) => {
        this.calls++
        return this.application(environ, startResponse)
      },
      { clock: this.clock, log: this.log, random: () => 1, slots, onClosed: () => this.closed++ },
    )
    this.pool.add(this.upstream)
  }

  run(method: string = 'GET', input?: RequestInput): Client {
    return new Client({ method, ...(input && { input }) }).run(this.pool.application)
  }
}

test('a server answers, and its slot is free when the body is closed', async () => {
  const scene = new Scene()
  const client = scene.run()
  await iterationEnd()
  assert.deepEqual([client.outcome, scene.upstream.inFlight], ['200 OK', 1])
  await (client.body as { close(): unknown }).close()
  assert.equal(scene.upstream.inFlight, 0)
})

test('no log line calls a server ready before a request has reached it', async () => {
  const scene = new Scene()
  assert.deepEqual(scene.log.messages(), ['server is not connected to yet: the first request connects to it'])
  for (let count = 0; count < 2; count++) {
    scene.run()
    await iterationEnd()
  }
  assert.deepEqual(scene.log.messages('info').slice(1), ['server is reached'])
})

test('a server has no more requests than slots', async () => {
  const scene = new Scene(2)
  scene.application = () => new Promise(() => {})
  for (let count = 0; count < 5; count++) scene.run()
  assert.deepEqual([scene.calls, scene.pool.queued], [2, 3])
})

test('a server that cannot be reached gets no requests for a pause, and then one', async () => {
  const scene = new Scene()
  scene.application = unreachable
  for (let count = 0; count < 20; count++) scene.run()
  await iterationEnd()
  assert.deepEqual([scene.calls, scene.pool.queued], [20, 20])
  scene.clock.advance(1_000)
  await iterationEnd()
  assert.ok(scene.calls <= 22, `${scene.calls} calls`)
})

test('a server that is reached again gets all waiting requests', async () => {
  const scene = new Scene()
  scene.application = unreachable
  const clients = Array.from({ length: 5 }, () => scene.run())
  await iterationEnd()
  scene.application = hello
  for (let count = 0; count < 10; count++) {
    scene.clock.advance(200)
    await iterationEnd()
    for (const { body } of clients) await (body as { close?(): unknown } | undefined)?.close?.()
  }
  assert.deepEqual(
    clients.map(({ outcome }) => outcome),
    clients.map(() => '200 OK'),
  )
  assert.deepEqual(scene.log.messages('warn'), ['server cannot be reached; trying again'])
  assert.equal(scene.log.messages('info').filter((message) => message === 'server is reached again').length, 1)
})

test('a POST that was read from goes on to a container whole, or not at all', async () => {
  for (const [length, whole] of [
    [1_000, true],
    [1_000_000, false],
  ] as const) {
    const scene = new Scene()
    const input = new RequestInput({ wanted() {}, consumed() {} })
    input.push(Buffer.alloc(length, 'x'))
    input.end()
    scene.application = async (environ) => {
      await environ['wsgi.input'].read()
      return unreachable()
    }
    const client = scene.run('POST', input)
    await iterationEnd()
    const other = new FakeUpstream('container')
    scene.pool.add(other)
    other.become('ready')
    for (let count = 0; count < 20; count++) await iterationEnd()
    assert.equal(client.outcome, whole ? 'waits' : '502 UPSTREAM_LOST')
    assert.equal(other.calls.length, whole ? 1 : 0)
    if (!whole) continue
    const { body } = other.last
    body.begin({ bodyReady() {}, abort() {} })
    let bytes = 0
    for (let chunk = body.next(); chunk; chunk = body.next()) bytes += chunk.length
    assert.equal(bytes, length)
  }
})

test('a server that is closed finishes running requests', async () => {
  const scene = new Scene()
  const client = scene.run()
  await iterationEnd()
  scene.upstream.close()
  assert.deepEqual([scene.upstream.state, scene.closed], ['draining', 0])
  await (client.body as { close(): unknown }).close()
  assert.deepEqual([scene.upstream.state, scene.closed], ['closed', 1])
})

test('an upgraded connection frees its slot', async () => {
  const scene = new Scene()
  scene.application = (_environ, startResponse) => {
    startResponse('101 Switching Protocols', [])
    return []
  }
  scene.run()
  await iterationEnd()
  assert.equal(scene.upstream.inFlight, 0)
})

test('a failed attempt that still reads takes no byte of the upload from the next one', async () => {
  const scene = new Scene()
  const input = new RequestInput({ wanted() {}, consumed() {} })
  const size = 64 * 1024
  for (let chunk = 0; chunk < 3; chunk++) input.push(Buffer.alloc(size, 97 + chunk))
  input.end()
  let left: RequestInput | undefined
  scene.application = async (environ) => {
    left = environ['wsgi.input'] as RequestInput
    await left.read1(10)
    return unreachable()
  }
  const second = new FakeUpstream('second', 10)
  const client = scene.run('POST', input)
  await iterationEnd()
  scene.pool.add(second)
  second.become('ready')
  await iterationEnd()
  const [taken] = second.calls
  assert.ok(taken, `nothing was sent again: ${client.outcome}`)
  taken.body.begin({ bodyReady() {}, abort() {} })
  const reading = left!.read(2 * size).catch(() => {})
  await iterationEnd()
  let sent = 0
  for (let chunk = taken.body.next(); chunk; chunk = taken.body.next()) sent += chunk.length
  assert.equal(sent, 3 * size)
  await reading
})

test('the late response of a failed attempt is ignored', async () => {
  const scene = new Scene()
  let late: (() => unknown) | undefined
  scene.application = async (_environ, startResponse) => {
    late = () => startResponse('299 Late', [])
    return unreachable()
  }
  const client = scene.run()
  await iterationEnd()
  scene.application = () => new Promise(() => {})
  scene.clock.advance(2_000)
  await iterationEnd()
  assert.equal(scene.calls, 2)
  assert.throws(late!)
  assert.deepEqual(client.heads, [])
})
