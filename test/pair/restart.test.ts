/**
 * Containers that are restarted one after the other under load, as in a deployment: no request fails, and each runs
 * once.
 */

import assert from 'node:assert/strict'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { FIXTURES, faultsOf, type Gantry, startGantry } from '../support/gantry.ts'
import { Load, Runs } from '../support/load.ts'
import { temporary } from '../support/sockets.ts'

const quiet = ['--access-log', 'off', '--log-level', 'error']

/** Sends SIGTERM, and asserts that the process exits with 0. */
async function stop({ child }: Gantry): Promise<void> {
  child.process.kill('SIGTERM')
  const { code, signal } = await child.exited
  assert.deepEqual({ code, signal, stderr: child.stderr }, { code: 0, signal: null, stderr: '' })
}

/** Asserts that every request was answered 200 and ran exactly once, including POSTs. */
async function assertFlawless(load: Load, runs: Runs): Promise<void> {
  const outcomes = await load.stop()
  const counts = runs.count()
  for (const { id, method, status, complete, error } of outcomes) {
    const said = `${method} ${id}: ${status} ${error ?? ''}, ran ${counts.get(id) ?? 0} times`
    assert.ok(complete && status === 200 && counts.get(id) === 1, said)
  }
}

interface Ways {
  title: string
  /** The arguments of the proxy, and of container number `at`. */
  proxy: (directory: string) => string[]
  container: (directory: string, at: number) => string[]
}

const ways: Ways[] = [
  {
    title: 'in a directory of sockets',
    proxy: (directory) => ['--upstream', `unix:${directory}/sockets/`],
    container: (directory, at) => ['--listen', `unix:${join(directory, 'sockets', `container-${at}`)}`],
  },
  {
    title: 'that join the proxy',
    proxy: (directory) => ['--join-listen', `unix:${join(directory, 'join')}`],
    container: (directory) => ['--join', `unix:${join(directory, 'join')}`],
  },
]

for (const way of ways) {
  for (const count of [1, 3]) {
    const which = count === 1 ? 'a container' : `${count} containers`
    test(`${which} ${way.title}, restarted under load: nothing fails, everything runs once`, {
      timeout: 90_000,
    }, async () => {
      const directory = await temporary()
      await mkdir(join(directory, 'sockets'))
      const runs = new Runs(join(directory, 'runs'))
      const env = { FIXTURE_RUNS: runs.path }
      const start = (at: number): Promise<Gantry> =>
        startGantry(['container', FIXTURES, ...way.container(directory, at), ...quiet], { env })
      const all: Gantry[] = []
      try {
        const proxy = await startGantry(['proxy', '--listen', '127.0.0.1:0', ...way.proxy(directory), ...quiet])
        all.push(proxy)
        const containers: Gantry[] = []
        for (let at = 0; at < count; at++) containers.push(await start(at))
        all.push(...containers)
        const load = new Load({ port: proxy.port, seed: count, clients: 32, body: 100_000, work: 10 })
        for (let at = 0; at < Math.max(2, count); at++) {
          await load.answered(150)
          await stop(containers[at % count]!)
          const next = await start(count + at)
          containers[at % count] = next
          all.push(next)
        }
        await load.answered(150)
        await assertFlawless(load, runs)
        assert.deepEqual(faultsOf(proxy), [])
      } finally {
        await Promise.all(all.map(({ child }) => child.end()))
        await rm(directory, { recursive: true, force: true })
      }
    })
  }
}
