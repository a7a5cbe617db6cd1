/** Socket files that killed containers leave in a watched directory. */

import assert from 'node:assert/strict'
import { existsSync, linkSync, lstatSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, suite, test } from 'node:test'
import { Pool } from '../../../pool/pool.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { parseAddress } from '../../../protocol/net/address.ts'
import { type Clock, systemClock } from '../../../protocol/net/clock.ts'
import { type FileIdentity, identityOf, removeStale } from '../../../protocol/net/stale-socket.ts'
import { SocketFile } from '../../../proxy/discovery/socket-file.ts'
import { UpstreamSet } from '../../../proxy/discovery/upstream-set.ts'
import { withDirectory } from '../../support/directory.ts'
import { RecordingLog } from '../../support/log.ts'
import { Container, until } from '../container.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', [])
  return []
}

/** A clock whose time the test may advance beside the system's; timers are the system's. */
class ShiftedClock implements Clock {
  shift = 0
  now(): number {
    return systemClock.now() + this.shift
  }
  wall(): number {
    return systemClock.wall()
  }
  after(...[milliseconds, act]: Parameters<Clock['after']>): ReturnType<Clock['after']> {
    return systemClock.after(milliseconds, act)
  }
}

class Scene {
  readonly clock: ShiftedClock = new ShiftedClock()
  readonly log: RecordingLog = new RecordingLog()
  readonly pool: Pool
  readonly set: UpstreamSet

  constructor(...upstreams: string[]) {
    const { clock, log } = this
    this.pool = new Pool({
      queueSize: 10,
      queueTimeout: 10_000,
      timeout: 60_000,
      idleTimeout: 60_000,
      clock,
      log,
      onWanted: () => this.set.dialNow(),
    })
    this.set = new UpstreamSet(upstreams.map(parseAddress), {
      pool: this.pool,
      clock,
      log,
      random: Math.random,
      interval: 5,
      resolve: async () => [],
      http: () => Object.assign(hello, { close: () => {} }),
    })
    cleanups.push(() => {
      this.set.stop('the test is over')
      this.pool.destroy('the test is over')
    })
  }

  logged(pattern: RegExp): number {
    return this.log.messages().filter((message) => pattern.test(message)).length
  }
}

/** Listens outside the directory, and has a second name inside it, which remains when the process is killed. */
async function listenAs(path: string, outside: string, id: string = 'c'): Promise<Container> {
  const container = new Container(hello, { id })
  cleanups.push(() => container.kill())
  await container.listen({ path: outside })
  linkSync(outside, path)
  return container
}

/** A socket file on which no process listens. */
async function leaveSocket(path: string): Promise<void> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(`${path}.live`, resolve))
  linkSync(`${path}.live`, path)
  await new Promise<void>((resolve) => server.close(() => resolve()))
}

const REMOVED = /^removed the socket file of a container/
const LEFT_OVER = /^no process listens on this socket file/

