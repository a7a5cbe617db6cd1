/** `gantry proxy --workers`: real processes on one port. A stopped worker (SIGSTOP) simulates a hanging one. */

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { repositoryFile, TestChild } from '../support/child.ts'
import { FIXTURES, faultsOf, type Gantry, startGantry } from '../support/gantry.ts'
import { HttpClient } from '../support/http-client.ts'
import { freePort, temporary } from '../support/sockets.ts'

const quiet = ['--access-log', 'off']

interface House {
  readonly proxy: Gantry
  /** Resolves when this number of processes has begun to drain. */
  draining(count: number): Promise<void>
  /** Worker processes that have served, oldest first. */
  workers(): number[]
  /** The worker that serves a new connection. */
  get(target?: string): Promise<string>
  connect(): Promise<HttpClient>
  /** Releases a `gated` application, with a request directly to the container. */
  release(key: string): Promise<void>
}

/** @param joins true: the container dials the workers; false: the workers dial the container */
async function withWorkers(body: (house: House) => Promise<void>, joins = false): Promise<void> {
  const directory = await temporary()
  const path = join(directory, 'socket')
  const door = `127.0.0.1:${await freePort()}`
  const listen = ['--listen', `unix:${path}`, '--log-level', 'error', ...(joins ? ['--join', door] : [])]
  const send = joins ? ['--join-listen', door] : ['--upstream', `unix:${path}`]
  const container = await startGantry(['container', FIXTURES, ...listen, ...quiet])
  const proxy = await startGantry(['proxy', '--workers', '2', '--listen', '127.0.0.1:0', ...send, ...quiet])
  const workers = (): number[] =>
    proxy.child.log
      .filter(({ msg, pid }) => msg === 'ready' && pid !== proxy.child.process.pid)
      .map(({ pid }) => pid as number)
  const connect = () => HttpClient.connect({ port: proxy.port, host: '127.0.0.1' })
  try {
    await proxy.child.until(() => workers().length === 2)
    await body({
      proxy,
      workers,
      draining: (count) =>
        proxy.child.until(() => proxy.child.log.filter(({ msg }) => msg === 'draining').length === count),
      connect,
      get: async (target = '/hello') => {
        const client = await connect()
        const { body: said } = await client.fetch({ target })
        client.destroy()
        return said.toString()
      },
      release: async (key) => {
        const client = await HttpClient.connect({ path })
        await client.fetch({ target: `/release?key=${key}` })
        client.destroy()
      },
    })
    assert.deepEqual(faultsOf(proxy), [])
  } finally {
    for (const one of workers()) if (runs(one)) process.kill(one, 'SIGKILL')
    await Promise.all([proxy.child.end(), container.child.end()])
    await rm(directory, { recursive: true, force: true })
  }
}

/** Whether a process runs. A process that has exited and was not reaped has no such file. */
function runs(id: number): boolean {
  return existsSync(`/proc/${id}/exe`)
}

test('while one worker hangs, each connection is taken by the other', () =>
  withWorkers(async ({ workers, get }) => {
    const [first, second] = workers() as [number, number]
    for (const [hangs, next] of [
      [first, second],
      [second, first],
    ] as const) {
      process.kill(next, 'SIGCONT')
      process.kill(hangs, 'SIGSTOP')
      for (let connection = 0; connection < 5; connection++) assert.equal(await get(), 'Hello world!\n')
    }
  }))

