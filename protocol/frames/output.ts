/**
 * Bytes on their way out: frames are written one after the other into a large buffer, big payloads are kept by reference
 * between its parts, and all of it is taken at once for one write. Knows msgpack's strings and integers, and no frame.
 */

import { LocalProtocolError } from '../errors.ts'
import { HEADER } from './constants.ts'

const SEGMENT = 64 * 1024
/** Below this a payload is copied: an iovec and a second Buffer cost more than copying some 4 KiB. */
const COPY = 4096

const BEYOND_LATIN1 = /[^\x00-\xff]/

export class Output {
  #buffer: Buffer = Buffer.allocUnsafeSlow(SEGMENT)
  /** Start of what is not yet in `#parts`. */
  #start = 0
  #at = 0
  /** Where the frame being written begins. */
  #frame = 0
  #parts: Uint8Array[] = []
  #partsBytes = 0

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

  /** Bytes of the frame that was just finished with `beyond`: small ones are copied, others kept by reference. */
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

  // ---- msgpack: one array of text and small integers -------------------------------------------------------------

  /** An array's marker with 16 or 32 bits of count. */
  array(count: number): void {
    this.#room(5)
    const buffer = this.#buffer
    if (count <= 0xffff) {
      buffer[this.#at] = 0xdc
      buffer[this.#at + 1] = count >>> 8
      buffer[this.#at + 2] = count
      this.#at += 3
    } else {
      buffer[this.#at] = 0xdd
      this.#at = buffer.writeUInt32BE(count, this.#at + 1)
    }
  }

  int(value: number): void {
    this.#room(5)
    const buffer = this.#buffer
    if (value < 128) buffer[this.#at++] = value
    else if (value <= 0xff) {
      buffer[this.#at] = 0xcc
      buffer[this.#at + 1] = value
      this.#at += 2
    } else if (value <= 0xffff) {
      buffer[this.#at] = 0xcd
      buffer[this.#at + 1] = value >>> 8
      buffer[this.#at + 2] = value
      this.#at += 3
    } else {
      buffer[this.#at] = 0xce
      this.#at = buffer.writeUInt32BE(value, this.#at + 1)
    }
  }

  /**
   * A native string as msgpack str, which is UTF-8.
   *
   * @throws LocalProtocolError for a code unit above 0xFF
   */
  text(value: string): void {
    const length = value.length
    this.#room(5 + 2 * length)
    const buffer = this.#buffer
    const start = this.#at
    if (length < 24) {
      // Faster than a call into C++ for so few bytes.
      let at = start + 1
      let index = 0
      for (; index < length; index++) {
        const unit = value.charCodeAt(index)
        if (unit > 0x7f) break
        buffer[at++] = unit
      }
      if (index === length) {
        buffer[start] = 0xa0 | length
        this.#at = at
        return
      }
    }
    // The marker is chosen by the most that there can be, so that bytes need not be counted first.
    const marker = 2 * length <= 0xff ? 2 : 2 * length <= 0xffff ? 3 : 5
    const bytes = buffer.write(value, start + marker)
    if (bytes !== length && BEYOND_LATIN1.test(value)) {
      throw new LocalProtocolError('NOT_LATIN1', `a native string holds code units above U+00FF: ${excerpt(value)}`)
    }
    if (marker === 2) {
      buffer[start] = 0xd9
      buffer[start + 1] = bytes
    } else if (marker === 3) {
      buffer[start] = 0xda
      buffer[start + 1] = bytes >>> 8
      buffer[start + 2] = bytes
    } else {
      buffer[start] = 0xdb
      buffer.writeUInt32BE(bytes, start + 1)
    }
    this.#at = start + marker + bytes
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

function excerpt(value: string): string {
  return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
}
