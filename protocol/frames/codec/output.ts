/**
 * Bytes on their way out: frames are written one after the other into a large buffer, big payloads are kept by reference
 * between its parts, and all of it is taken at once for one write. Knows arrays of text and integers (msgpack, by msgpackr), and
 * no frame.
 */

import { Packr, REUSE_BUFFER_MODE } from 'msgpackr'
import { localError } from '../../contract/coded-errors.ts'
import { HEADER } from './constants.ts'

const SEGMENT = 64 * 1024
/** Below this a payload is copied: an iovec and a second Buffer cost more than copying some 4 KiB. */
const COPY = 4096

const NONE: (string | number)[] = []
const BEYOND_LATIN1 = /[^\x00-\xff]/

/** Stateless: records would make a head depend on the ones before it. */
const packr = new Packr({ useRecords: false })

/** What `pack` gives with `REUSE_BUFFER_MODE`. */
interface Packed extends Buffer {
  start: number
  end: number
}

export class Output {
  #buffer: Buffer = Buffer.allocUnsafeSlow(SEGMENT)
  /** Start of what is not yet in `#parts`. */
  #start = 0
  #at = 0
  /** Where the frame being written begins. */
  #frame = 0
  #parts: Uint8Array[] = []
  #partsBytes = 0
  /** Of the array that was begun, how many are given, and their bytes if all text is ASCII. */
  #items: (string | number)[] = NONE
  #count = 0
  #ascii = 0

  /** Bytes that wait to be taken. */
  get bytes(): number {
    return this.#partsBytes + this.#at - this.#start
  }

  /** Everything, in order. */
  take(): Uint8Array[] {
    this.#cut()
    const parts = this.#parts
    this.#parts = []
    this.#partsBytes = 0
    return parts
  }

  // ---- frames ----------------------------------------------------------------------------------------------------

  begin(type: number, flags: number, stream: number): void {
    this.#room(HEADER)
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

  /** Sets the flags of the frame that was begun. */
  flags(flags: number): void {
    this.#buffer[this.#frame + 1] = flags
  }

  /** Ends the frame that was begun; `beyond`: bytes of its payload that `payload()` adds next. */
  finish(beyond: number = 0): void {
    const length = this.#at - this.#frame - HEADER + beyond
    const buffer = this.#buffer
    const at = this.#frame
    buffer[at + 2] = length >>> 16
    buffer[at + 3] = length >>> 8
    buffer[at + 4] = length
    this.#frame = this.#at
  }

  /** Forgets the frame that was begun. */
  cancel(): void {
    this.#at = this.#frame
  }

  /** Bytes of the frame's payload so far. */
  get length(): number {
    return this.#at - this.#frame - HEADER
  }

  u8(value: number): void {
    this.#room(1)
    this.#buffer[this.#at++] = value
  }

  u32(value: number): void {
    this.#room(4)
    this.#at = this.#buffer.writeUInt32BE(value, this.#at)
  }

  /** Leaves room for a u32 that `patch()` sets. */
  skip32(): void {
    this.#room(4)
    this.#at += 4
  }

  /** Sets the u32 at `offset` in the payload. */
  patch(offset: number, value: number): void {
    this.#buffer.writeUInt32BE(value, this.#frame + HEADER + offset)
  }

  /** Bytes inside a frame, copied. */
  copy(bytes: Uint8Array): void {
    this.#room(bytes.length)
    this.#buffer.set(bytes, this.#at)
    this.#at += bytes.length
  }

  /**
   * The payload of the frame whose header `beyond` finished, or a whole frame: copied if small, else kept by reference.
   */
  payload(bytes: Uint8Array): void {
    if (bytes.length <= COPY) {
      this.copy(bytes)
      this.#frame = this.#at
      return
    }
    this.#cut()
    this.#parts.push(bytes)
    this.#partsBytes += bytes.length
  }

  // ---- a frame of its own ----------------------------------------------------------------------------------------

  /** Starts a new part, so that `extract` can remove the next frame. */
  isolate(): void {
    this.#cut()
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
   * @param room about how many items it will have. (It is made anew each time: V8's collector has to be told of every young string that
   *   comes into an old array, and one that is emptied gives its memory away.)
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

  /** A native string, as msgpack str: UTF-8. */
  text(value: string): void {
    const { length } = value
    this.#items[this.#count++] = value
    this.#ascii += length + (length < 32 ? 1 : length <= 0xff ? 2 : length <= 0xffff ? 3 : 5)
  }

  /**
   * Ends the array that was begun.
   *
   * @throws LocalProtocolError for text with a code unit above 0xFF
   */
  endArray(): void {
    const items = this.#items
    const count = this.#count
    if (items.length !== count) items.length = count
    // In its own buffer, of which a view would cost as much as the copy.
    const packed = packr.pack(items, REUSE_BUFFER_MODE) as Packed
    const length = packed.end - packed.start
    // As long as ASCII is: then it is, and not every text has to be looked at.
    if (length !== this.#ascii + (count < 16 ? 1 : count <= 0xffff ? 3 : 5)) refuseBeyondLatin1(items)
    this.#room(length)
    packed.copy(this.#buffer, this.#at, packed.start, packed.end)
    this.#at += length
    this.#items = NONE
  }

  /** A name: its index in the table, or itself. */
  name(value: string, table: ReadonlyMap<string, number>): void {
    const index = table.get(value)
    if (index === undefined) this.text(value)
    else this.int(index)
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  /** What was written so far becomes a part: its bytes are not touched again. */
  #cut(): void {
    if (this.#at > this.#start) {
      const part = this.#buffer.subarray(this.#start, this.#at)
      this.#parts.push(part)
      this.#partsBytes += part.length
      this.#start = this.#at
    }
    this.#frame = this.#at
  }

  #room(bytes: number): void {
    if (this.#at + bytes > this.#buffer.length) this.#grow(bytes)
  }

  /** Goes on in a new buffer, taking the frame that was begun along. */
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
      // Not the text itself: it may be a cookie, and this goes into logs and to the peer.
      const at = item.search(BEYOND_LATIN1)
      throw localError(
        'NOT_LATIN1',
        `a native string of ${item.length} code units contains U+${item.charCodeAt(at).toString(16).toUpperCase().padStart(4, '0')} at ${at}; expected U+0000 to U+00FF`,
      )
    }
  }
}
