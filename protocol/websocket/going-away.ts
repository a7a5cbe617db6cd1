/**
 * Closes a WebSocket with code 1001 during a drain, between two frames. Follows the frames that the application writes;
 * the server decides when to close.
 */

import type { Duplex } from 'node:stream'
import { FrameTracker, GOING_AWAY } from './codec/websocket-frames.ts'

/**
 * After the drain timeout: time for the application to finish its frame and for the closing handshake, ms. A client
 * answers within a round trip, which takes a second on a mobile network that wakes up. A lost client delays the
 * stop by this time.
 */
export const GOING_AWAY_GRACE = 2_000

/**
 * - `open`
 * - `pending`: our close frame follows the frame in progress
 * - `sent`: our close frame was sent, and later writes of the application are dropped
 * - `closed`: the application had sent a close frame before the drain timed out; it may finish the handshake
 */
type State = 'open' | 'pending' | 'sent' | 'closed'

type Write = (chunk: Uint8Array | string, encoding?: BufferEncoding, callback?: Callback) => boolean
type Callback = (error?: Error | null) => void

export class WebSocketStream {
  readonly #stream: Duplex
  readonly #frames: FrameTracker = new FrameTracker()
  readonly #write: Write
  readonly #end: (callback?: () => void) => void
  #state: State = 'open'

  /** @param stream from now on only the application writes to it */
  constructor(stream: Duplex) {
    this.#stream = stream
    this.#write = stream.write.bind(stream) as Write
    this.#end = stream.end.bind(stream) as (callback?: () => void) => void
    // Replace the stream's methods: a stream around this one would copy every byte.
    stream.write = ((chunk: unknown, encoding?: unknown, callback?: unknown) =>
      this.#written(chunk, encoding, callback)) as typeof stream.write
    stream.end = ((chunk?: unknown, encoding?: unknown, callback?: unknown) =>
      this.#ended(chunk, encoding, callback)) as typeof stream.end
  }

  /**
   * Closes the WebSocket with code 1001, now or at the end of the frame that the application is sending. Sends nothing
   * if the application has sent a close frame itself.
   *
   * @returns whether to wait for the closing handshake: false on a second call, and if the stream is destroyed
   */
  goAway(): boolean {
    if (this.#state !== 'open' || this.#stream.destroyed) return false
    // An application that has ended the stream has finished the handshake: its last bytes may not be sent yet.
    if (this.#frames.closed || !this.#stream.writable) this.#state = 'closed'
    else if (this.#frames.atBoundary) this.#close()
    else this.#state = 'pending'
    return true
  }

  #close(): void {
    this.#state = 'sent'
    this.#write(GOING_AWAY)
  }

  #written(chunk: unknown, encoding: unknown, callback: unknown): boolean {
    const call = (typeof encoding === 'function' ? encoding : callback) as Callback | undefined
    const coding = typeof encoding === 'string' ? (encoding as BufferEncoding) : undefined
    const bytes = bytesOf(chunk, coding)
    // The stream itself rejects invalid chunks.
    if (bytes === undefined || !this.#stream.writable) {
      return this.#write(chunk as Uint8Array, coding, call)
    }
    switch (this.#state) {
      case 'open':
        this.#frames.push(bytes)
        return this.#write(chunk as Uint8Array, coding, call)
      case 'closed':
        return this.#write(chunk as Uint8Array, coding, call)
      case 'pending': {
        const length = this.#frames.pushToBoundary(bytes)
        const room = this.#write(bytes.subarray(0, length), undefined, call)
        if (this.#frames.atBoundary) this.#close()
        return room
      }
      case 'sent':
        if (call) process.nextTick(call, null)
        return !this.#stream.writableNeedDrain
    }
  }

  #ended(chunk: unknown, encoding: unknown, callback: unknown): Duplex {
    const call = [chunk, encoding, callback].find((one) => typeof one === 'function') as (() => void) | undefined
    if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') {
      this.#written(chunk, encoding, undefined)
    }
    this.#end(call)
    return this.#stream
  }
}

function bytesOf(chunk: unknown, encoding: BufferEncoding | undefined): Uint8Array | undefined {
  if (typeof chunk === 'string') return Buffer.from(chunk, encoding)
  return ArrayBuffer.isView(chunk) ? new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength) : undefined
}
