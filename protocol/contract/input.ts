/**
 * `wsgi.input`: a gateway pushes the body of the request, and the application reads it. The source learns of every byte
 * read, so that it can grant credit (frames) or read more (sockets). The gateway owns the timeouts.
 */

import { isForwardedField } from '../client/forwarded-fields.ts'
import type { Headers, Input } from './application.ts'
import { brand } from './brand.ts'
import { localError } from './coded-errors.ts'

/** The gateway's side of an input: it is informed of what the application reads. */
export interface InputSource {
  /**
   * Called at most once, when the application reads for the first time: send 100 Continue or the first credit now.
   */
  wanted(): void
  /** Called when the application has read `bytes` bytes: there is room for as many more. */
  consumed(bytes: number): void
  /** Called when the application has read all bytes and waits for more. */
  starved?(): void
}

const EMPTY: Uint8Array = new Uint8Array(0)
/** The most bytes that `read1` without a size returns: 64 KiB, as much as a read of a socket or a frame. */
const CHUNK = 64 * 1024
const LF = 0x0a

interface PendingRead {
  resolve(): void
  reject(error: Error): void
}

/** The implementation of `wsgi.input`. A gateway calls `push`, then `end` or `fail`. */
export class RequestInput implements Input {
  static {
    brand(RequestInput, 'RequestInput')
  }

  readonly #source: InputSource | null
  /** Chunks that were not read, oldest first. The first `#offset` bytes of the first chunk were read. */
  #chunks: Uint8Array[] = []
  #offset = 0
  #buffered = 0
  #ended: boolean
  #failure: Error | undefined
  #waiter: PendingRead | undefined
  #more: { more(): void } | undefined
  #reading = false
  #requested = false
  #hungry = false
  #onArrival: (() => void) | undefined
  #trailers: string[] = []
  #trailersPromise:
    | { promise: Promise<Headers>; resolve(fields: Headers): void; reject(error: Error): void }
    | undefined

  /** @param source null if the request has no body: the input is then at its end */
  constructor(source: InputSource | null) {
    this.#source = source
    this.#ended = source === null
  }

  // ---- for the gateway -------------------------------------------------------------------------------------------

  /** Whether the request has a body (RFC 9112 §6.3), which may be empty. The value never changes. */
  get hasBody(): boolean {
    return this.#source !== null
  }

  /** Bytes that were pushed and not read. */
  get buffered(): number {
    return this.#buffered
  }

  /** Whether `end()` was called: the whole body has arrived. */
  get ended(): boolean {
    return this.#ended
  }

  /** Whether the application has read all bytes and waits for more. */
  get hungry(): boolean {
    return this.#hungry
  }

  /** Sets a callback for each push, the end and a failure; undefined removes it. */
  onArrival(callback: (() => void) | undefined): void {
    this.#onArrival = callback
  }

  /**
   * The trailer fields as a flat list, for code that copies a body without promises. Empty until the input has ended.
   */
  get trailerFields(): readonly string[] {
    return this.#trailers
  }

