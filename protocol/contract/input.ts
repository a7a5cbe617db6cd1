/**
 * `wsgi.input`: what a gateway pushes in at one end, an application reads at the other, with flow control between them.
 *
 * It holds only what was pushed and not yet read, and tells its source of every byte that was taken, so that the
 * source can give credit (frames) or read on (sockets). It knows no wire and keeps no time: whoever pushes also
 * decides when a read has waited too long, and fails the input.
 */

import { isForwardedField } from '../client/forwarded-fields.ts'
import type { Headers, Input } from './application.ts'
import { brand } from './brand.ts'
import { localError } from './coded-errors.ts'

/** What stands behind an input: the gateway's side of one request. */
export interface InputSource {
  /** The application reads for the first time: the moment for 100 Continue or for the first credit. Called at most once. */
  wanted(): void
  /** The application took `bytes` bytes: room for as many more. */
  consumed(bytes: number): void
  /** Called when the application has read all bytes and waits for more. */
  starved?(): void
}

const EMPTY: Uint8Array = new Uint8Array(0)
/** What one `read1` without a size gives at the most: the same 64 KiB that sockets and frames deliver. */
const CHUNK = 64 * 1024
const LF = 0x0a

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

export class RequestInput implements Input {
  static {
    brand(RequestInput, 'RequestInput')
  }

  readonly #source: InputSource | null
  /** Chunks not yet read, oldest first; the first `#offset` bytes of the first are read already. */
  #chunks: Uint8Array[] = []
  #offset = 0
  #buffered = 0
  #ended: boolean
  #failure: Error | undefined
  #waiter: Waiter | undefined
  #more: { more(): void } | undefined
  #reading = false
  #asked = false
  #hungry = false
  #onArrival: (() => void) | undefined
  #trailers: string[] = []
  #trailersPromise:
    | { promise: Promise<Headers>; resolve(fields: Headers): void; reject(error: Error): void }
    | undefined

  /** @param source null for a request without a body: the input is at its end. */
  constructor(source: InputSource | null) {
    this.#source = source
    this.#ended = source === null
  }

  // ---- the gateway's side ----------------------------------------------------------------------------------------

  /** Whether the message has a body (RFC 9112 §6.3), which may be empty: the same at every moment. */
  get hasBody(): boolean {
    return this.#source !== null
  }

  /** Bytes that were pushed and not yet read. */
  get buffered(): number {
    return this.#buffered
  }

  /** Whether `end()` was called: all that the client sent is here or was read. */
  get ended(): boolean {
    return this.#ended
  }

  /** Whether the application has read all bytes and waits for more. */
  get hungry(): boolean {
    return this.#hungry
  }

  /** Calls back after each push, and after the end or a failure; undefined stops that. */
  onArrival(callback: (() => void) | undefined): void {
    this.#onArrival = callback
  }

  /** The request's trailer fields (flat), empty until the input has ended: `trailers` for who copies a body without promises. */
  get trailerFields(): readonly string[] {
    return this.#trailers
  }

  /** Adds bytes. They are kept, not copied. Ignored once the input failed. */
  push(chunk: Uint8Array): void {
    if (this.#ended) throw localError('INPUT_ENDED', 'push() was called after the end of the input')
    if (this.#failure || chunk.length === 0) return
    this.#chunks.push(chunk)
    this.#buffered += chunk.length
    this.#wake()
    this.#onArrival?.()
  }

  /** @param trailers flat: name, value, … */
  end(trailers: string[] = []): void {
    if (this.#ended || this.#failure) return
    this.#ended = true
    this.#trailers = trailers.length === 0 ? trailers : withoutForwarded(trailers)
    this.#trailersPromise?.resolve(pairs(this.#trailers))
    this.#wake()
    this.#onArrival?.()
  }

  /** Pending and later reads reject with `error`; what was not read is let go. The first failure stands; none after the whole was read. */
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

  // ---- the application's side ------------------------------------------------------------------------------------

  /** The request's trailer fields. They come after the body: read that first, or this waits for it. */
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
   * What is there already, at most `max` bytes and one chunk: null at the end, undefined when more must be waited for
   * (`read1` waits). Spares callers that copy a body a promise for each chunk.
   *
   * @throws what the input failed with
   */
  readNow(max: number): Uint8Array | null | undefined {
    if (this.#failure) throw this.#failure
    if (this.#buffered > 0) return this.#take(max)
    if (this.#ended) return null
    if (!this.#asked) {
      this.#ask()
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
   * As `readNow`, for a caller that reads on behalf of nobody yet: the client is not asked for a body that it holds back (100 Continue),
   * and a failure is left for the first read. Where it gives undefined, `reader.more` is called once when there is more.
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

  /** The body's chunks as they come. Leaving the loop early leaves the rest to be read. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: async () => {
        const value = await this.read1()
        return value.length === 0 ? { done: true, value: undefined } : { done: false, value }
      },
    }
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  #begin(): void {
    if (this.#reading) {
      throw localError('INPUT_BUSY', 'wsgi.input was read while another read was pending; await each read')
    }
    this.#reading = true
  }

  /** At least one byte, or none at the end. */
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

  /** @param ahead nobody reads yet */
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
    if (!ahead) this.#ask()
    this.#source?.consumed(part.length)
    return part
  }

  #ask(): void {
    if (this.#asked) return
    this.#asked = true
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

/** A flat list as pairs. */
export function pairs(flat: readonly string[]): Headers {
  const fields: Headers = []
  for (let at = 0; at < flat.length; at += 2) fields.push([flat[at]!, flat[at + 1]!])
  return fields
}

/** Removes forwarded fields from trailers: they arrive after `resolve-client.ts` has decided about the client. */
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
  if (!Number.isInteger(size)) throw new TypeError(`a size is a whole number of bytes, got ${String(size)}`)
}
