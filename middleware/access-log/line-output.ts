/**
 * Writes lines to a stream or a function: at most one call per event-loop iteration, with all its lines. A call for
 * each line would cost more than many requests. Knows nothing about the content of lines.
 */

import { printableLines } from '../../protocol/log/printable.ts'
import { standardError, writeToStderr } from '../../protocol/log/stderr-log.ts'

/** The destination of lines: a function, or a stream such as `process.stdout`. */
export type LineTarget = ((lines: string) => void) | LineStream

/** The part of a writable stream that is used. */
export interface LineStream {
  write(lines: string): unknown
  /** Bytes that wait to be written, if the stream knows. */
  readonly writableLength?: number
  on?(event: 'error', listener: (error: Error) => void): unknown
}

/** Limit of waiting bytes: beyond it lines are dropped and counted, so that a stalled reader cannot fill memory. */
const PENDING_BYTES = 16 * 1024 * 1024

export function isLineTarget(target: unknown): target is LineTarget {
  return typeof target === 'function' || typeof (target as LineStream | null | undefined)?.write === 'function'
}

/** Streams that have our error listener: several outputs may share a stream. */
const listenedTo: WeakSet<LineStream> = new WeakSet()

/** Adds an error listener: without one, a failing stream (a full disk, a closed pipe) ends the process. */
function listenForErrors(stream: LineStream): void {
  if (typeof stream.on !== 'function' || listenedTo.has(stream)) return
  listenedTo.add(stream)
  let isReported = false
  stream.on('error', (error) => {
    if (isReported) return
    isReported = true
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
      listenForErrors(target)
    } else throw new TypeError(`expected a function or a stream with write(), got ${typeof target}`)
    if (flushesAtExit) return
    flushesAtExit = true
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
