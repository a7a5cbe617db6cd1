/**
 * Runs a CGI program as a process: starts it without a shell in its own process group, writes its input, reads its
 * output, and ends the whole group. Knows neither requests nor the meaning of the bytes.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import type { Input } from '../../protocol/contract/application.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import { ChunkReader, forwardLines } from './cgi-output.ts'

interface StartOptions {
  readonly program: string
  readonly args: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly clock: Clock
  /** Time from SIGTERM to SIGKILL, ms. */
  readonly killGrace: number
  /** How many bytes of its standard error are passed to `onStderr`. */
  readonly stderrLimit: number
  readonly onStderr: (line: string) => void
}

/** How the process ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: string | null
  /** Whether this file has ended the process. */
  readonly killed: boolean
}

/**
 * How long to wait for the last lines of standard error after the process has ended, ms: another process may keep the
 * pipe open.
 */
const STDERR_GRACE = 100

export class CgiProcess {
  readonly output: ChunkReader
  readonly exited: Promise<Exit>
  readonly #child: ChildProcess
  readonly #clock: Clock
  readonly #killGrace: number
  readonly #stderrRead: Promise<void>
  #running = true
  #killed = false
  /** The process has ended and the system may reuse its process group id. */
  #over = false
  #ending: Promise<Exit> | undefined
  /** The time of the last write to its standard input, on the clock's `now()`. */
  #fedAt = 0
  #waitsForClient = false

  /** @throws the system's error: ENOENT, EACCES, E2BIG… */
  static async start(options: StartOptions): Promise<CgiProcess> {
    const { program, args, cwd, env } = options
    const child = spawn(program, args, { cwd, env, stdio: 'pipe', detached: true, shell: false })
    // Node creates the pipes before 'spawn'; after some failures there are none.
    await once(child, 'spawn')
    child.on('error', () => {})
    return new CgiProcess(child, options)
  }

  private constructor(child: ChildProcess, { clock, killGrace, stderrLimit, onStderr }: StartOptions) {
    this.#child = child
    this.#clock = clock
    this.#killGrace = killGrace
    this.output = new ChunkReader(child.stdout as Readable, clock)
    this.#stderrRead = forwardLines(child.stderr as Readable, stderrLimit, onStderr)
    // The program need not read its input (EPIPE).
    child.stdin!.on('error', () => {})
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#running = false
        // At once: the process group id cannot have been reused yet.
        if (this.#killed) this.#signal('SIGKILL')
        resolve({ code, signal, killed: this.#killed })
      })
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  /**
   * The time of the last write to the program, on the clock's `now()`; the current time while the client has sent
   * nothing to write.
   */
  readonly lastActivity = (): number => (this.#waitsForClient ? this.#clock.now() : this.#fedAt)

  /**
   * Copies `input` to the program's standard input, as fast as the program reads.
   *
   * @param first bytes that were already read from `input`; empty if that was the whole input
   */
  feed(first: Uint8Array | undefined, input: Input): void {
    // The client's body is incomplete. The pipe stays open: an incomplete body must not look complete to the program.
    this.#pump(first, input).catch(() => this.kill())
  }

  async #pump(first: Uint8Array | undefined, input: Input): Promise<void> {
    const stdin = this.#child.stdin as Writable
    for (let chunk = first ?? (await this.#read(input)); chunk.length > 0; chunk = await this.#read(input)) {
      if (!stdin.write(chunk)) await room(stdin)
      if (stdin.destroyed) return
    }
    stdin.end()
  }

  async #read(input: Input): Promise<Uint8Array> {
    this.#waitsForClient = true
    try {
      return await input.read1()
    } finally {
      this.#waitsForClient = false
      this.#fedAt = this.#clock.now()
    }
  }

  /**
   * Drops the remaining output and gives the program the grace period to end by itself. Resolves once it has ended,
   * however long that takes.
   */
  finish(): Promise<Exit> {
    return (this.#ending ??= this.#finish(this.#killGrace))
  }

  /** Ends the whole process group now: SIGTERM, then SIGKILL after the grace period. */
  kill(): Promise<Exit> {
    this.#kill()
    return (this.#ending ??= this.#finish(0))
  }

  async #finish(grace: number): Promise<Exit> {
    this.output.discard()
    const { stdin, stdout, stderr } = this.#child
    const timer = this.#running && !this.#killed ? this.#clock.after(grace, () => this.#kill()) : undefined
    const exit = await this.exited
    timer?.cancel()
    this.#over = true
    stdin!.destroy()
    const timedOut = Promise.withResolvers<void>()
    const stderrTimer = this.#clock.after(STDERR_GRACE, timedOut.resolve)
    await Promise.race([this.#stderrRead, timedOut.promise])
    stderrTimer.cancel()
    stdout!.destroy()
    stderr!.destroy()
    return exit
  }

  #kill(): void {
    if (this.#killed || this.#over) return
    this.#killed = true
    if (!this.#running) {
      // Another process of the group may keep the output open: then the group still exists.
      if (!this.output.over) this.#signal('SIGKILL')
      return
    }
    this.#signal('SIGTERM')
    const timer = this.#clock.after(this.#killGrace, () => this.#signal('SIGKILL'))
    void this.exited.then(() => timer.cancel())
  }

  #signal(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.pid, signal)
    } catch {
      // The group has no processes left.
    }
  }
}

/** Resolves when the pipe has room or is closed. */
function room(stdin: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stdin.off('drain', done).off('close', done)
      resolve()
    }
    stdin.on('drain', done).on('close', done)
    if (stdin.destroyed) done()
  })
}
