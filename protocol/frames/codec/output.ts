/**
 * A buffer of frames to send: small frames are written one after the other into one large buffer, and large payloads
 * are kept by reference between its parts. `take` returns everything for one write. It knows frame headers and msgpack
 * arrays of text and integers, but not what a frame means.
 */

import { Packr, REUSE_BUFFER_MODE } from 'msgpackr'
import { localError } from '../../contract/coded-errors.ts'
import { HEADER } from './constants.ts'

const SEGMENT = 64 * 1024
/** Smaller payloads are copied: an iovec and a second Buffer cost more than a copy of 4 KiB. */
const COPY = 4096

const NONE: (string | number)[] = []
const BEYOND_LATIN1 = /[^\x00-\xff]/

/** Without records: with them a head would depend on the heads before it. */
const packr = new Packr({ useRecords: false })

/** The result of `pack` with `REUSE_BUFFER_MODE`. */
interface Packed extends Buffer {
  start: number
  end: number
}

export class FrameOutput {
  #buffer: Buffer = Buffer.allocUnsafeSlow(SEGMENT)
  /** Start of the bytes that are not yet in `#parts`. */
  #start = 0
  #at = 0
  /** Start of the frame that is being written. */
  #frame = 0
  #parts: Uint8Array[] = []
  #partsBytes = 0
  /** The items of the array that is being written, their count, and their bytes if all text is ASCII. */
  #items: (string | number)[] = NONE
  #count = 0
  #ascii = 0

  /** Bytes that `take` would return. */
  get bytes(): number {
    return this.#partsBytes + this.#at - this.#start
  }

  /** Removes and returns everything, in order. */
  take(): Uint8Array[] {
    this.#closePart()
    const parts = this.#parts
    this.#parts = []
    this.#partsBytes = 0
    return parts
  }

  // ---- frames ----------------------------------------------------------------------------------------------------

  begin(type: number, flags: number, stream: number): void {
    this.#reserve(HEADER)
    const buffer = this.#buffer
    const at = this.#at
    this.#frame = at
    buffer[at] = type
    buffer[at + 1] = flags
    buffer[at + 5] = stream >>> 24
    buffer[at + 6] = stream >>> 16
    buffer[at + 7] = stream >>> 8
    buffer[at + 8] = stream
    this.#at = at + HEADER
  }

  /** Sets the flags of the present frame. */
  flags(flags: number): void {
    this.#buffer[this.#frame + 1] = flags
  }

  /** Ends the present frame. @param beyond bytes of its payload that `payload()` adds next */
  finish(beyond: number = 0): void {
    const length = this.#at - this.#frame - HEADER + beyond
    const buffer = this.#buffer
    const at = this.#frame
    buffer[at + 2] = length >>> 16
    buffer[at + 3] = length >>> 8
    buffer[at + 4] = length
    this.#frame = this.#at
  }

  /** Removes the present frame. */
  cancel(): void {
    this.#at = this.#frame
  }

  /** Bytes of the present frame's payload so far. */
  get length(): number {
    return this.#at - this.#frame - HEADER
  }

  u8(value: number): void {
    this.#reserve(1)
    this.#buffer[this.#at++] = value
  }

  u32(value: number): void {
    this.#reserve(4)
    this.#at = this.#buffer.writeUInt32BE(value, this.#at)
  }

  /** Reserves a u32 that `patch()` sets later. */
  skip32(): void {
    this.#reserve(4)
    this.#at += 4
  }

  /** Sets the u32 at `offset` in the payload. */
  patch(offset: number, value: number): void {
    this.#buffer.writeUInt32BE(value, this.#frame + HEADER + offset)
  }

  /** Copies bytes into the present frame. */
  copy(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#at)
    this.#at += bytes.length
  }

  /**
   * Adds the payload that `finish(beyond)` announced, or a whole frame. Small payloads are copied, large ones are kept
   * by reference.
   */
  payload(bytes: Uint8Array): void {
    if (bytes.length <= COPY) {
      this.copy(bytes)
      this.#frame = this.#at
      return
    }
    this.#closePart()
    this.#parts.push(bytes)
    this.#partsBytes += bytes.length
  }

