/**
 * Where log lines leave the process: gathered, written without blocking the event loop, bounded, flushed at exit.
 * Knows nothing of what a line says. (A line for each request as a write of its own would cost more than the request.)
 */

import { write, writeSync } from 'node:fs'

// Written at once from this size on: what one pipe takes on Linux.
const GATHER_BYTES = 64 * 1024
// A line is seen at most this late; ten writes a second cost nothing.
const GATHER_MILLISECONDS = 100
// A reader that has stalled must not fill our memory: beyond this, lines are dropped and counted.
const PENDING_BYTES = 16 * 1024 * 1024
const RETRY_MILLISECONDS = 10
const RETRIES_AT_EXIT = 50
// What a pipe takes whole, with nothing of another process's between (POSIX.1 PIPE_BUF: 512 at least; Linux, pipe(7): 4096).
const PIPE_BUF = process.platform === 'linux' ? 4096 : 512

export interface LogOutputOptions {
  /** Code units that may wait; beyond, lines are dropped, and one line says how many. Default: 16 Mi. */
  readonly limit?: number | undefined
  /** Other processes write there too: lines leave in pieces so small that a pipe mixes none of them, unless one alone is longer. */
  readonly shared?: boolean | undefined
}

const NEWLINE = 0x0a

export class LogOutput {
  readonly #descriptor: number
  readonly #limit: number
  readonly #piece: number
  #text = ''
  #dropped = 0
  #writing = false
  #closed = false
  #timer: NodeJS.Timeout | undefined
  #idle: (() => void)[] = []

  constructor(descriptor: number, { limit = PENDING_BYTES, shared = false }: LogOutputOptions = {}) {
    this.#descriptor = descriptor
    this.#limit = limit
    this.#piece = shared ? PIPE_BUF : Number.POSITIVE_INFINITY
  }

  /** Takes a line with its newline, as pino gives it. */
  write(line: string): void {
    if (this.#text.length + line.length > this.#limit) {
      this.#dropped++
      return
    }
    this.#text += line
    if (this.#closed) this.flushSync()
    else if (this.#text.length >= GATHER_BYTES) this.#flush()
    else this.#timer ??= setTimeout(() => this.#flush(), GATHER_MILLISECONDS).unref()
  }

  /** Resolves once all lines so far are written, or cannot be. Later lines are written at once. */
  async close(): Promise<void> {
    this.#closed = true
    this.#flush()
    if (this.#writing) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** Writes what waits, blocking: for a process that is about to end. */
  flushSync(): void {
    let bytes = Buffer.from(this.#take())
    for (let retries = 0; bytes.length > 0 && retries < RETRIES_AT_EXIT; ) {
      try {
        bytes = bytes.subarray(writeSync(this.#descriptor, bytes, 0, this.#pieceOf(bytes)))
      } catch (error) {
        if (!mayPass(error)) return
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MILLISECONDS)
        retries++
      }
    }
  }

  /** How many bytes leave at once: as many whole lines as fit, and a longer one by itself. */
  #pieceOf(bytes: Buffer): number {
    if (bytes.length <= this.#piece) return bytes.length
    let end = bytes.lastIndexOf(NEWLINE, this.#piece - 1)
    if (end < 0) end = bytes.indexOf(NEWLINE, this.#piece)
    return end < 0 ? bytes.length : end + 1
  }

  #take(): string {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const text = this.#text
    const dropped = this.#dropped
    this.#text = ''
    this.#dropped = 0
    if (dropped === 0) return text
    return `${text}${JSON.stringify({ level: 'warn', time: Date.now(), dropped, msg: 'log lines were dropped: the log is not being read' })}\n`
  }

  #flush(): void {
    if (this.#writing) return
    const text = this.#take()
    if (text === '') {
      for (const resolve of this.#idle.splice(0)) resolve()
      return
    }
    this.#writing = true
    this.#write(Buffer.from(text))
  }

  #write(bytes: Buffer): void {
    write(this.#descriptor, bytes, 0, this.#pieceOf(bytes), null, (error, written) => {
      // A pipe that another process made non-blocking is full now and then; anything else (EPIPE: the reader has gone)
      // cannot be told to anyone, and must not end the service.
      if (error && mayPass(error)) {
        setTimeout(() => this.#write(bytes), RETRY_MILLISECONDS)
      } else if (!error && written < bytes.length) {
        this.#write(bytes.subarray(written))
      } else {
        this.#writing = false
        this.#flush()
      }
    })
  }
}

function mayPass(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EAGAIN'
}
