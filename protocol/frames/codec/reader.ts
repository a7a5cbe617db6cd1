/**
 * Splits bytes into frames: reads each header and checks the length before any payload is kept. DATA is passed on in
 * parts as it arrives; every other payload is passed on whole. It does not know what a payload means.
 */

import { peerError } from '../../contract/coded-errors.ts'
import { Flag, Frame, HEADER } from './constants.ts'

/** Receives frames. The payload is `bytes[start, end)`; the reader never writes into `bytes` afterwards. */
export interface FrameSink {
  /** A frame, or a part of DATA. @param flags only the last part of a DATA frame has its END flag */
  frame(type: number, flags: number, stream: number, bytes: Uint8Array, start: number, end: number): void
  /**
   * The longest payload of this type, bytes; -1: an unknown type, which is skipped whatever its length.
   *
   * @param stream -1: not known yet
   * @throws RemoteProtocolError if a frame of this type may not arrive now
   */
  limit(type: number, stream: number): number
}

const EMPTY = new Uint8Array(0)

export class FrameReader {
  readonly #sink: FrameSink
  /** A header that arrives in pieces. */
  readonly #header: Uint8Array = new Uint8Array(HEADER)
  #headerLength = 0
  #type = 0
  #flags = 0
  #stream = 0
  /** Payload bytes of the current frame that have not arrived. */
  #missing = 0
  /** The payload of the current frame so far, if it is passed on whole. */
  #whole: Uint8Array = EMPTY
  #filled = 0
  #mode: 'header' | 'whole' | 'data' | 'skip' = 'header'

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  /** Whether the last byte read was the last of a frame. */
  get between(): boolean {
    return this.#mode === 'header' && this.#headerLength === 0
  }

  /** @throws RemoteProtocolError if a frame is invalid; then nothing more may be read */
  read(bytes: Uint8Array): void {
    const length = bytes.length
    let at = 0
    while (at < length) {
      if (this.#mode === 'header') {
        if (this.#headerLength === 0 && length - at >= HEADER) {
          this.#start(bytes, at)
          at += HEADER
        } else {
          const taken = Math.min(HEADER - this.#headerLength, length - at)
          this.#header.set(bytes.subarray(at, at + taken), this.#headerLength)
          // A wrong first byte is reported at once, not after eight more bytes.
          if (this.#headerLength === 0) this.#sink.limit(this.#header[0]!, -1)
          this.#headerLength += taken
          at += taken
          if (this.#headerLength < HEADER) return
          this.#headerLength = 0
          this.#start(this.#header, 0)
        }
        const limit = this.#sink.limit(this.#type, this.#stream)
        if (limit < 0) this.#mode = 'skip'
        else if (this.#missing > limit) {
          throw peerError(
            'FRAME_TOO_LARGE',
            `received a frame of type 0x${this.#type.toString(16)} with ${this.#missing} bytes; the limit is ${limit}`,
          )
        } else if (this.#missing <= length - at) {
          // The usual case: the whole payload is in this read.
          const end = at + this.#missing
          this.#sink.frame(this.#type, this.#flags, this.#stream, bytes, at, end)
          at = end
          continue
        } else if (this.#type === Frame.DATA) this.#mode = 'data'
        else {
          this.#mode = 'whole'
          this.#whole = Buffer.allocUnsafeSlow(this.#missing)
          this.#filled = 0
        }
        if (this.#missing === 0) this.#mode = 'header'
        continue
      }
      const taken = Math.min(this.#missing, length - at)
      const end = at + taken
      this.#missing -= taken
      const last = this.#missing === 0
      const mode = this.#mode
      if (last) this.#mode = 'header'
      if (mode === 'data') {
        this.#sink.frame(this.#type, last ? this.#flags : this.#flags & ~Flag.END, this.#stream, bytes, at, end)
      } else if (mode === 'whole') {
        this.#whole.set(at === 0 && end === length ? bytes : bytes.subarray(at, end), this.#filled)
        this.#filled += taken
        if (last) {
          const whole = this.#whole
          this.#whole = EMPTY
          this.#sink.frame(this.#type, this.#flags, this.#stream, whole, 0, whole.length)
        }
      }
      at = end
    }
  }

  #start(bytes: Uint8Array, at: number): void {
    this.#type = bytes[at]!
    this.#flags = bytes[at + 1]!
    this.#missing = (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!
    this.#stream = ((bytes[at + 5]! << 24) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 8) | bytes[at + 8]!) >>> 0
  }
}