  // ---- a frame that can be removed ----------------------------------------------------------------------------------

  /** Starts a new part, so that `extract` can remove the next frame. */
  isolate(): void {
    this.#closePart()
  }

  /** Removes and returns a copy of the bytes written since `isolate`; the frame must have no payload by reference. */
  extract(): Buffer {
    const frame = Buffer.allocUnsafeSlow(this.#at - this.#start)
    this.#buffer.copy(frame, 0, this.#start, this.#at)
    this.#at = this.#start
    this.#frame = this.#start
    return frame
  }

  // ---- msgpack: one array of text and small integers -------------------------------------------------------------

  /**
   * Begins an array.
   *
   * @param room the expected number of items. The array is new each time: V8 needs a write barrier for each young
   *   string in an old array, and an emptied array loses its memory.
   */
  array(room: number): void {
    this.#items = new Array(room)
    this.#count = 0
    this.#ascii = 0
  }

  int(value: number): void {
    this.#items[this.#count++] = value
    this.#ascii += value < 0x80 ? 1 : value <= 0xff ? 2 : value <= 0xffff ? 3 : 5
  }

  /** Adds a native string, as msgpack str in UTF-8. */
  text(value: string): void {
    const { length } = value
    this.#items[this.#count++] = value
    this.#ascii += length + (length < 32 ? 1 : length <= 0xff ? 2 : length <= 0xffff ? 3 : 5)
  }

  /**
   * Ends the array.
   *
   * @throws LocalProtocolError `NOT_LATIN1` if a text has a code unit above 0xFF
   */
  endArray(): void {
    const items = this.#items
    const count = this.#count
    if (items.length !== count) items.length = count
    // The result is in msgpackr's buffer. A view of it would cost as much as the copy.
    const packed = packr.pack(items, REUSE_BUFFER_MODE) as Packed
    const length = packed.end - packed.start
    // If the length is the length of ASCII, all text is ASCII, and no text needs a check.
    if (length !== this.#ascii + (count < 16 ? 1 : count <= 0xffff ? 3 : 5)) refuseBeyondLatin1(items)
    this.#reserve(length)
    packed.copy(this.#buffer, this.#at, packed.start, packed.end)
    this.#at += length
    this.#items = NONE
  }

  /** Adds a name: its index in the table, or the name itself. */
  name(value: string, table: ReadonlyMap<string, number>): void {
    const index = table.get(value)
    if (index === undefined) this.text(value)
    else this.int(index)
  }

  // ---- internals ----------------------------------------------------------------------------------------------------

  /** Turns the bytes written so far into a part, which is not changed again. */
  #closePart(): void {
    if (this.#at > this.#start) {
      const part = this.#buffer.subarray(this.#start, this.#at)
      this.#parts.push(part)
      this.#partsBytes += part.length
      this.#start = this.#at
    }
    this.#frame = this.#at
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes > this.#buffer.length) this.#grow(bytes)
  }

  /** Continues in a new buffer, and moves the present frame there. */
  #grow(bytes: number): void {
    const begun = this.#buffer.subarray(this.#frame, this.#at)
    if (this.#frame > this.#start) {
      const part = this.#buffer.subarray(this.#start, this.#frame)
      this.#parts.push(part)
      this.#partsBytes += part.length
    }
    const buffer = Buffer.allocUnsafeSlow(Math.max(SEGMENT, 2 * (begun.length + bytes)))
    buffer.set(begun, 0)
    this.#buffer = buffer
    this.#start = 0
    this.#frame = 0
    this.#at = begun.length
  }
}

function refuseBeyondLatin1(items: readonly (string | number)[]): void {
  for (const item of items) {
    if (typeof item === 'string' && BEYOND_LATIN1.test(item)) {
      // The message has no text of the string: the string may be a cookie, and the message goes to logs and to the
      // peer.
      const at = item.search(BEYOND_LATIN1)
      throw localError(
        'NOT_LATIN1',
        `a native string of ${item.length} code units has U+${item.charCodeAt(at).toString(16).toUpperCase().padStart(4, '0')} at index ${at}; the highest allowed is U+00FF`,
      )
    }
  }
}