test('a worker that crashes loses no connection that it has not accepted, and is restarted', () =>
  withWorkers(async ({ proxy, workers, get, connect }) => {
    const [first, second] = workers() as [number, number]
    for (const one of [first, second]) process.kill(one, 'SIGSTOP')
    // Accepted only by the system: no worker accepts it.
    const clients = await Promise.all(Array.from({ length: 8 }, connect))
    const asked = clients.map((client) => client.fetch({ target: '/hello' }))
    process.kill(first, 'SIGKILL')
    process.kill(second, 'SIGCONT')
    for (const answer of await Promise.all(asked)) assert.equal(answer.body.toString(), 'Hello world!\n')
    for (const client of clients) client.destroy()

    await proxy.child.until(() => workers().length === 3)
    process.kill(second, 'SIGSTOP')
    assert.equal(await get(), 'Hello world!\n')
    const ends = proxy.child.log.filter(({ msg }) => msg === 'a worker ended: restarting it')
    assert.deepEqual(
      ends.map(({ worker, exit }) => [worker, exit]),
      [[0, 'SIGKILL']],
    )
  }))

test('a container joins every worker, and one that is started after a crash', () =>
  withWorkers(async ({ proxy, workers, get }) => {
    const hasIt = (id: number) => proxy.child.log.some(({ msg, pid }) => msg === 'container is ready' && pid === id)
    await proxy.child.until(() => workers().every(hasIt))
    const [first, second] = workers() as [number, number]
    process.kill(first, 'SIGKILL')
    await proxy.child.until(() => workers().length === 3 && workers().slice(1).every(hasIt))
    process.kill(second, 'SIGSTOP')
    assert.equal(await get(), 'Hello world!\n')
  }, true))

test('a signal drains every worker: running requests finish, and no process remains', () =>
  withWorkers(async ({ proxy, workers, draining, connect, release }) => {
    const client = await connect()
    const running = client.request({ target: '/gated?key=drained&n=2' })
    await running.head()
    proxy.child.process.kill('SIGTERM')
    await draining(3)
    // Later than signals that count as one: as from a service manager that signals all processes of the service after
    // their supervisor has.
    await delay(300)
    for (const one of workers().filter(runs)) process.kill(one, 'SIGTERM')
    for (let chunk = 0; chunk < 2; chunk++) await release('drained')
    const answer = await running.whole()
    assert.equal(answer.complete, true)
    client.destroy()
    assert.deepEqual(await proxy.child.exited, { code: 0, signal: null })
    assert.deepEqual(workers().filter(runs), [])
  }))

test('a second signal ends all of them at once', () =>
  withWorkers(async ({ proxy, workers, draining, connect }) => {
    const client = await connect()
    await client.request({ target: '/gated?key=never&n=2' }).head()
    proxy.child.process.kill('SIGTERM')
    await draining(3)
    assert.deepEqual(await proxy.child.insist('SIGTERM'), { code: 143, signal: null })
    // The workers share the supervisor's output, which has ended.
    assert.deepEqual(workers().filter(runs), [])
    client.destroy()
  }))

test('without their supervisor, workers finish running requests and exit', () =>
  withWorkers(async ({ proxy, workers, draining, connect, release }) => {
    const client = await connect()
    const running = client.request({ target: '/gated?key=orphan&n=2' })
    await running.head()
    proxy.child.process.kill('SIGKILL')
    await draining(2)
    for (let chunk = 0; chunk < 2; chunk++) await release('orphan')
    assert.equal((await running.whole()).complete, true)
    client.destroy()
    assert.deepEqual(await proxy.child.exited, { code: null, signal: 'SIGKILL' })
    assert.deepEqual(workers().filter(runs), [])
  }))

test('a failure to start is reported once, and exits with 1', async () => {
  const proxy = [repositoryFile('cli/gantry.ts'), 'proxy', '--workers', '2', '--listen', '127.0.0.1:0']
  const child = new TestChild([...proxy, '--upstream', 'elsewhere.example:9000'])
  assert.deepEqual(await child.exited, { code: 1, signal: null })
  assert.match(child.stderr, /^gantry proxy: --upstream elsewhere\.example:9000 is reachable over the network[^\n]+\n/)
  assert.match(
    child.stderr,
    /\ngantry proxy: a worker ended before it was ready \(exit code 1\); its own message is above\n$/,
  )
  assert.equal(child.stderr.split('\n').length, 3)
})
