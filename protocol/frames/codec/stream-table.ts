/**
 * The open streams of a link, by number: a hash table whose buckets are lists through the streams themselves.
 *
 * Not a Map: a Map that is added to and deleted from all the time is rebuilt every so often, each old table points to the next and
 * to the streams it held, and once one of them is in V8's old space all that follow are kept alive, their requests with them,
 * until a full collection (measured: scavenges of 20 ms that free a third, instead of 1 ms that free all).
 */

import type { FrameStream } from './stream.ts'

const FEWEST = 64

// A performance trick: docs/performance-tricks.md has its gain, and the command that shows it.
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

  /** Its number must not be in the table. */
  add(stream: FrameStream): void {
    if (this.#size === this.#buckets.length) this.#grow()
    this.#insert(stream)
    this.#size++
  }

  /** Without effect when it is not there. */
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

  /** All of them, by number. */
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
