/**
 * Streams that wait for the next write. Nothing is written while a peer does not read, and its requests can come and go all the time: those
 * that are over are taken out, so that a list is never longer than twice the streams that are open.
 */

import type { Stream } from './stream.ts'

/** Not worth a look at which of them are over. */
const FEW = 64

export class StreamList {
  streams: Stream[] = []
  /** The length at which those that are over are taken out. */
  #most = FEW

  get length(): number {
    return this.streams.length
  }

  /** Not while `streams` is walked. */
  push(stream: Stream): void {
    const { streams } = this
    if (streams.length >= this.#most) {
      let kept = 0
      for (const one of streams) if (!one.closed) streams[kept++] = one
      streams.length = kept
      this.#most = Math.max(FEW, 2 * kept)
    }
    streams.push(stream)
  }

  clear(): void {
    this.streams = []
  }
}