  /** Adds bytes without copying them. Does nothing if the input has failed. */
  push(chunk: Uint8Array): void {
    if (this.#ended) throw localError('INPUT_ENDED', 'push() was called after the end of the input')
    if (this.#failure || chunk.length === 0) return
    this.#chunks.push(chunk)
    this.#buffered += chunk.length
    this.#wake()
    this.#onArrival?.()
  }

  /** Ends the input. @param trailers a flat list: name, value, … */
  end(trailers: string[] = []): void {
    if (this.#ended || this.#failure) return
    this.#ended = true
    this.#trailers = trailers.length === 0 ? trailers : withoutForwarded(trailers)
    this.#trailersPromise?.resolve(pairs(this.#trailers))
    this.#wake()
    this.#onArrival?.()
  }

  /**
   * Makes pending and later reads reject with `error`, and drops the unread bytes. Does nothing if the input has failed
   * before, or if all of it was read.
   */
  fail(error: Error): void {
    if (this.#failure || (this.#ended && this.#buffered === 0)) return
    this.#failure = error
    this.#hungry = false
    this.#chunks = []
    this.#offset = 0
    this.#buffered = 0
    if (!this.#ended) this.#trailersPromise?.reject(error)
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.reject(error)
    this.#onArrival?.()
  }

  // ---- for the application ---------------------------------------------------------------------------------------

  /** The trailer fields of the request. They follow the body: the promise is pending until the body was read. */
  get trailers(): Promise<Headers> {
    if (!this.#trailersPromise) {
      this.#trailersPromise = Promise.withResolvers<Headers>()
      this.#trailersPromise.promise.catch(() => {})
      if (this.#ended) this.#trailersPromise.resolve(pairs(this.#trailers))
      else if (this.#failure) this.#trailersPromise.reject(this.#failure)
    }
    return this.#trailersPromise.promise
  }

  /**
   * Returns buffered bytes without a promise: at most `max` bytes of one chunk, null at the end, undefined if nothing
   * is buffered (then `read1` waits). Code that copies a body saves a promise for each chunk.
   *
   * @throws the error with which the input failed
   */
  readNow(max: number): Uint8Array | null | undefined {
    if (this.#failure) throw this.#failure
    if (this.#buffered > 0) return this.#take(max)
    if (this.#ended) return null
    if (!this.#requested) {
      this.#requestFirst()
      if (this.#failure) throw this.#failure
      if (this.#buffered > 0) return this.#take(max)
      if (this.#ended) return null
    }
    if (!this.#hungry) {
      this.#hungry = true
      this.#source?.starved?.()
    }
    return undefined
  }

  /**
   * As `readNow`, before the application reads: the client is not asked for a body that it holds back (100 Continue),
   * and a failure is kept for the first read. If it returns undefined, `reader.more` is called once when more arrives.
   */
  readAhead(max: number, reader: { more(): void }): Uint8Array | null | undefined {
    if (this.#failure) return undefined
    if (this.#buffered > 0) return this.#take(max, true)
    if (this.#ended) return null
    this.#more = reader
    return undefined
  }

  async read1(size: number = CHUNK): Promise<Uint8Array> {
    checkSize(size)
    if (size === 0) return EMPTY
    this.#begin()
    try {
      return await this.#some(size < 0 ? CHUNK : size)
    } finally {
      this.#reading = false
    }
  }

  async read(size: number = -1): Promise<Uint8Array> {
    checkSize(size)
    if (size === 0) return EMPTY
    this.#begin()
    try {
      const parts: Uint8Array[] = []
      let missing = size < 0 ? Number.POSITIVE_INFINITY : size
      while (missing > 0) {
        const part = await this.#some(missing)
        if (part.length === 0) break
        parts.push(part)
        missing -= part.length
      }
      return join(parts)
    } finally {
      this.#reading = false
    }
  }

  async readline(size: number = -1): Promise<Uint8Array> {
    checkSize(size)
    if (size === 0) return EMPTY
    this.#begin()
    try {
      return await this.#line(size < 0 ? Number.POSITIVE_INFINITY : size)
    } finally {
      this.#reading = false
    }
  }

  async readlines(hint: number = -1): Promise<Uint8Array[]> {
    checkSize(hint)
    this.#begin()
    try {
      const lines: Uint8Array[] = []
      let total = 0
      while (hint <= 0 || total < hint) {
        const line = await this.#line(Number.POSITIVE_INFINITY)
        if (line.length === 0) break
        lines.push(line)
        total += line.length
      }
      return lines
    } finally {
      this.#reading = false
    }
  }

  /** Yields the chunks of the body as they arrive. After the loop was left early, the rest can still be read. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: async () => {
        const value = await this.read1()
        return value.length === 0 ? { done: true, value: undefined } : { done: false, value }
      },
    }
  }

  // ---- internals -------------------------------------------------------------------------------------------------

  #begin(): void {
    if (this.#reading) {
      throw localError('INPUT_BUSY', 'wsgi.input is already being read: await one read before the next')
    }
    this.#reading = true
  }

  /** Waits for at least one byte; returns an empty array at the end. */
  async #some(max: number): Promise<Uint8Array> {
    for (;;) {
      const chunk = this.readNow(max)
      if (chunk === null) return EMPTY
      if (chunk !== undefined) return chunk
      await new Promise<void>((resolve, reject) => {
        this.#waiter = { resolve, reject }
      })
    }
  }

  async #line(max: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = []
    let missing = max
    while (missing > 0) {
      if (this.#buffered === 0) {
        const first = await this.#some(1)
        if (first.length === 0) break
        parts.push(first)
        missing -= 1
        if (first[0] === LF) break
        continue
      }
      const chunk = this.#chunks[0]!
      const at = chunk.indexOf(LF, this.#offset)
      const whole = at !== -1 && at + 1 - this.#offset <= missing
      const part = this.#take(Math.min(missing, (at === -1 ? chunk.length : at + 1) - this.#offset))
      parts.push(part)
      missing -= part.length
      if (whole) break
    }
    return join(parts)
  }

  /** @param ahead the application does not read yet */
  #take(max: number, ahead: boolean = false): Uint8Array {
    const first = this.#chunks[0]!
    const available = first.length - this.#offset
    let part: Uint8Array
    if (available <= max) {
      part = this.#offset === 0 ? first : first.subarray(this.#offset)
      this.#chunks.shift()
      this.#offset = 0
    } else {
      part = first.subarray(this.#offset, this.#offset + max)
      this.#offset += max
    }
    this.#buffered -= part.length
    if (!ahead) this.#requestFirst()
    this.#source?.consumed(part.length)
    return part
  }

  #requestFirst(): void {
    if (this.#requested) return
    this.#requested = true
    this.#source?.wanted()
  }

  #wake(): void {
    this.#hungry = false
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.resolve()
    const more = this.#more
    this.#more = undefined
    more?.more()
  }
}

/** Turns a flat list (name, value, …) into pairs. */
export function pairs(flat: readonly string[]): Headers {
  const fields: Headers = []
  for (let at = 0; at < flat.length; at += 2) fields.push([flat[at]!, flat[at + 1]!])
  return fields
}

/** Removes forwarded fields from trailers: trailers arrive after `resolve-client.ts` has resolved the client. */
function withoutForwarded(trailers: string[]): string[] {
  const kept: string[] = []
  for (let at = 0; at < trailers.length; at += 2) {
    if (!isForwardedField(trailers[at]!)) kept.push(trailers[at]!, trailers[at + 1]!)
  }
  return kept
}

function join(parts: Uint8Array[]): Uint8Array {
  if (parts.length === 0) return EMPTY
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}

function checkSize(size: number): void {
  if (!Number.isInteger(size)) throw new TypeError(`the size of a read is ${String(size)}: expected an integer (bytes)`)
}
