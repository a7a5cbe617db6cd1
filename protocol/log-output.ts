/**
 * Where log lines leave the process: gathered, written without blocking the event loop, bounded, flushed at exit. Knows nothing of what a
 * line says. A write never fails for its caller: lines that cannot be written are counted, and their number is said once others can be.
 */

import { write, writeSync } from 'node:fs'
import { type LogDescriptor, logDescriptor } from './log-descriptor.ts'

// Written at once from this size on: what one pipe takes on Linux.
const GATHER_BYTES = 64 * 1024
// A line is seen at most this late; ten writes a second cost nothing.
const GATHER_MILLISECONDS = 100
// A reader that has stalled must not fill our memory: 16 MiB hold some 50,000 lines, more than a minute of a busy server's.
const PENDING_BYTES = 16 * 1024 * 1024
/** Between two tries at a reader that has stalled, ms: at first, and at most, since it may stay so for hours. */
const RETRY = { first: 10, most: 250 }
/** What a process that ends waits for its reader, ms in all: no reader may hold up a stop. */
const EXIT_PATIENCE_MILLISECONDS = 500
// What a pipe takes whole, with nothing of another process's between (POSIX.1 PIPE_BUF: 512 at least; Linux, pipe(7): 4096).
const PIPE_BUF = process.platform === 'linux' ? 4096 : 512

export interface LogOutputOptions {
  /** Code units that may wait; beyond, lines are dropped, and one line says how many. Default: 16 Mi. */
  readonly limit?: number | undefined
  /** Other processes write there too: lines leave in pieces so small that a pipe mixes none of them, unless one alone is longer. */
  readonly shared?: boolean | undefined
  /** Lines are written when they come, and not gathered: few, and each may be the last. */
  readonly immediate?: boolean | undefined
  /** Makes the line, without its newline, that says how many were lost. */
  readonly lost?: ((count: number) => string) | undefined
}

const NEWLINE = 0x0a
const NOTHING = Buffer.alloc(0)

function lostLine(dropped: number): string {
  return JSON.stringify({
    level: 'warn',
    time: Date.now(),
    dropped,
    msg: `${dropped} log lines were lost: nobody read them, or they could not be written`,
  })
}

export class LogOutput {
  readonly #target: LogDescriptor
  readonly #limit: number
  readonly #piece: number
  readonly #immediate: boolean
  readonly #lost: (count: number) => string
  #text = ''
  /** What is being written: whole lines, of which the first may have left in part. */
  #batch: Buffer = NOTHING
  /** Lines lost that `batch` ends with saying. */
  #said = 0
  #dropped = 0
  /** Part of a line has left, and the rest was lost. */
  #torn = false
  /** `batch` begins with the newline that ends a torn line. */
  #mending = false
  /** A write that waits for a disk is under way. */
  #writing = false
  #closed = false
  #gathering: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  #retries = 0
  /** Of `EXIT_PATIENCE_MILLISECONDS`, what is left. */
  #patience = EXIT_PATIENCE_MILLISECONDS
  #idle: (() => void)[] = []

  constructor(
    descriptor: number,
    { limit = PENDING_BYTES, shared = false, immediate = false, lost = lostLine }: LogOutputOptions = {},
  ) {
    this.#target = logDescriptor(descriptor)
    this.#limit = limit
    this.#piece = shared ? PIPE_BUF : Number.POSITIVE_INFINITY
    this.#immediate = immediate
    this.#lost = lost
  }

