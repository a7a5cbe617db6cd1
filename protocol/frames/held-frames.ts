/**
 * Frames that wait for a line that takes nothing: requests that can still be withdrawn, one WINDOW for each stream, one RESET for each
 * stream that is over. It is state, not bytes, so that a peer that does not read is owed no more than it has streams.
 */

import { HEADER } from './constants.ts'
import type { Stream } from './stream.ts'

export interface HeldReset {
  readonly code: number
  readonly text: Uint8Array
}

const WINDOW_BYTES = HEADER + 4
const RESET_BYTES = HEADER + 1

export class HeldFrames {
  readonly #requests: Map<Stream, Uint8Array> = new Map()
  readonly #windows: Map<Stream, number> = new Map()
  readonly #resets: Map<number, HeldReset> = new Map()
  #bytes = 0

  get size(): number {
    return this.#requests.size + this.#windows.size + this.#resets.size
  }

  /** What they will be on the line. */
  get bytes(): number {
    return this.#bytes
  }

  get resetCount(): number {
    return this.#resets.size
  }

  request(stream: Stream, frame: Uint8Array): void {
    this.#requests.set(stream, frame)
    this.#bytes += frame.length
  }

  /** Whether the stream's REQUEST is here. */
  has(stream: Stream): boolean {
    return this.#requests.has(stream)
  }

  /** Adds credit to what is owed already. */
  window(stream: Stream, credit: number): void {
    const before = this.#windows.get(stream)
    this.#windows.set(stream, (before ?? 0) + credit)
    if (before === undefined) this.#bytes += WINDOW_BYTES
  }

  reset(id: number, code: number, text: Uint8Array): void {
    this.#resets.set(id, { code, text })
    this.#bytes += RESET_BYTES + text.length
  }

  withdrawReset(id: number): void {
    const reset = this.#resets.get(id)
    if (reset === undefined) return
    this.#resets.delete(id)
    this.#bytes -= RESET_BYTES + reset.text.length
  }

  /** The stream is over: neither its REQUEST nor credit for it is of use. */
  drop(stream: Stream): void {
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

  windows(): Iterable<[Stream, number]> {
    return this.#windows
  }

  resets(): Iterable<[number, HeldReset]> {
    return this.#resets
  }
}
