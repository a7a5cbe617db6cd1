/**
 * Heads, read: one flat msgpack array of text and small integers, names by index or in full.
 *
 * This reads the subset of msgpack that heads are made of, strictly, and nothing else: no maps, records, extensions or
 * nesting can be expressed, so that none has to be guarded against; lengths are checked before anything is made of
 * them. (A general reader, msgpackr, takes twice as long and answers `dd ff ff ff ff` with an array of 2³² slots; the tests
 * compare the two on everything that both read.) Writing is `Output`'s.
 */

import type { Headers } from '../application.ts'
import { RemoteProtocolError } from '../errors.ts'
import { NAMES, VARIABLES } from './tables.ts'

export interface RequestFields {
  requestId: string
  /** Flat: name, value, … */
  variables: string[]
  /** Flat: name, value, … as the client sent them. */
  headers: string[]
}

export interface ResponseFields {
  status: string
  headers: Headers
}

/** Reads heads; holds nothing between two of them. */
export class HeadReader {
  #bytes: Uint8Array = EMPTY
  /** The head as latin1: ASCII strings are slices of it, which costs a tenth of decoding each by itself. */
  #text = ''
  /** Of `#text` in `#bytes`. */
  #base = 0
  #at = 0
  #end = 0
  /** Items left. */
  #left = 0

  /** `[requestId, count of variables, (index | name, value)…, (index | name, value)…]` */
  request(bytes: Uint8Array, start: number, end: number): RequestFields {
    this.#begin(bytes, start, end)
    const requestId = this.#string()
    const count = this.#integer()
    if (count * 2 > this.#left) throw bad(`${count} variables in ${this.#left} items`)
    const variables: string[] = []
    for (let at = 0; at < count; at++) variables.push(this.#name(VARIABLES), this.#string())
    const headers = this.#pairs()
    this.#finish()
    return { requestId, variables, headers }
  }

  /** `[status, (index | name, value)…]` */
  response(bytes: Uint8Array, start: number, end: number): ResponseFields {
    this.#begin(bytes, start, end)
    const status = this.#string()
    const headers: Headers = []
    while (this.#left > 1) headers.push([this.#name(NAMES), this.#string()])
    this.#finish()
    return { status, headers }
  }

  /** `[(index | name, value)…]`, flat. */
  fields(bytes: Uint8Array, start: number, end: number): string[] {
    this.#begin(bytes, start, end)
    const fields = this.#pairs()
    this.#finish()
    return fields
  }

  /** `[text | integer…]`: of HELLO. */
  items(bytes: Uint8Array, start: number, end: number): (string | number)[] {
    this.#begin(bytes, start, end)
    const items: (string | number)[] = []
    while (this.#left > 0) items.push(this.#isText() ? this.#string() : this.#integer())
    this.#finish()
    return items
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  #begin(bytes: Uint8Array, start: number, end: number): void {
    this.#bytes = bytes
    this.#base = start
    this.#at = start
    this.#end = end
    this.#left = 0
    const marker = this.#byte()
    if (marker >= 0x90 && marker <= 0x9f) this.#left = marker & 0x0f
    else if (marker === 0xdc) this.#left = this.#uint(2)
    else if (marker === 0xdd) this.#left = this.#uint(4)
    else throw bad(`an array was expected, not 0x${hex(marker)}`)
    // Each item takes a byte at least.
    if (this.#left > end - this.#at) throw bad(`${this.#left} items in ${end - this.#at} bytes`)
    this.#text = asBuffer(bytes).toString('latin1', start, end)
  }

  #finish(): void {
    const left = this.#left
    const beyond = this.#end - this.#at
    this.#text = ''
    this.#bytes = EMPTY
    if (left !== 0) throw bad(`a name without a value`)
    if (beyond !== 0) throw bad(`${beyond} bytes after the head`)
  }

  #pairs(): string[] {
    const pairs: string[] = []
    while (this.#left > 1) pairs.push(this.#name(NAMES), this.#string())
    return pairs
  }

  #name(table: readonly string[]): string {
    if (this.#isText()) {
      const name = this.#string()
      if (name === '') throw bad('an empty name')
      return name
    }
    const index = this.#integer()
    const name = table[index]
    if (name === undefined) throw bad(`name ${index} is not in the table`)
    return name
  }

  #isText(): boolean {
    const marker = this.#bytes[this.#at]!
    return this.#at < this.#end && ((marker & 0xe0) === 0xa0 || (marker >= 0xd9 && marker <= 0xdb))
  }

  #byte(): number {
    if (this.#at >= this.#end) throw bad('it ends too early')
    return this.#bytes[this.#at++]!
  }

  #uint(width: number): number {
    let value = 0
    for (let at = 0; at < width; at++) value = value * 256 + this.#byte()
    return value
  }

  #item(): void {
    if (this.#left === 0) throw bad('too few items')
    this.#left--
  }

  #integer(): number {
    this.#item()
    const marker = this.#byte()
    if (marker < 0x80) return marker
    if (marker === 0xcc) return this.#uint(1)
    if (marker === 0xcd) return this.#uint(2)
    if (marker === 0xce) return this.#uint(4)
    throw bad(`an integer was expected, not 0x${hex(marker)}`)
  }

  #string(): string {
    this.#item()
    const marker = this.#byte()
    let length: number
    if ((marker & 0xe0) === 0xa0) length = marker & 0x1f
    else if (marker === 0xd9) length = this.#byte()
    else if (marker === 0xda) length = this.#uint(2)
    else if (marker === 0xdb) length = this.#uint(4)
    else throw bad(`text was expected, not 0x${hex(marker)}`)
    const start = this.#at
    const end = start + length
    if (end > this.#end) throw bad(`text of ${length} bytes, where ${this.#end - start} are left`)
    const bytes = this.#bytes
    let union = 0
    for (let at = start; at < end; at++) union |= bytes[at]!
    this.#at = end
    return union < 0x80 ? this.#text.slice(start - this.#base, end - this.#base) : utf8(bytes, start, end)
  }
}

const EMPTY = new Uint8Array(0)

const BEYOND_LATIN1 = /[^\x00-\xff]/

/** UTF-8 of U+0000 to U+00FF: native strings have no other code units. What is no UTF-8 decodes as U+FFFD. */
function utf8(bytes: Uint8Array, start: number, end: number): string {
  const text = asBuffer(bytes).toString('utf8', start, end)
  if (BEYOND_LATIN1.test(text)) throw bad('text holds more than U+0000 to U+00FF in UTF-8')
  return text
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0')
}

function bad(what: string): RemoteProtocolError {
  return new RemoteProtocolError('BAD_HEAD', `a head is not what it should be: ${what}`)
}