  /** Takes a line with its newline, as pino gives it. */
  write(line: string): void {
    if (this.#text.length + this.#batch.length + line.length > this.#limit) {
      this.#dropped += linesIn(line)
      return
    }
    this.#text += line
    if (this.#closed) this.flushSync()
    else if (this.#immediate || this.#text.length >= GATHER_BYTES) this.#flush()
    else this.#gathering ??= setTimeout(() => this.#flush(), GATHER_MILLISECONDS).unref()
  }

  /** Resolves once all lines so far are written, or cannot be. Later lines are written at once. */
  async close(): Promise<void> {
    this.#closed = true
    this.#flush()
    if (!this.#isEmpty) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** Writes what waits, for a process that is about to end. A reader that takes nothing is waited for, but half a second in all. */
  flushSync(): void {
    while (this.#fill()) {
      const error = this.#writeSync()
      if (error === undefined) continue
      if (!mayPass(error)) this.#lose()
      else if (this.#patience <= 0) return
      else {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY.first)
        this.#patience -= RETRY.first
      }
    }
  }

  get #isEmpty(): boolean {
    return this.#text === '' && this.#batch.length === 0 && !this.#writing
  }

  #flush(): void {
    if (this.#writing || this.#retry !== undefined) return
    while (this.#fill()) {
      if (!this.#immediate && this.#target.waits() === 'disk') {
        this.#writeBehind()
        return
      }
      const error = this.#writeSync()
      if (error === undefined) continue
      if (mayPass(error)) {
        this.#later()
        return
      }
      this.#lose()
    }
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** Whether there is something to write. */
  #fill(): boolean {
    if (this.#batch.length > 0) return true
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    if (this.#text === '') return false
    // A line that was torn ends here, so that it spoils no other.
    this.#mending = this.#torn
    let text = this.#torn ? `\n${this.#text}` : this.#text
    this.#said = this.#dropped
    if (this.#dropped > 0) text += `${this.#lost(this.#dropped)}\n`
    this.#text = ''
    this.#dropped = 0
    this.#batch = Buffer.from(text)
    return true
  }

  #writeSync(): unknown {
    try {
      this.#wrote(writeSync(this.#target.descriptor, this.#batch, 0, this.#pieceLength))
      return undefined
    } catch (error) {
      return error
    }
  }

  #writeBehind(): void {
    const piece = this.#batch.subarray(0, this.#pieceLength)
    // `flushSync` must not write it again.
    this.#batch = this.#batch.subarray(piece.length)
    this.#writing = true
    write(this.#target.descriptor, piece, 0, piece.length, null, (error, written) => {
      this.#writing = false
      this.#batch = Buffer.concat([piece, this.#batch])
      if (!error) this.#wrote(written)
      else if (mayPass(error)) return this.#later()
      else this.#lose()
      this.#flush()
    })
  }

  /** How many bytes leave at once: as many whole lines as fit, and a longer one by itself. */
  get #pieceLength(): number {
    const bytes = this.#batch
    if (bytes.length <= this.#piece) return bytes.length
    let end = bytes.lastIndexOf(NEWLINE, this.#piece - 1)
    if (end < 0) end = bytes.indexOf(NEWLINE, this.#piece)
    return end < 0 ? bytes.length : end + 1
  }

  #wrote(bytes: number): void {
    this.#retries = 0
    if (bytes > 0) {
      this.#torn = this.#batch[bytes - 1] !== NEWLINE
      this.#mending = false
    }
    this.#batch = this.#batch.subarray(bytes)
    if (this.#batch.length === 0) this.#said = 0
  }

  /** The batch cannot be written (EPIPE: the reader has gone; ENOSPC; EIO). Nobody can be told now, and it must not end the service. */
  #lose(): void {
    const lines = linesIn(this.#batch.toString('latin1')) - (this.#mending ? 1 : 0)
    this.#dropped += this.#said > 0 ? lines - 1 + this.#said : lines
    this.#said = 0
    this.#batch = NOTHING
  }

  #later(): void {
    const wait = Math.min(RETRY.most, RETRY.first * 2 ** Math.min(this.#retries++, 10))
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      this.#flush()
    }, wait).unref()
  }
}

function linesIn(text: string): number {
  let lines = 0
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) lines++
  return lines
}

/** A pipe, socket or terminal is full; anything else stays as it is. */
function mayPass(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EAGAIN'
}
