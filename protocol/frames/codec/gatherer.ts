/**
 * Puts small chunks together while their reader is behind: a peer that sends its window byte by byte must not cost a
 * hundred times its window in objects. Whoever reads as fast as it comes gets every chunk at once and unchanged.
 */

/** Chunks below this are copied together. */
const SMALL = 1024
const BUFFER = 4096

export class Gatherer {
  #buffer: Buffer | undefined
  #length = 0

  get empty(): boolean {
    return this.#length === 0
  }

  /** Takes a chunk. @returns chunks to give on first, oldest first, if it became too much; undefined: nothing yet */
  add(chunk: Uint8Array): Uint8Array[] | undefined {
    if (chunk.length >= SMALL) return this.#length === 0 ? [chunk] : [this.take(), chunk]
    let full: Uint8Array[] | undefined
    if (this.#length + chunk.length > BUFFER) full = [this.take()]
    this.#buffer ??= Buffer.allocUnsafeSlow(BUFFER)
    this.#buffer.set(chunk, this.#length)
    this.#length += chunk.length
    return full
  }

  /** What was gathered. */
  take(): Uint8Array {
    const taken = this.#buffer!.subarray(0, this.#length)
    this.#buffer = undefined
    this.#length = 0
    return taken
  }
}