suite('a directory of sockets', () => {
  test('loses the socket of a container that was killed', () =>
    withDirectory((directory) =>
      withDirectory(async (elsewhere) => {
        const [one, two] = [join(directory, 'one.sock'), join(directory, 'two.sock')]
        const killed = await listenAs(one, join(elsewhere, '1'), 'killed')
        await listenAs(two, join(elsewhere, '2'), 'alive')
        const scene = new Scene(`unix:${directory}/`)
        await until(() => scene.pool.count('ready') === 2)
        await killed.kill()
        await until(() => !existsSync(one) && scene.set.addresses.length === 1)
        assert.deepEqual(scene.set.addresses, [`unix:${two}`])
        assert.deepEqual(readdirSync(directory), ['two.sock'])
        assert.equal(scene.pool.count('ready'), 1)
        assert.equal(scene.logged(REMOVED), 1)
        assert.equal(scene.logged(/cannot be reached/), 0)
      }),
    ))

  test('keeps a socket on which no process has answered, and does not dial it until it is replaced', () =>
    withDirectory((directory) =>
      withDirectory(async (elsewhere) => {
        const path = join(elsewhere, 'app.sock')
        await leaveSocket(path)
        renameSync(path, join(directory, 'app.sock'))
        const scene = new Scene(`unix:${directory}/`)
        await until(() => scene.logged(/cannot be reached/) === 1)
        scene.clock.shift += 5_000
        await until(() => scene.logged(LEFT_OVER) === 1)
        assert.ok(existsSync(join(directory, 'app.sock')), 'it may be a container of another host')
        // Neither a waiting request nor another file causes a dial.
        scene.set.dialNow()
        await listenAs(join(directory, 'other.sock'), join(elsewhere, '1'), 'other')
        await until(() => scene.pool.count('ready') === 1)
        assert.equal(scene.logged(LEFT_OVER), 1)

        await listenAs(join(directory, '.new'), join(elsewhere, '2'), 'new')
        renameSync(join(directory, '.new'), join(directory, 'app.sock'))
        await until(() => scene.pool.count('ready') === 2)
        assert.equal(scene.logged(/is reached again/), 1)
      }),
    ))

  test('keeps the socket that another process has put in the place of a killed one', () =>
    withDirectory((directory) =>
      withDirectory(async (elsewhere) => {
        const path = join(directory, 'app.sock')
        const killed = await listenAs(path, join(elsewhere, '1'), 'killed')
        const scene = new Scene(`unix:${directory}/`)
        await until(() => scene.pool.count('ready') === 1)
        await listenAs(join(elsewhere, 'next'), join(elsewhere, '2'), 'next')
        await killed.kill()
        renameSync(join(elsewhere, 'next'), path)
        await until(() => scene.pool.members.some(({ upstream }) => /next/.test(upstream.name)))
        assert.ok(existsSync(path))
        assert.equal(scene.logged(REMOVED), 0)
      }),
    ))

  test('neither removes nor stops dialling a socket that is also named itself', () =>
    withDirectory((directory) =>
      withDirectory(async (elsewhere) => {
        const path = join(directory, 'app.sock')
        const killed = await listenAs(path, join(elsewhere, '1'))
        const scene = new Scene(`unix:${path}`, `unix:${directory}/`)
        await until(() => scene.pool.count('ready') === 1)
        await killed.kill()
        await until(() => scene.logged(/cannot be reached/) === 1)
        scene.clock.shift += 60_000
        rmSync(path)
        await listenAs(path, join(elsewhere, '2'))
        await until(() => scene.pool.count('ready') === 1)
        assert.equal(scene.logged(REMOVED) + scene.logged(LEFT_OVER), 0)
      }),
    ))
})

suite('what is known of a socket file', () => {
  const one: FileIdentity = { dev: 1, ino: 1, birthtimeMs: 1 }
  const refused = 'ECONNREFUSED'

  function dialled(): SocketFile {
    const file = new SocketFile('/run/gantry/a.sock')
    file.dialled({ ...one })
    return file
  }

  test('a refusal is conclusive after 5 s of nothing else', () => {
    const file = dialled()
    assert.equal(file.failed(refused, 0), 'unknown')
    assert.equal(file.failed(refused, 4_999), 'unknown')
    assert.equal(file.failed(refused, 5_000), 'left over')
  })

  for (const code of ['EAGAIN', 'ENOENT', 'EACCES', 'EPROTOTYPE', 'TIMEOUT', undefined]) {
    test(`${code} says nothing, and the 5 s begin anew`, () => {
      const file = dialled()
      file.failed(refused, 0)
      assert.equal(file.failed(code, 5_000), 'unknown')
      assert.equal(file.failed(refused, 5_001), 'unknown')
      file.reached()
      assert.equal(file.failed(code, 5_002), 'unknown')
    })
  }

  test('a refusal of the file on which a container has answered is conclusive for this file, and for no other', () => {
    const file = dialled()
    file.reached()
    file.dialled({ ...one })
    assert.equal(file.failed(refused, 0), 'dead')
    for (const other of [{ dev: 2 }, { ino: 2 }, { birthtimeMs: 2 }]) {
      const replaced = dialled()
      replaced.reached()
      replaced.dialled({ ...one, ...other })
      assert.equal(replaced.failed(refused, 0), 'unknown')
    }
  })

  test('a file that is not there is neither', () => {
    const file = dialled()
    file.reached()
    file.dialled(undefined)
    assert.equal(file.failed(refused, 0), 'unknown')
  })
})

suite('removing a dead socket', () => {
  test('removes it, and no file that has taken its place', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'app.sock')
      writeFileSync(path, 'first')
      const first = identityOf(path)!
      writeFileSync(`${path}2`, 'second')
      renameSync(`${path}2`, path)
      assert.equal(removeStale(path, first, join(directory, '.aside')), false)
      assert.deepEqual(readdirSync(directory), ['app.sock'])
      assert.equal(removeStale(path, lstatSync(path), join(directory, '.aside')), true)
      assert.equal(removeStale(path, first, join(directory, '.aside')), false)
      assert.deepEqual(readdirSync(directory), [])
    }))
})
