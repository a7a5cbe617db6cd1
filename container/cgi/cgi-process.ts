/**
 * One run of a CGI program as a process: started without a shell in a group of its own, fed, read, and ended so that nothing of it is
 * left. It knows neither requests nor what the bytes mean.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import type { Input } from '../../protocol/contract/application.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import { ChunkReader, forwardLines } from './cgi-output.ts'

export interface StartOptions {
  readonly program: string
  readonly args: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly clock: Clock
  /** Ms from asking it to end (SIGTERM) to ending it (SIGKILL). */
  readonly killGrace: number
  /** Bytes of its errors that are told. */
  readonly stderrLimit: number
  readonly onStderr: (line: string) => void
}

/** How it ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: string | null
  /** It did not end by itself. */
  readonly killed: boolean
}

/** The last lines of one that has ended may still be in the pipe; another process that holds it must not keep us. Ms. */
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
  /** Nothing of it is left, and its number may be another's. */
  #over = false
  #ending: Promise<Exit> | undefined
  /** On the clock's `now()`. */
  #fedAt = 0
  #waitsForClient = false

  /** @throws what the system says: ENOENT, EACCES, E2BIG… */
  static async start(options: StartOptions): Promise<CgiProcess> {
    const { program, args, cwd, env } = options
    const child = spawn(program, args, { cwd, env, stdio: 'pipe', detached: true, shell: false })
    // Its pipes are made after that; some failures leave none.
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
    // It need not read its input (EPIPE).
    child.stdin!.on('error', () => {})
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#running = false
        // Now and not later: the group's number cannot have become another's yet.
        if (this.#killed) this.#signal('SIGKILL')
        resolve({ code, signal, killed: this.#killed })
      })
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** When it was last given something, on the clock's `now()`; now, while there is nothing to give it. */
  readonly lastActivity = (): number => (this.#waitsForClient ? this.#clock.now() : this.#fedAt)

  /**
   * Copies `input` to its standard input, as fast as it reads.
   *
   * @param first what was read of it already; empty: that was all
   */
  feed(first: Uint8Array | undefined, input: Input): void {
    // The client's body did not come to its end. The pipe stays open: what broke off must not look whole to the program.
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
   * Nothing more is wanted of it: what it still writes is dropped, and it has the grace to end by itself. Resolves once it has ended,
   * whatever that takes.
   */
  finish(): Promise<Exit> {
    return (this.#ending ??= this.#finish(this.#killGrace))
  }

  /** Ends it at once: SIGTERM, and SIGKILL after the grace, to all of its group. */
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
      // Another of its group may hold the output: then the group is still there.
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
      // Nobody is left in it.
    }
  }
}

/** Resolves when there is room, or nobody reads any more. */
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
