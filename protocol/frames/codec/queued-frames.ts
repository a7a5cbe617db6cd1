/**
 * Frames that are queued while the socket is full: REQUESTs that can still be removed, one WINDOW per open stream and
 * one RESET per closed stream. They are kept as state and not as bytes, so that the number of streams bounds the queue,
 * however long a peer does not read.
 */

import { HEADER } from './constants.ts'
import type { FrameStream } from './stream.ts'

interface QueuedReset {
  readonly code: number
  readonly text: Uint8Array
}

const WINDOW_BYTES = HEADER + 4
const RESET_BYTES = HEADER + 1

export class QueuedFrames {
  readonly #requests: Map<FrameStream, Uint8Array> = new Map()
  readonly #windows: Map<FrameStream, number> = new Map()
  readonly #resets: Map<number, QueuedReset> = new Map()
  #bytes = 0

  get size(): number {
    return this.#requests.size + this.#windows.size + this.#resets.size
  }

  /** The size of the queued frames, bytes. */
  get bytes(): number {
    return this.#bytes
  }

  get resetCount(): number {
    return this.#resets.size
  }

  request(stream: FrameStream, frame: Uint8Array): void {
    this.#requests.set(stream, frame)
    this.#bytes += frame.length
  }

  /** Whether the stream's REQUEST is still queued. */
  has(stream: FrameStream): boolean {
    return this.#requests.has(stream)
  }

  /** Queues a WINDOW, or adds to the WINDOW that is queued for the stream. */
  window(stream: FrameStream, credit: number): void {
    const before = this.#windows.get(stream)
    this.#windows.set(stream, (before ?? 0) + credit)
    if (before === undefined) this.#bytes += WINDOW_BYTES
  }

  reset(id: number, code: number, text: Uint8Array): void {
    this.#resets.set(id, { code, text })
    this.#bytes += RESET_BYTES + text.length
  }

  /** The peer has reset the same stream: removes our RESET. */
  removeReset(id: number): void {
    const reset = this.#resets.get(id)
    if (reset === undefined) return
    this.#resets.delete(id)
    this.#bytes -= RESET_BYTES + reset.text.length
  }

  /** The stream is closed: removes its REQUEST and its credit. */
  drop(stream: FrameStream): void {
    const frame = this.#requests.get(stream)
    if (frame !== undefined) {
      this.#requests.delete(stream)
      this.#bytes -= frame.length
    }
    if (this.#windows.delete(stream)) this.#bytes -= WINDOW_BYTES
  }

  clear(): void {
    if (this.size === 0) return
    this.#requests.clear()
    this.#windows.clear()
    this.#resets.clear()
    this.#bytes = 0
  }

  // ---- oldest first ----------------------------------------------------------------------------------------------

  requests(): Iterable<Uint8Array> {
    return this.#requests.values()
  }

  windows(): Iterable<[FrameStream, number]> {
    return this.#windows
  }

  resets(): Iterable<[number, QueuedReset]> {
    return this.#resets
  }
}
