/** A process that a test starts: its output as it is written, and how it ended. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** A command that runs the child: `ip netns exec NAME`, say. */
  readonly through?: readonly string[]
  /** Open an IPC channel. */
  readonly ipc?: boolean
  /** Time after which the process is killed, so that a waiting test fails instead of hanging, ms. Default: 60 s. */
  readonly patience?: number
}

/** A path in the repository, as an absolute file name. */
export function repositoryFile(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url))
}

/** The folder in which Node caches compiled code by content: most of a process's start is the stripping of types. */
const COMPILED = repositoryFile('node_modules/.cache/compiled')

export class TestChild {
  readonly process: ChildProcess
  /** The whole output so far. */
  stdout = ''
  stderr = ''
  readonly exited: Promise<{ code: number | null; signal: string | null }>
  readonly messages: unknown[] = []
  #watchers: Set<() => void> = new Set()
  #over = false

  /** Runs this Node with `argv`, without the variables GANTRY_* of the environment. */
  constructor(argv: readonly string[], options: SpawnOptions = {}) {
    const inherited = Object.entries(process.env).filter(
      ([name]) => !name.startsWith('GANTRY_') && name !== 'NODE_TEST_CONTEXT',
    )
    const [command, ...before] = [...(options.through ?? []), process.execPath]
    this.process = spawn(command!, [...before, ...argv], {
      env: { NODE_COMPILE_CACHE: COMPILED, ...Object.fromEntries(inherited), ...options.env },
      cwd: options.cwd,
      stdio: ['ignore', 'pipe', 'pipe', ...(options.ipc ? (['ipc'] as const) : [])],
    })
    const impatience = setTimeout(() => this.process.kill('SIGKILL'), options.patience ?? 60_000)
    this.process.stdout?.setEncoding('utf8').on('data', (text: string) => this.#note(() => (this.stdout += text)))
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => this.#note(() => (this.stderr += text)))
    this.process.on('message', (message) => this.#note(() => this.messages.push(message)))
    this.exited = this.#end(impatience)
  }

  /** Resolves as soon as `condition` holds; rejects with the output if the process ends before. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.#over) throw new Error(`the process ended first\n${this.stdout}\n${this.stderr}`)
      await new Promise<void>((resolve) => this.#watchers.add(resolve))
    }
  }

  /** The log's lines so far. */
  get log(): Record<string, unknown>[] {
    const whole = this.stdout.slice(0, this.stdout.lastIndexOf('\n') + 1)
    return whole
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  /** Whether a log line with this message was written. */
  logged(message: string): boolean {
    return this.log.some((line) => line['msg'] === message)
  }

  /** Sends `signal` once, and waits for the drain that it starts: a second signal would end the process immediately. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<{ code: number | null; signal: string | null }> {
    this.process.kill(signal)
    return await this.exited
  }

  /** Sends `signal` until the process has ended, for processes that exit at the second signal. */
  async insist(signal: NodeJS.Signals): Promise<{ code: number | null; signal: string | null }> {
    const again = setInterval(() => this.process.kill(signal), 50)
    try {
      return await this.exited
    } finally {
      clearInterval(again)
    }
  }

  /** Ends the process if it still runs, and waits until it has ended. */
  async end(): Promise<void> {
    if (!this.#over) this.process.kill('SIGKILL')
    await this.exited
  }

  // The child's `close` event is not used: it is never emitted after this side has closed the IPC channel.
  async #end(impatience: NodeJS.Timeout): Promise<{ code: number | null; signal: string | null }> {
    const [[code, signal]] = await Promise.all([
      once(this.process, 'exit') as Promise<[number | null, string | null]>,
      once(this.process.stdout!, 'close'),
      once(this.process.stderr!, 'close'),
    ])
    clearTimeout(impatience)
    this.#note(() => (this.#over = true))
    return { code, signal }
  }

  #note(change: () => void): void {
    change()
    for (const resolve of this.#watchers) resolve()
    this.#watchers.clear()
  }
}
