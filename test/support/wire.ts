/**
 * Two ends of an in-memory connection that behaves like a socket: a limited number of bytes is accepted for a peer that
 * does not read, sent bytes can be read to their end after the sender has disconnected, and each end can stop reading
 * at any time, whichever side resumes its stream.
 */

import { Duplex } from 'node:stream'

/** Bytes that the system buffers for an end that does not read. */
const CAPACITY = 16 * 1024
/** Bytes of one read: not a multiple of any frame size, so that frames are split anywhere. */
const READ = 10_007

type Callback = (error?: Error | null) => void

export class WireEnd extends Duplex {
  #peer: WireEnd | undefined
  #inbox: Buffer[] = []
  #held = 0
  #ended = false
  #stalled = false
  #wants = false
  /** The write of its peer that waits for room here. */
  #written: Callback | undefined

  constructor() {
    super({ highWaterMark: CAPACITY })
  }

  static pair(): [WireEnd, WireEnd] {
    const ends: [WireEnd, WireEnd] = [new WireEnd(), new WireEnd()]
    ends[0].#peer = ends[1]
    ends[1].#peer = ends[0]
    return ends
  }

  /** This end reads nothing until `go` is called. */
  stall(): void {
    this.#stalled = true
  }

  go(): void {
    this.#stalled = false
    this.#pump()
  }

  override _read(): void {
    this.#wants = true
    this.#pump()
  }

  override _write(chunk: Buffer, _encoding: string, callback: Callback): void {
    this.#peer!.#take([chunk], callback)
  }

  override _writev(chunks: { chunk: Buffer }[], callback: Callback): void {
    this.#peer!.#take(
      chunks.map(({ chunk }) => chunk),
      callback,
    )
  }

  override _final(callback: Callback): void {
    this.#peer!.#end()
    callback()
  }

  override _destroy(error: Error | null, callback: Callback): void {
    this.#inbox = []
    this.#held = 0
    this.#room()
    this.#peer!.#end()
    callback(error)
  }

  #take(chunks: Buffer[], callback: Callback): void {
    if (!this.destroyed) {
      for (const chunk of chunks) {
        this.#inbox.push(chunk)
        this.#held += chunk.length
      }
      if (this.#held > CAPACITY) this.#written = callback
      setImmediate(() => this.#pump())
    }
    if (this.#written !== callback) callback()
  }

  #end(): void {
    this.#ended = true
    setImmediate(() => this.#pump())
  }

  #pump(): void {
    while (this.#wants && !this.#stalled && !this.destroyed) {
      const first = this.#inbox.shift()
      if (first === undefined) {
        if (this.#ended) {
          this.#wants = false
          this.push(null)
        }
        return
      }
      const part = first.subarray(0, READ)
      if (part.length < first.length) this.#inbox.unshift(first.subarray(READ))
      this.#held -= part.length
      if (this.#held <= CAPACITY) this.#room()
      this.#wants = this.push(part)
    }
  }

  #room(): void {
    const written = this.#written
    this.#written = undefined
    written?.()
  }
}
