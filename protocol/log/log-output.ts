/**
 * Writes log lines to a descriptor in batches, with a bounded buffer, and without blocking the event loop. A write
 * never fails for its caller: lines that cannot be written are counted, and a later line reports the number.
 */

import { write, writeSync } from 'node:fs'
import { type LogDescriptor, logDescriptor } from './log-descriptor.ts'
import { printableLines } from './printable.ts'

// A batch of this size is written at once: the capacity of a pipe on Linux.
const GATHER_BYTES = 64 * 1024
// The longest delay of a line. Ten writes in a second cost almost nothing.
const GATHER_MILLISECONDS = 100
// A stalled reader must not fill memory. 16 MiB are about 50,000 lines, more than a busy server writes in a minute.
const PENDING_BYTES = 16 * 1024 * 1024
/**
 * The time between two attempts to write to a stalled reader, ms: initial and maximum. A reader may stall for hours.
 */
const RETRY = { first: 10, most: 250 }
/** The total time that an exiting process waits for a stalled reader, ms. */
const EXIT_PATIENCE_MILLISECONDS = 500
// The most bytes that a write to a pipe writes without mixing them with bytes of other processes (POSIX.1 PIPE_BUF: at
// least 512; Linux, pipe(7): 4096).
const PIPE_BUF = process.platform === 'linux' ? 4096 : 512

/** Options of `LogOutput`. */
export interface LogOutputOptions {
  /** Code units that may be buffered. Further lines are dropped, and one line reports how many. Default: 16 Mi. */
  readonly limit?: number | undefined
  /**
   * Other processes write to the pipe too: write pieces that are so small that the pipe does not mix lines, unless a
   * single line is longer.
   */
  readonly shared?: boolean | undefined
  /** Write each line at once instead of batching, for few lines of which each may be the last. */
  readonly immediate?: boolean | undefined
  /** Escape invisible and control characters (`printable.ts`). */
  readonly printable?: boolean | undefined
  /** Returns the line, without its newline, that reports how many were lost. */
  readonly lost?: ((count: number) => string) | undefined
  /**
   * Called once, when the first line is lost. The log may never be writable again, so it may not report lost lines.
   *
   * @param error the error of the write; undefined if the buffer is full, since the reader does not read
   */
  readonly onLoss?: ((error: unknown) => void) | undefined
}

const NEWLINE = 0x0a
const NOTHING = Buffer.alloc(0)

function lostLine(dropped: number): string {
  return JSON.stringify({
    level: 'warn',
    time: Date.now(),
    dropped,
    msg: `${dropped} log lines were lost: the log could not be written, or its reader did not read it`,
  })
}

/** Writes log lines to one descriptor. */
export class LogOutput {
  readonly #target: LogDescriptor
  readonly #limit: number
  readonly #piece: number
  readonly #immediate: boolean
  readonly #printable: boolean
  readonly #lost: (count: number) => string
  #onLoss: ((error: unknown) => void) | undefined
  #text = ''
  /** The lines that are being written. The first line may be written in part. */
  #batch: Buffer = NOTHING
  /** The number of lost lines that the last line of `batch` reports. */
  #reported = 0
  #dropped = 0
  /** A line was written in part, and its rest was lost. */
  #torn = false
  /** `batch` begins with the newline that ends a torn line. */
  #endsTornLine = false
  /** A write that waits for a disk is in progress. */
  #writing = false
  #closed = false
  #gathering: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  #retries = 0
  /** The rest of `EXIT_PATIENCE_MILLISECONDS`. */
  #patience = EXIT_PATIENCE_MILLISECONDS
  #idle: (() => void)[] = []

  constructor(
    descriptor: number,
    {
      limit = PENDING_BYTES,
      shared = false,
      immediate = false,
      printable = false,
      lost = lostLine,
      onLoss,
    }: LogOutputOptions = {},
  ) {
    this.#target = logDescriptor(descriptor)
    this.#limit = limit
    this.#piece = shared ? PIPE_BUF : Number.POSITIVE_INFINITY
    this.#immediate = immediate
    this.#printable = printable
    this.#lost = lost
    this.#onLoss = onLoss
  }

  /**
   * The number of lines that are buffered or lost and not yet reported by a line of the log. Does not count a write to
   * a disk that is in progress.
   */
  get unwritten(): number {
    return this.#dropped + this.#linesInBatch + linesIn(this.#text)
  }

  /** Accepts a line with its newline, as pino passes it. */
  write(line: string): void {
    if (this.#text.length + this.#batch.length + line.length > this.#limit) {
      this.#drop(linesIn(line), undefined)
      return
    }
    this.#text += line
    if (this.#closed) this.flushSync()
    else if (this.#immediate || this.#text.length >= GATHER_BYTES) this.#flush()
    else this.#gathering ??= setTimeout(() => this.#flush(), GATHER_MILLISECONDS).unref()
  }

  /** Resolves once all lines so far are written or lost. Later lines are written at once. */
  async close(): Promise<void> {
    this.#closed = true
    this.#flush()
    if (!this.#isEmpty) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /**
   * Writes the buffered lines of a process that is about to exit. Waits for a stalled reader for half a second in all.
   */
  flushSync(): void {
    while (this.#fill()) {
      const error = this.#writeSync()
      if (error === undefined) continue
      if (!isTemporary(error)) this.#lose(error)
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
      if (isTemporary(error)) {
        this.#later()
        return
      }
      this.#lose(error)
    }
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** Fills the batch. Returns whether there is something to write. */
  #fill(): boolean {
    if (this.#batch.length > 0) return true
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    if (this.#text === '') return false
    // A torn line gets its newline first, so that the next line is complete.
    this.#endsTornLine = this.#torn
    const lines = this.#printable ? printableLines(this.#text) : this.#text
    let text = this.#torn ? `\n${lines}` : lines
    this.#reported = this.#dropped
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
      else if (isTemporary(error)) return this.#later()
      else this.#lose(error)
      this.#flush()
    })
  }

  /** The number of bytes to write at once: as many whole lines as fit, or one longer line. */
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
      this.#endsTornLine = false
    }
    this.#batch = this.#batch.subarray(bytes)
    if (this.#batch.length === 0) this.#reported = 0
  }

  /**
   * Drops the batch, which cannot be written (EPIPE: the reader has closed the pipe; ENOSPC; EIO). The failure cannot
   * be logged now, and must not end the process.
   */
  #lose(error: unknown): void {
    const lines = this.#linesInBatch
    this.#reported = 0
    this.#batch = NOTHING
    this.#drop(lines, error)
  }

  #drop(lines: number, error: unknown): void {
    if (lines === 0) return
    this.#dropped += lines
    const onLoss = this.#onLoss
    this.#onLoss = undefined
    onLoss?.(error)
  }

  /** The number of lines in the batch. A last line that reports lost lines counts as those lines. */
  get #linesInBatch(): number {
    if (this.#batch.length === 0) return 0
    // While the first piece of a batch is being written, `batch` is the rest.
    const lines = linesIn(this.#batch.toString('latin1')) - (this.#endsTornLine && !this.#writing ? 1 : 0)
    return this.#reported > 0 ? lines - 1 + this.#reported : lines
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

/** Whether a later write may succeed: the pipe, socket or terminal is full. Any other error is permanent. */
function isTemporary(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EAGAIN'
}
