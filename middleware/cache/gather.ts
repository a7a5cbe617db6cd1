/**
 * A body as it comes in to be stored: copied into one piece, within the store's account. Copied because a small chunk may hold a large
 * buffer of the application's in memory, and because it must be sure that nobody writes to it again.
 */

import type { Store } from './store.ts'

/** Where bodies of unknown length begin, bytes: most pages fit. It doubles from there. */
const FIRST = 16 * 1024

export class Gather {
  readonly #store: Pick<Store, 'reserve' | 'release'>
  readonly #max: number
  readonly #declared: number
  #bytes: Uint8Array
  #length = 0
  #reserved: number

  private constructor(store: Pick<Store, 'reserve' | 'release'>, max: number, declared: number, size: number) {
    this.#store = store
    this.#max = max
    this.#declared = declared
    this.#reserved = size
    this.#bytes = Buffer.allocUnsafeSlow(size)
  }

  /**
   * @param max bytes of a body
   * @param declared bytes of this one, -1 when that is not known
   * @returns undefined when there is no room for it
   */
  static begin(store: Pick<Store, 'reserve' | 'release'>, max: number, declared: number): Gather | undefined {
    if (declared > max) return undefined
    const size = declared === -1 ? Math.min(FIRST, max) : declared
    return store.reserve(size) ? new Gather(store, max, declared, size) : undefined
  }

  get length(): number {
    return this.#length
  }

  /** Whether its length is known, and room taken for the whole. */
  get certain(): boolean {
    return this.#declared !== -1
  }

  /** False when it does not fit; then it is as it was. */
  add(chunk: Uint8Array): boolean {
    const needed = this.#length + chunk.length
    if (needed > this.#bytes.length && !this.#grow(needed)) return false
    this.#bytes.set(chunk, this.#length)
    this.#length = needed
    return true
  }

  /** What has come from `position` on. It stays as it is. */
  from(position: number): Uint8Array {
    return this.#bytes.subarray(position, this.#length)
  }

  /** The whole, no larger than it must be; its account is closed. */
  finish(): Uint8Array {
    this.drop()
    return this.#length === this.#bytes.length ? this.#bytes : new Uint8Array(this.from(0))
  }

  /** Closes its account. What has come can still be read. */
  drop(): void {
    this.#store.release(this.#reserved)
    this.#reserved = 0
  }

  #grow(needed: number): boolean {
    if (needed > this.#max || this.#declared !== -1) return false
    const size = Math.min(this.#max, Math.max(needed, this.#bytes.length * 2))
    if (!this.#store.reserve(size - this.#reserved)) return false
    this.#reserved = size
    const larger = Buffer.allocUnsafeSlow(size)
    larger.set(this.from(0))
    this.#bytes = larger
    return true
  }
}
