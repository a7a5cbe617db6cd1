/**
 * A response body that arrives over a link: an async iterable under credit. It ends only after the peer's END; anything
 * else throws, so that a truncated body never looks complete. It knows no frames; `FrameCall` fills it.
 */

import { AbortError } from '../contract/errors.ts'
import { ChunkCoalescer } from './codec/chunk-coalescer.ts'

/** The side that fills the body. */
export interface ResponseBodySource {
  /** The reader took `bytes` bytes. */
  consumed(bytes: number): void
  /** The reader stopped before the end. */
  cancelled(): void
}

const DONE: IteratorResult<Uint8Array> = { done: true, value: undefined }

interface PendingNext {
  resolve(result: IteratorResult<Uint8Array>): void
  reject(error: Error): void
}

export class ResponseBody implements AsyncIterableIterator<Uint8Array> {
  readonly #source: ResponseBodySource
  #chunks: Uint8Array[] = []
  readonly #small: ChunkCoalescer = new ChunkCoalescer()
  #ended = false
  #failure: Error | undefined
  #waiters: PendingNext[] = []

  constructor(source: ResponseBodySource) {
    this.#source = source
  }

  // ---- for the call -------------------------------------------------------------------------------------------

  push(chunk: Uint8Array): void {
    if (chunk.length === 0 || this.#failure) return
    const waiter = this.#waiters.shift()
    if (waiter) {
      waiter.resolve({ done: false, value: chunk })
      this.#source.consumed(chunk.length)
    } else if (this.#chunks.length === 0 && this.#small.empty) this.#chunks.push(chunk)
    else {
      const chunks = this.#small.add(chunk)
      if (chunks) this.#chunks.push(...chunks)
    }
  }

  end(): void {
    this.#ended = true
    for (const waiter of this.#waiters.splice(0)) waiter.resolve(DONE)
  }

  /** Pending and later reads reject, and unread chunks are dropped. No effect after the end. */
  fail(error: Error): void {
    if (this.#ended || this.#failure) return
    this.#failure = error
    this.#chunks = []
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
  }

  // ---- for the reader -----------------------------------------------------------------------------------------

  next(): Promise<IteratorResult<Uint8Array>> {
    if (this.#failure) return Promise.reject(this.#failure)
    let chunk = this.#chunks.shift()
    if (chunk === undefined && !this.#small.empty) chunk = this.#small.take()
    if (chunk !== undefined) {
      this.#source.consumed(chunk.length)
      return Promise.resolve({ done: false, value: chunk })
    }
    if (this.#ended) return Promise.resolve(DONE)
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
    })
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    this.close()
    return Promise.resolve(DONE)
  }

  /** The reader stops. If the body had not ended, the stream is aborted in the same tick. */
  close(): void {
    this.#chunks = []
    if (!this.#small.empty) this.#small.take()
    if (this.#ended || this.#failure) return
    this.#ended = true
    this.#source.cancelled()
    // A pending read must not take this for the end of the body.
    const error = new AbortError('CLIENT_GONE', 'the response was closed during a read')
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
