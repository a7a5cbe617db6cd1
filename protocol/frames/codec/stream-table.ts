/** The open streams of a link, by number: a hash table whose buckets are linked lists of the streams themselves. */

import type { FrameStream } from './stream.ts'

const FEWEST = 64

/**
 * Not a Map: a busy Map is rebuilt often, and each old table points to the next table and to its streams. If one old
 * table is in V8's old space, all later streams and their requests stay alive until a full collection (measured:
 * scavenges of 20 ms that free a third, instead of 1 ms that free all). A performance trick:
 * docs/performance-tricks.md has its gain, and the command that shows it.
 */
export class StreamTable {
  #buckets: (FrameStream | undefined)[] = empty(FEWEST)
  #size = 0

  get size(): number {
    return this.#size
  }

  get(id: number): FrameStream | undefined {
    let stream = this.#buckets[id & (this.#buckets.length - 1)]
    while (stream !== undefined && stream.id !== id) stream = stream.next
    return stream
  }

  /** The stream's number must not be in the table. */
  add(stream: FrameStream): void {
    if (this.#size === this.#buckets.length) this.#grow()
    this.#insert(stream)
    this.#size++
  }

  /** No effect if the stream is not in the table. */
  delete(stream: FrameStream): void {
    const bucket = stream.id & (this.#buckets.length - 1)
    let before: FrameStream | undefined
    let at = this.#buckets[bucket]
    while (at !== undefined && at !== stream) {
      before = at
      at = at.next
    }
    if (at === undefined) return
    if (before === undefined) this.#buckets[bucket] = stream.next
    else before.next = stream.next
    stream.next = undefined
    this.#size--
  }

  /** All streams, sorted by number. */
  values(): FrameStream[] {
    const streams: FrameStream[] = []
    for (const first of this.#buckets) {
      for (let stream = first; stream !== undefined; stream = stream.next) streams.push(stream)
    }
    return streams.sort((a, b) => a.id - b.id)
  }

  #insert(stream: FrameStream): void {
    const bucket = stream.id & (this.#buckets.length - 1)
    stream.next = this.#buckets[bucket]
    this.#buckets[bucket] = stream
  }

  #grow(): void {
    const streams = this.values()
    this.#buckets = empty(2 * this.#buckets.length)
    for (const stream of streams) this.#insert(stream)
  }
}

function empty(length: number): (FrameStream | undefined)[] {
  return new Array<FrameStream | undefined>(length).fill(undefined)
}
