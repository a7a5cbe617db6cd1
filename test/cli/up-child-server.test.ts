/**
 * `gantry up` with an application that listens in a child process, as development servers do; and the commands that
 * refuse it.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { WebSocket } from 'ws'
import { processTable, unlessGone } from '../../process/process-table.ts'
import { repositoryFile, TestChild } from '../support/child.ts'
import { until } from '../support/until.ts'

const LAUNCHER = repositoryFile('test/apps/listening/launcher.ts')

interface Answer {
  readonly child: number
  readonly launcher: number
  readonly client: string
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer()
  const port = await listening(server)
  server.close()
  await once(server, 'close')
  return port
}

async function listening(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}

interface Served {
  readonly child: TestChild
  /** The port on which the application itself listens. */
  readonly port: number
  /** The port on which the proxy listens. */
  readonly origin: string
  get(path?: string): Promise<Answer>
}

/** Runs `gantry up` with the launcher, and ends its remaining processes. */
async function withUp(
  body: (served: Served) => Promise<void>,
  mode: string = 'plain',
  argv: readonly string[] = ['--drain-timeout=300ms'],
): Promise<void> {
  const port = await freePort()
  await withCommand(
    ['up', LAUNCHER, '--interface=node', '--listen=127.0.0.1:0', ...argv, '--', mode],
    port,
    async (child) => {
      await child.until(() => /is served at/.test(child.stderr))
      const origin = /is served at (http:\S+)\//.exec(child.stderr)![1]!
      const get = async (path = '/'): Promise<Answer> => (await (await fetch(origin + path)).json()) as Answer
      await body({ child, port, origin, get })
    },
  )
}

async function withCommand(
  argv: readonly string[],
  port: number | undefined,
  body: (child: TestChild) => Promise<void>,
): Promise<void> {
  const env: Record<string, string> = port === undefined ? {} : { PORT: String(port) }
  const child = new TestChild([repositoryFile('cli/gantry.ts'), ...argv], { env })
  try {
    await body(child)
  } finally {
    child.process.kill('SIGKILL')
    for (const pid of forked(child)) end(pid)
    await child.exited
  }
}

