/**
 * Streams that wait for the next write. While a peer does not read, nothing is written, but requests are still added
 * and aborted. Closed streams are removed as the list grows, so that the list is at most twice as long as the number of
 * open streams.
 */

import type { FrameStream } from './stream.ts'

/** Shorter lists are not compacted. */
const FEW = 64

export class WriteQueue {
  streams: FrameStream[] = []
  /** The length at which closed streams are removed. */
  #most = FEW

  get length(): number {
    return this.streams.length
  }

  /** Must not be called while `streams` is being iterated. */
  push(stream: FrameStream): void {
    const { streams } = this
    if (streams.length >= this.#most) {
      let kept = 0
      for (const waiting of streams) if (!waiting.closed) streams[kept++] = waiting
      streams.length = kept
      this.#most = Math.max(FEW, 2 * kept)
    }
    streams.push(stream)
  }

  clear(): void {
    this.streams = []
  }
}
