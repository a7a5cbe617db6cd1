import assert from 'node:assert/strict'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { Pool } from '../../../pool/pool.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { parseAddress } from '../../../protocol/net/address.ts'
import { systemClock } from '../../../protocol/net/clock.ts'
import { UpstreamSet } from '../../../proxy/discovery/upstream-set.ts'
import { Client, turn } from '../../pool/client.ts'
import { withDirectory } from '../../support/directory.ts'
import { RecordingLog } from '../../support/log.ts'
import { freePort } from '../../support/sockets.ts'
import { Container, until } from '../container.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** A name whose addresses the test sets; resolved every few milliseconds. */
class Scene {
  addresses: string[] = []
  asked = 0
  readonly log: RecordingLog = new RecordingLog()
  readonly closed: string[] = []
  readonly pool: Pool
  readonly set: UpstreamSet

  constructor(...upstreams: string[]) {
    this.pool = new Pool({
      queueSize: 10,
      queueTimeout: 10_000,
      timeout: 60_000,
      idleTimeout: 60_000,
      clock: systemClock,
      log: this.log,
      onWanted: () => this.set.dialNow(),
    })
    this.set = new UpstreamSet(upstreams.map(parseAddress), {
      pool: this.pool,
      clock: systemClock,
      log: this.log,
      random: Math.random,
      interval: 5,
      resolve: async () => {
        this.asked++
        return this.addresses
      },
      http: (url) => Object.assign(hello, { close: () => void this.closed.push(url) }),
    })
    cleanups.push(() => {
      this.set.stop('the test is over')
      this.pool.destroy('the test is over')
    })
  }
}

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', [])
  return []
}

async function listen(application: Application, host: string, port: number = 0): Promise<[Container, number]> {
  const container = new Container(application)
  cleanups.push(() => container.kill())
  return [container, await container.listen({ host, port })]
}

test('a name’s new address becomes a member, and a removed one is drained', async () => {
  const held = Promise.withResolvers<void>()
  const [old, port] = await listen(
    async (_environ, startResponse) => {
      await held.promise
      startResponse('200 OK', [])
      return []
    },
    '127.0.0.1',
    await freePort(),
  )
  await listen(hello, '127.0.0.2', port)
  const scene = new Scene(`containers.test:${port}`)
  scene.addresses = ['127.0.0.1']
  await until(() => scene.pool.count('ready') === 1)
  const client = new Client().run(scene.pool.application)
  await until(() => old.runs.size === 1)

  scene.addresses = ['127.0.0.2']
  await until(() => scene.pool.count('draining') === 1 && scene.pool.count('ready') === 1)
  assert.deepEqual(scene.set.addresses, [`127.0.0.2:${port}`])
  const other = new Client().run(scene.pool.application)
  await until(() => other.ended === 1)
  held.resolve()
  await until(() => client.ended === 1 && scene.pool.members.length === 1)
  assert.deepEqual([client.outcome, other.outcome, old.runs.size], ['200 OK', '200 OK', 1])
})

test('an address that two upstreams give is dialled once, and stays while one of them gives it', async () => {
  const [, port] = await listen(hello, '127.0.0.1', await freePort())
  const scene = new Scene(`127.0.0.1:${port}`, `containers.test:${port}`)
  scene.addresses = ['127.0.0.1', '127.0.0.3']
  await until(() => scene.set.addresses.length === 2)
  scene.addresses = ['127.0.0.3']
  await until(() => scene.pool.count('ready') === 1)
  const asked = scene.asked
  await until(() => scene.asked >= asked + 3)
  assert.ok(scene.set.addresses.includes(`127.0.0.1:${port}`))
  assert.equal(scene.pool.count('ready'), 1)
})

test('a socket that is created again in a directory is dialled again', () =>
  withDirectory(async (directory) => {
    const path = join(directory, 'app.sock')
    const first = new Container(hello)
    cleanups.push(() => first.kill())
    await first.listen({ path })
    const scene = new Scene(`unix:${directory}/`)
    await until(() => scene.pool.count('ready') === 1)
    await first.kill()
    await until(() => scene.pool.count('ready') === 0)
    const second = new Container(hello, { id: 'second' })
    cleanups.push(() => second.kill())
    await second.listen({ path })
    await until(() => scene.pool.count('ready') === 1)
    assert.match(scene.pool.members[0]!.upstream.name, /second/)
  }))

test('a server that speaks HTTP is a member at once, and is closed with the pool', async () => {
  const scene = new Scene('http://192.0.2.1/')
  assert.equal(scene.pool.count('ready'), 1)
  const client = new Client().run(scene.pool.application)
  await until(() => client.ended === 1)
  await (client.body as { close?(): unknown }).close?.()
  scene.set.stop('over')
  scene.pool.close('over')
  assert.deepEqual(scene.closed, ['http://192.0.2.1/'])
})

test('no address is dialled after the stop', async () => {
  const scene = new Scene('containers.test:8000')
  scene.addresses = ['127.0.0.1']
  // The lookup has begun, and its result arrives too late.
  scene.set.stop('over')
  await turn()
  assert.deepEqual([scene.asked, scene.set.addresses], [1, []])
})