/** The process group of a killed supervisor ends by itself: its processes may have exited already. */
function end(pid: number): void {
  try {
    if (runs(pid)) process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** The processes that have listened, in order. */
function forked({ stderr }: TestChild): number[] {
  return [...stderr.matchAll(/^forked (\d+)/gm)].map(([, pid]) => Number(pid))
}

/** Whether a process runs. A zombie does not: it is unknown here which process reaps it. */
function runs(pid: number): boolean {
  const entry = processTable()?.find((one) => one.pid === pid)
  if (entry) return !entry.isZombie
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** The command lines of running processes that have `argument`. */
function startedWith(argument: string): string[] {
  const lines = (processTable() ?? []).map(
    ({ pid }) => unlessGone(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')) ?? '',
  )
  return lines.filter((line) => line.includes(argument))
}

/** How the process ended. Its descendants may live on and keep its output open. */
async function exitOf({ process: started }: TestChild): Promise<{ code: number | null; signal: string | null }> {
  if (started.exitCode === null && started.signalCode === null) await once(started, 'exit')
  return { code: started.exitCode, signal: started.signalCode }
}

/** Its last lines may arrive after its exit. */
function wrote(child: TestChild, line: RegExp): Promise<void> {
  return child.until(() => line.test(child.stderr))
}

function gone(...pids: readonly number[]): Promise<void> {
  return until(() => !pids.some(runs), 'processes to end')
}

/** Repeats the request until another child than `before` responds. */
async function answersAnew(get: Served['get'], before: Answer): Promise<Answer> {
  let now = before
  await until(async () => {
    now = await get().catch(() => before)
    return now.child !== before.child
  }, 'another child')
  return now
}

describe('gantry up with an application that listens in a child process', () => {
  it('passes requests and WebSockets on to it, and says so in one line', () =>
    withUp(async ({ child, port, origin, get }) => {
      const answer = await get()
      assert.equal(answer.client, '127.0.0.1')
      assert.deepEqual(forked(child), [answer.child])
      const socket = new WebSocket(`${origin.replace('http', 'ws')}/any`)
      await once(socket, 'open')
      socket.send('hello')
      const [data] = (await once(socket, 'message')) as [Buffer]
      assert.equal(String(data), 'echo hello')
      socket.close()
      const lines = child.stderr.split('\n').filter((line) => line.startsWith('gantry: '))
      assert.equal(lines.length, 1)
      assert.match(lines[0]!, new RegExp(`listens in a child process, at http://127\\.0\\.0\\.1:${port}/: .*--slots`))
    }))

  it('starts it again when the child ends and the launcher with it', () =>
    withUp(async ({ child, get }) => {
      const before = await get()
      process.kill(before.child, 'SIGKILL')
      const after = await answersAnew(get, before)
      assert.notEqual(after.launcher, before.launcher)
      assert.match(child.stderr, /^gantry: the container ended \(exit code 0\): restarting it/m)
      assert.equal(runs(before.launcher), false)
    }))

  it('ends the child of a launcher that was killed, whose port the next one needs', () =>
    withUp(async ({ child, get }) => {
      const before = await get()
      process.kill(before.launcher, 'SIGKILL')
      await answersAnew(get, before)
      assert.equal(runs(before.child), false)
      assert.match(child.stderr, /^gantry: the container ended \(SIGKILL\): restarting it/m)
      assert.doesNotMatch(child.stderr, /EADDRINUSE/)
    }, 'stubborn'))

  for (const [mode, what, code, timeout] of [
    // A process that ends by itself needs no timeout.
    ['plain', 'passes SIGTERM on to the child of a launcher that does not handle it', 0, '1h'],
    ['handles', 'leaves the stop to a launcher that handles SIGTERM, and exits with its code', 7, '1h'],
    ['leaves', 'ends what a launcher leaves running when it exits', 8, '1h'],
    ['respawns', 'does not wait for the children that a launcher starts in place of those that end', 0, '1h'],
    ['shell', 'ends a grandchild, to which a shell does not pass SIGTERM on', 0, '1h'],
    ['stubborn', 'kills a child that ignores SIGTERM when the drain timeout is over', 0, '300ms'],
  ] as const) {
    it(what, () =>
      withUp(
        async ({ child, get }) => {
          const answer = await get()
          child.process.kill('SIGTERM')
          // Its output ends when no process has it open.
          assert.deepEqual(await exitOf(child), { code, signal: null })
          assert.equal(runs(answer.child), false)
          assert.equal(runs(answer.launcher), false)
        },
        mode,
        [`--drain-timeout=${timeout}`],
      ),
    )
  }

  it('passes SIGINT on to the child of a launcher that does not handle it', () =>
    withUp(
      async ({ child, get }) => {
        const answer = await get()
        child.process.kill('SIGINT')
        assert.deepEqual(await exitOf(child), { code: 0, signal: null })
        await wrote(child, /^forked got SIGINT$/m)
        assert.equal(runs(answer.child), false)
      },
      'plain',
      ['--drain-timeout=1h'],
    ))

  for (const mode of ['plain', 'stubborn', 'handles']) {
    it(`leaves nothing behind when it is killed itself (${mode})`, () =>
      withUp(async ({ child, get }) => {
        const answer = await get()
        child.process.kill('SIGKILL')
        await gone(answer.child, answer.launcher)
      }, mode))
  }

  it('leaves no process behind when it is killed while the application starts', async () => {
    const argv = ['up', LAUNCHER, '--interface=node', '--listen=127.0.0.1:0', '--', 'elsewhere']
    await withCommand(argv, await freePort(), async (child) => {
      await child.until(() => forked(child).length > 0)
      child.process.kill('SIGKILL')
      await gone(...forked(child))
    })
  })

  it('refuses a --listen on the port where the child listens', async () => {
    const port = await freePort()
    const argv = ['up', LAUNCHER, '--interface=node', `--listen=127.0.0.1:${port}`]
    await withCommand(argv, port, async (child) => {
      assert.deepEqual(await exitOf(child), { code: 1, signal: null })
      await wrote(
        child,
        new RegExp(`listens on port ${port} in a child process, and --listen names the same port: .*PORT=`),
      )
      assert.equal(runs(forked(child)[0]!), false)
    })
  })

  it('names the port when another process has it', async () => {
    const other = createServer()
    const port = await listening(other)
    const argv = ['up', LAUNCHER, '--interface=node', '--listen=127.0.0.1:0', '--', 'elsewhere']
    try {
      await withCommand(argv, port, async (child) => {
        const isNamed = (line: Record<string, unknown>): boolean =>
          line['level'] === 'warn' && String(line['msg']).includes(`port ${port} is in use by another process`)
        await child.until(() => child.log.some(isNamed))
        child.process.kill('SIGTERM')
        await exitOf(child)
        assert.equal(runs(forked(child)[0]!), false)
      })
    } finally {
      other.close()
    }
  })

  it('is given the child’s port by --app-port as well', async () => {
    const port = await freePort()
    const argv = ['up', LAUNCHER, '--interface=node', '--listen=127.0.0.1:0', `--app-port=${port}`, '--', String(port)]
    await withCommand(argv, undefined, (child) => child.until(() => /is served at http/.test(child.stderr)))
  })
})

describe('an application that listens in a child process', () => {
  const refusals: readonly (readonly string[])[] = [
    ['container', LAUNCHER, '--interface=node', '--listen=127.0.0.1:0'],
    ['container', LAUNCHER, '--interface=node', '--join=127.0.0.1:9'],
    ['container', LAUNCHER, '--interface=node', '--listen=127.0.0.1:0', '--', 'stubborn'],
    ['container', LAUNCHER, '--interface=node', '--listen=127.0.0.1:0', '--', 'respawns'],
    ['container', LAUNCHER, '--interface=node', '--listen=127.0.0.1:0', '--', 'shell'],
  ]
  for (const argv of refusals) {
    it(`is refused by gantry ${argv.map((text) => text.split('/').at(-1)).join(' ')}, and its child is ended`, async () => {
      const port = await freePort()
      const given = argv.includes('--') ? [...argv, `port-${port}`] : argv
      await withCommand(given, port, async (child) => {
        assert.deepEqual(await exitOf(child), { code: 1, signal: null })
        await wrote(
          child,
          new RegExp(`^gantry container: .* at http://127\\.0\\.0\\.1:${port}/ in a child process`, 'm'),
        )
        await wrote(child, new RegExp(`gantry proxy --upstream http://127\\.0\\.0\\.1:${port}/$`, 'm'))
        assert.equal(runs(forked(child)[0]!), false)
        assert.deepEqual(startedWith(`port-${port}`), [])
      })
    })
  }

  it('is refused by gantry up --dev with the command that serves it', async () => {
    const port = await freePort()
    const argv = ['up', LAUNCHER, '--dev', '--interface=node', '--listen=127.0.0.1:0']
    await withCommand(argv, port, async (child) => {
      await child.until(() => /use gantry up without --dev/.test(child.stderr))
      assert.equal(runs(forked(child)[0]!), false)
      child.process.kill('SIGTERM')
      await exitOf(child)
    })
  })
})
