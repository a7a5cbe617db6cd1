/**
 * Copies small chunks together while their reader is behind. Otherwise a peer that sends its window byte by byte would
 * cost a hundred times its window in objects. A reader that is not behind gets each chunk at once and unchanged.
 */

/** Chunks below this size are copied together, bytes. */
const SMALL = 1024
const BUFFER = 4096

export class ChunkCoalescer {
  #buffer: Buffer | undefined
  #length = 0

  get empty(): boolean {
    return this.#length === 0
  }

  /** Adds a chunk. @returns chunks to pass on now, oldest first, if the buffer is full; otherwise undefined */
  add(chunk: Uint8Array): Uint8Array[] | undefined {
    if (chunk.length >= SMALL) return this.#length === 0 ? [chunk] : [this.take(), chunk]
    let full: Uint8Array[] | undefined
    if (this.#length + chunk.length > BUFFER) full = [this.take()]
    this.#buffer ??= Buffer.allocUnsafeSlow(BUFFER)
    this.#buffer.set(chunk, this.#length)
    this.#length += chunk.length
    return full
  }

  /** Returns the buffered bytes as one chunk. */
  take(): Uint8Array {
    const taken = this.#buffer!.subarray(0, this.#length)
    this.#buffer = undefined
    this.#length = 0
    return taken
  }
}
