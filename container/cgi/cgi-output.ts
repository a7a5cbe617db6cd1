/**
 * Reads a program's pipes: its output chunk by chunk with a timeout, and its errors as bounded log lines. Knows neither
 * processes nor CGI.
 */

import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import type { Clock } from '../../protocol/net/clock.ts'

/** Reads a stream only on request: other data stays in the pipe, so that its writer waits. */
export class ChunkReader {
  readonly #stream: Readable
  readonly #clock: Clock
  #over = false
  #error: Error | undefined
  #wake: (() => void) | undefined

  constructor(stream: Readable, clock: Clock) {
    this.#stream = stream
    this.#clock = clock
    const wake = (): void => this.#wake?.()
    const over = (error?: Error): void => {
      this.#over = true
      if (error instanceof Error) this.#error ??= error
      wake()
    }
    stream.on('readable', wake)
    stream.on('end', () => over())
    stream.on('error', over)
    stream.on('close', () => over())
  }

  /**
   * Returns the next chunk, or null at the end.
   *
   * @param timeout after this time without activity the call rejects with the error of `timedOut`, ms
   * @param lastActivity the time of the last other activity of the program, on the clock's `now()`
   * @param signal if it aborts, the call rejects with its reason
   */
  async next(
    timeout: number,
    lastActivity: () => number,
    timedOut: () => Error,
    signal: AbortSignal,
  ): Promise<Buffer | null> {
    signal.throwIfAborted()
    const now = this.#take()
    if (now !== undefined) return now
    const began = this.#clock.now()
    const { promise, resolve, reject } = Promise.withResolvers<Buffer | null>()
    this.#wake = () => {
      try {
        const chunk = this.#take()
        if (chunk !== undefined) resolve(chunk)
      } catch (error) {
        reject(error)
      }
    }
    const expire = (): void => {
      const left = timeout - (this.#clock.now() - Math.max(began, lastActivity()))
      if (left > 0) timer = this.#clock.after(left, expire)
      else reject(timedOut())
    }
    let timer = this.#clock.after(timeout, expire)
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      return await promise
    } finally {
      this.#wake = undefined
      timer.cancel()
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Whether the stream has ended and was read to its end. */
  get over(): boolean {
    return this.#over && this.#stream.readableLength === 0
  }

  /** Reads and drops the rest, so that the writer does not wait. */
  discard(): void {
    this.#stream.removeAllListeners('readable')
    this.#stream.resume()
  }

  #take(): Buffer | null | undefined {
    const chunk: Buffer | null = this.#stream.read()
    if (chunk !== null) return chunk
    if (!this.#over) return undefined
    if (this.#error) throw this.#error
    return null
  }
}

/** A line without an end is passed on in pieces of this many characters. */
const LINE_MAX = 8 * 1024

/**
 * Passes on the lines of a stream, up to `limit` bytes. The rest is read and dropped, so that the writer does not wait.
 *
 * @returns a promise that resolves when the stream has ended
 */
export async function forwardLines(stream: Readable, limit: number, onLine: (line: string) => void): Promise<void> {
  const decoder = new StringDecoder('utf8')
  let partial = ''
  let left = limit
  const { promise, resolve } = Promise.withResolvers<void>()
  stream.on('data', (chunk: Buffer) => {
    if (left <= 0) return
    const lines = `${partial}${decoder.write(chunk.subarray(0, left))}`.split('\n')
    left -= chunk.length
    partial = lines.pop()!
    for (const line of lines) onLine(line)
    for (; partial.length > LINE_MAX; partial = partial.slice(LINE_MAX)) onLine(partial.slice(0, LINE_MAX))
    if (left > 0) return
    if (partial !== '') onLine(partial)
    partial = ''
    onLine(`(more than ${limit} bytes; the rest is dropped)`)
  })
  stream.on('error', () => resolve())
  stream.on('close', () => resolve())
  await promise
  if (partial !== '') onLine(partial)
}
