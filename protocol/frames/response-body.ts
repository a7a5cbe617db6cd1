/**
 * A response's body as it comes over a link: an async iterable under credit. It ends only when the peer said so;
 * anything else throws, so that what was cut never looks whole. Does not know frames; `Call` fills it.
 */

import { AbortError } from '../contract/errors.ts'
import { Gatherer } from './codec/gatherer.ts'

/** What the body tells the one who fills it. */
export interface BodySource {
  /** The reader took so many bytes. */
  consumed(bytes: number): void
  /** The reader goes, and did not take all. */
  unwanted(): void
}

const DONE: IteratorResult<Uint8Array> = { done: true, value: undefined }

interface Waiter {
  resolve(result: IteratorResult<Uint8Array>): void
  reject(error: Error): void
}

export class ResponseBody implements AsyncIterableIterator<Uint8Array> {
  readonly #source: BodySource
  #chunks: Uint8Array[] = []
  readonly #small: Gatherer = new Gatherer()
  #ended = false
  #failure: Error | undefined
  #waiters: Waiter[] = []

  constructor(source: BodySource) {
    this.#source = source
  }

  // ---- the call's side -------------------------------------------------------------------------------------------

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

  /** Pending and later reads reject; what was not read is let go. Without effect once the end has come. */
  fail(error: Error): void {
    if (this.#ended || this.#failure) return
    this.#failure = error
    this.#chunks = []
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
  }

  // ---- the reader's side -----------------------------------------------------------------------------------------

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

  /** The reader is done with it. The peer is told in the same tick if it was not at its end. */
  close(): void {
    this.#chunks = []
    if (!this.#small.empty) this.#small.take()
    if (this.#ended || this.#failure) return
    this.#ended = true
    this.#source.unwanted()
    // A read that waits must not take this for the body's end.
    const error = new AbortError('CLIENT_GONE', 'the response was closed during a read')
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
