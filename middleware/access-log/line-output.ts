/**
 * Where lines go: a stream or a function, called at most once a turn of the loop, with all its lines. A write for each line would cost more
 * than many a request. It knows nothing of what a line says.
 */

import { printableLines } from '../../protocol/log/printable.ts'
import { standardError, writeToStderr } from '../../protocol/log/stderr-log.ts'

/** What takes lines: a function, or a stream as `process.stdout` and those of node:fs. */
export type LineTarget = ((lines: string) => void) | LineStream

export interface LineStream {
  write(lines: string): unknown
  /** Bytes that wait to be written, where the stream knows. */
  readonly writableLength?: number
  on?(event: 'error', listener: (error: Error) => void): unknown
}

/** A reader that has stalled must not fill our memory: beyond this many bytes waiting, lines are dropped and counted. */
const PENDING_BYTES = 16 * 1024 * 1024

export function isLineTarget(target: unknown): target is LineTarget {
  return typeof target === 'function' || typeof (target as LineStream | null | undefined)?.write === 'function'
}

/** Streams that have an error listener: several outputs may share one stream. */
const watched: WeakSet<LineStream> = new WeakSet()

/** Without an error listener a stream that fails (a full disk, a pipe whose reader has closed it) ends the process. */
function watch(stream: LineStream): void {
  if (typeof stream.on !== 'function' || watched.has(stream)) return
  watched.add(stream)
  let said = false
  stream.on('error', (error) => {
    if (said) return
    said = true
    writeToStderr(`gantry: log lines cannot be written and are lost: ${error.message}\n`)
  })
}

/** Outputs with unwritten lines, or with lost lines that no line has reported yet. */
const unwritten: Set<LineOutput> = new Set()
let flushesAtExit = false

function flushAtExit(): void {
  for (const output of unwritten) output.flushAtExit()
  // The exit handler of standard error may have run already.
  standardError().flushSync()
}

export class LineOutput {
  readonly #stream: LineStream
  #lines = ''
  #dropped = 0
  /** Whether the loss of lines was reported on standard error. */
  #isLossReported = false

  constructor(target: LineTarget) {
    if (typeof target === 'function') this.#stream = { write: target }
    else if (typeof target?.write === 'function') {
      this.#stream = target
      watch(target)
    } else throw new TypeError(`lines go to a function or a stream with write(), got ${typeof target}`)
    if (flushesAtExit) return
    flushesAtExit = true
    // In library use too: the lines of the last event-loop iteration would be lost.
    process.on('exit', flushAtExit)
  }

  /** Takes a line with its newline. */
  write(line: string): void {
    if (this.#lines === '') {
      unwritten.add(this)
      setImmediate(this.#flush)
    }
    this.#lines += line
  }

  /** Writes the lines of the last event-loop iteration, and reports lost lines on standard error. */
  flushAtExit(): void {
    this.#flush()
    if (this.#dropped > 0) writeToStderr(`gantry: ${this.#dropped} log lines were lost\n`)
  }

  readonly #flush = (): void => {
    const lines = this.#lines
    if (lines === '') return
    this.#lines = ''
    if ((this.#stream.writableLength ?? 0) > PENDING_BYTES) {
      this.#drop(lines, 'the log is not being read')
      return
    }
    try {
      this.#stream.write(printableLines(this.#dropped === 0 ? lines : lines + droppedLine(this.#dropped)))
      this.#dropped = 0
      unwritten.delete(this)
    } catch (error) {
      // A destination that fails must not end the service.
      this.#drop(lines, error instanceof Error ? error.message : String(error))
    }
  }

  #drop(lines: string, reason: string): void {
    this.#dropped += lines.split('\n').length - 1
    if (this.#isLossReported) return
    this.#isLossReported = true
    // The log itself may never be written again.
    writeToStderr(`gantry: log lines are being lost: ${reason}\n`)
  }
}

function droppedLine(dropped: number): string {
  return `${JSON.stringify({ level: 'warn', dropped, msg: 'log lines were dropped: the log is not being read' })}\n`
}
