/**
 * Collects a body that is to be stored, in one buffer and within the byte limit of the store. Chunks are copied: a
 * small chunk may keep a large buffer of the application in memory, and the application may write to its buffer again.
 */

import type { Store } from './store.ts'

/** First buffer for a body of unknown length, bytes: most pages fit. The buffer doubles when it is full. */
const INITIAL_SIZE = 16 * 1024

export class BodyCollector {
  readonly #store: Pick<Store, 'reserve' | 'release'>
  readonly #maxSize: number
  readonly #declared: number
  #bytes: Uint8Array
  #length = 0
  #reserved: number

  private constructor(store: Pick<Store, 'reserve' | 'release'>, maxSize: number, declared: number, size: number) {
    this.#store = store
    this.#maxSize = maxSize
    this.#declared = declared
    this.#reserved = size
    this.#bytes = Buffer.allocUnsafeSlow(size)
  }

  /**
   * @param maxSize largest body, bytes
   * @param declared length of this body, bytes; -1 if it is unknown
   * @returns undefined if the store has no room for the body
   */
  static start(
    store: Pick<Store, 'reserve' | 'release'>,
    maxSize: number,
    declared: number,
  ): BodyCollector | undefined {
    if (declared > maxSize) return undefined
    const size = declared === -1 ? Math.min(INITIAL_SIZE, maxSize) : declared
    return store.reserve(size) ? new BodyCollector(store, maxSize, declared, size) : undefined
  }

  get length(): number {
    return this.#length
  }

  /** Whether the length is known, so that room for the whole body is reserved. */
  get hasKnownLength(): boolean {
    return this.#declared !== -1
  }

  /** Returns false, and changes nothing, if the chunk does not fit. */
  add(chunk: Uint8Array): boolean {
    const needed = this.#length + chunk.length
    if (needed > this.#bytes.length && !this.#grow(needed)) return false
    this.#bytes.set(chunk, this.#length)
    this.#length = needed
    return true
  }

  /** The bytes from `position` on. They never change. */
  from(position: number): Uint8Array {
    return this.#bytes.subarray(position, this.#length)
  }

  /** Releases the reservation and returns the whole body in a buffer of exactly its length. */
  finish(): Uint8Array {
    this.release()
    return this.#length === this.#bytes.length ? this.#bytes : new Uint8Array(this.from(0))
  }

  /** Releases the reservation in the store. The collected bytes can still be read. */
  release(): void {
    this.#store.release(this.#reserved)
    this.#reserved = 0
  }

  #grow(needed: number): boolean {
    if (needed > this.#maxSize || this.#declared !== -1) return false
    const size = Math.min(this.#maxSize, Math.max(needed, this.#bytes.length * 2))
    if (!this.#store.reserve(size - this.#reserved)) return false
    this.#reserved = size
    const larger = Buffer.allocUnsafeSlow(size)
    larger.set(this.from(0))
    this.#bytes = larger
    return true
  }
}
