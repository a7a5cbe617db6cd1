/** The temporary folder in which the measured servers run: starts them, keeps their logs, and ends them for certain. */

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

const START_MILLISECONDS = 60_000
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

  /** A log that `emptyLogs` truncates; its writer must append. */
  log(name: string): string {
    const path = this.path(name)
    this.#logs.add(path)
    return path
  }

  /** Truncates every log between rounds, so that access logs do not fill the disk. */
  emptyLogs(): void {
    for (const path of this.#logs) {
      try {
        truncateSync(path)
      } catch {
        // The log has no writer yet.
      }
    }
  }

  /** @throws Error with the server's own message if the server exits or does not listen in time */
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
      failure ??= `it exited with ${code ?? killer}`
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

/** Why a process did not start: its first line of output with "error", else its last line. */
function reason(path: string): string {
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  const line = lines.find((candidate) => /error/i.test(candidate)) ?? lines.at(-1) ?? ''
  return line.replaceAll(join(import.meta.dirname, '..', '..'), '.')
}

function listens(endpoint: Endpoint): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = typeof endpoint === 'number' ? connect(endpoint, '127.0.0.1') : connect(endpoint)
    socket.once('connect', () => socket.destroy())
    socket.once('error', () => resolve(false))
    socket.once('close', (failed) => resolve(!failed))
  })
}

/** A port of 127.0.0.1 that was free when this function looked. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
