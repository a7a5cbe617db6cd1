/**
 * Where lines go: a stream or a function, called at most once a turn of the loop, with all its lines. A write for each line would cost more
 * than many a request. It knows nothing of what a line says.
 */

import { printableLines } from '../protocol/printable.ts'
import { writeToStderr } from '../protocol/stderr-log.ts'

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

export class LineOutput {
  readonly #stream: LineStream
  #lines = ''
  #dropped = 0

  constructor(target: LineTarget) {
    if (typeof target === 'function') this.#stream = { write: target }
    else if (typeof target?.write === 'function') {
      this.#stream = target
      watch(target)
    } else throw new TypeError(`lines go to a function or a stream with write(), got ${typeof target}`)
  }

  /** Takes a line with its newline. */
  write(line: string): void {
    if (this.#lines === '') setImmediate(this.#flush)
    this.#lines += line
  }

  readonly #flush = (): void => {
    let lines = this.#lines
    this.#lines = ''
    if ((this.#stream.writableLength ?? 0) > PENDING_BYTES) {
      this.#dropped += lines.split('\n').length - 1
      return
    }
    if (this.#dropped > 0) {
      lines += `${JSON.stringify({ level: 'warn', dropped: this.#dropped, msg: 'log lines were dropped: the log is not being read' })}\n`
      this.#dropped = 0
    }
    try {
      this.#stream.write(printableLines(lines))
    } catch {
      // A destination that fails must not end the service that it logs of, and there is nobody to tell.
    }
  }
}
