/**
 * Where the servers under measurement run: a temporary folder, their processes, their logs, and their certain end. Knows
 * nothing of what a server is.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

const START_MILLISECONDS = 15_000
const STOP_MILLISECONDS = 5_000

/** A server process that listens. */
export interface Server {
  readonly name: string
  readonly pid: number
}

/** A port on 127.0.0.1, or the path of a Unix socket. */
export type Endpoint = number | string

export interface ServerPlan {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** Where it listens once it is ready, all of them. */
  readonly endpoints: readonly Endpoint[]
  /** The signal that ends it. */
  readonly signal?: 'SIGTERM' | 'SIGQUIT' | 'SIGINT'
}

export class Workshop {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'gantry-bench-'))
  readonly isRoot: boolean = userInfo().uid === 0
  readonly #children = new Map<ChildProcess, NodeJS.Signals>()
  readonly #logs = new Set<string>()
  readonly #atExit = (): void => {
    for (const [child, signal] of this.#children) child.kill(signal)
    rmSync(this.folder, { recursive: true, force: true })
  }

  constructor() {
    process.on('exit', this.#atExit)
  }

  path(name: string): string {
    return join(this.folder, name)
  }

  /** A log that is emptied by `emptyLogs`: appended to by its writer, so that it then starts anew. */
  log(name: string): string {
    const path = this.path(name)
    this.#logs.add(path)
    return path
  }

  /** Empties every log, between rounds: else access logs would fill the disk. */
  emptyLogs(): void {
    for (const path of this.#logs) {
      try {
        truncateSync(path)
      } catch {
        // Nobody has written to it yet.
      }
    }
  }

  /** @throws Error with what it said when it ends or does not listen in time. */
  async start({ name, command, args, endpoints, signal = 'SIGTERM' }: ServerPlan): Promise<Server> {
    const output = this.log(`${name}.out`)
    const descriptor = openSync(output, 'a')
    const child = spawn(command, args, { stdio: ['ignore', descriptor, descriptor], cwd: this.folder })
    closeSync(descriptor)
    let failure: string | undefined
    child.once('error', (error) => {
      failure = error.message
    })
    child.once('exit', (code, killer) => {
      failure ??= `it ended with ${code ?? killer}`
      this.#children.delete(child)
    })
    this.#children.set(child, signal)
    const deadline = performance.now() + START_MILLISECONDS
    for (const endpoint of endpoints) {
      while (!(await listens(endpoint))) {
        if (performance.now() > deadline) failure ??= 'it does not listen'
        if (failure !== undefined) throw new Error(`${name} did not start: ${failure} (${reason(output)})`)
        await delay(20)
      }
    }
    return { name, pid: child.pid! }
  }

  /** Ends all servers and removes the folder. */
  async close(): Promise<void> {
    await Promise.all([...this.#children].map(([child, signal]) => end(child, signal)))
    process.off('exit', this.#atExit)
    rmSync(this.folder, { recursive: true, force: true })
  }
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve))
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill(signal)
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MILLISECONDS)
  await ended
  clearTimeout(timer)
}

/** What a process that did not start said of it: its first line that tells of an error, else its last. */
function reason(path: string): string {
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  const line = lines.find((candidate) => /error/i.test(candidate)) ?? lines.at(-1) ?? ''
  return line.replaceAll(join(import.meta.dirname, '..'), '.')
}

function listens(endpoint: Endpoint): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = typeof endpoint === 'number' ? connect(endpoint, '127.0.0.1') : connect(endpoint)
    socket.once('connect', () => socket.destroy())
    socket.once('error', () => resolve(false))
    socket.once('close', (failed) => resolve(!failed))
  })
}

/** A port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** The full path of a program, looked for on PATH and in /usr/sbin, where Debian puts nginx. */
export function findProgram(...names: readonly string[]): string | undefined {
  for (const name of names) {
    for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']) {
      const path = join(folder, name)
      try {
        accessSync(path, constants.X_OK)
        return path
      } catch {
        // Not here.
      }
    }
  }
  return undefined
}
