/**
 * Reads heads: one flat msgpack array of text and small integers, where a known name is its index. msgpackr decodes
 * only bytes that `check` has accepted. So no other feature of msgpack or msgpackr (maps, records, extensions, nesting,
 * counts of 2³² in five bytes) reaches the decoder. `FrameOutput` writes heads.
 */

import { Unpackr } from 'msgpackr'
import type { Headers } from '../../contract/application.ts'
import { peerError } from '../../contract/coded-errors.ts'
import type { RemoteProtocolError } from '../../contract/errors.ts'
import { NAMES, VARIABLES } from './tables.ts'

export interface RequestFields {
  requestId: string
  /** Flat: name, value, … */
  variables: string[]
  /** Flat: name, value, … in the order, case and repetition of the client. */
  headers: string[]
}

interface ResponseFields {
  status: string
  headers: Headers
}

/** Without records: with them a head would depend on the heads before it. */
const unpackr = new Unpackr({ useRecords: false })
const range = { start: 0, end: 0 }

/** Reads heads. It keeps nothing from one head to the next. */
export class HeadReader {
  #items: (string | number)[] = EMPTY
  #at = 0

  /** `[requestId, count of variables, (index | name, value)…, (index | name, value)…]` */
  request(bytes: Uint8Array, start: number, end: number): RequestFields {
    this.#begin(bytes, start, end)
    const requestId = this.#text()
    const count = this.#integer()
    if (count * 2 > this.#left) throw bad(`expected ${count} variables, got ${this.#left} items`)
    const variables: string[] = new Array(2 * count)
    for (let at = 0; at < 2 * count; at += 2) {
      variables[at] = this.#name(VARIABLES)
      variables[at + 1] = this.#text()
    }
    return { requestId, variables, headers: this.#pairs() }
  }

  /** `[status, (index | name, value)…]` */
  response(bytes: Uint8Array, start: number, end: number): ResponseFields {
    this.#begin(bytes, start, end)
    const status = this.#text()
    const headers: Headers = []
    while (this.#left > 0) headers.push([this.#name(NAMES), this.#text()])
    return { status, headers }
  }

  /** `[(index | name, value)…]`, flat. */
  fields(bytes: Uint8Array, start: number, end: number): string[] {
    this.#begin(bytes, start, end)
    return this.#pairs()
  }

  /** `[text | integer…]`: the payload of a HELLO. */
  items(bytes: Uint8Array, start: number, end: number): (string | number)[] {
    this.#begin(bytes, start, end)
    const items = this.#items
    this.#items = EMPTY
    return items
  }

  // ---- internals ----------------------------------------------------------------------------------------------------

  #begin(bytes: Uint8Array, start: number, end: number): void {
    check(bytes, start, end)
    range.start = start
    range.end = end
    this.#items = unpackr.unpack(bytes, range) as (string | number)[]
    this.#at = 0
  }

  get #left(): number {
    return this.#items.length - this.#at
  }

  #pairs(): string[] {
    const pairs: string[] = []
    while (this.#left > 0) pairs.push(this.#name(NAMES), this.#text())
    return pairs
  }

  #name(table: readonly string[]): string {
    const item = this.#items[this.#at++]
    if (typeof item === 'number') {
      const name = table[item]
      if (name === undefined) throw bad(`the name ${item} is not in the table of names`)
      return name
    }
    if (item === undefined) throw bad('too few items')
    if (item === '') throw bad('an empty name')
    return item
  }

  #text(): string {
    const item = this.#items[this.#at++]
    if (typeof item !== 'string') throw bad(`expected text, got ${item === undefined ? 'the end' : item}`)
    return item
  }

  #integer(): number {
    const item = this.#items[this.#at++]
    if (typeof item !== 'number') throw bad(`expected an integer, got ${item === undefined ? 'the end' : 'text'}`)
    return item
  }
}

const EMPTY: (string | number)[] = []

/**
 * Checks that the bytes are one array of text and unsigned integers of up to 32 bits, with no byte after the array.
 * Text must be the UTF-8 of U+0000 to U+00FF: native strings have no other code units.
 *
 * @throws RemoteProtocolError if they are not
 */
function check(bytes: Uint8Array, start: number, end: number): void {
  let at = start
  if (at >= end) throw bad('it is empty')
  const marker = bytes[at++]!
  let left: number
  if (marker >= 0x90 && marker <= 0x9f) left = marker & 0x0f
  else if (marker === 0xdc || marker === 0xdd) {
    const width = marker === 0xdc ? 2 : 4
    left = uint(bytes, at, width, end)
    at += width
  } else throw bad(`expected an array, got 0x${hex(marker)}`)
  for (; left > 0; left--) {
    if (at >= end) throw bad(`${left} items are missing`)
    const kind = bytes[at++]!
    if (kind < 0x80) continue
    let length: number
    if ((kind & 0xe0) === 0xa0) length = kind & 0x1f
    else if (kind >= 0xd9 && kind <= 0xdb) {
      const width = kind === 0xd9 ? 1 : kind === 0xda ? 2 : 4
      length = uint(bytes, at, width, end)
      at += width
    } else if (kind >= 0xcc && kind <= 0xce) {
      at += kind === 0xcc ? 1 : kind === 0xcd ? 2 : 4
      if (at > end) throw bad('it ends in an integer')
      continue
    } else throw bad(`expected text or an integer, got 0x${hex(kind)}`)
    const stop = at + length
    if (stop > end) throw bad(`text of ${length} bytes, but ${end - at} bytes are left`)
    let union = 0
    for (let here = at; here < stop; here++) union |= bytes[here]!
    if (union >= 0x80) checkLatin1(bytes, at, stop)
    at = stop
  }
  if (at !== end) throw bad(`${end - at} bytes after the head`)
}

/** In UTF-8, U+0080 to U+00FF are the byte C2 or C3 and one more byte. Other bytes are higher code points or errors. */
function checkLatin1(bytes: Uint8Array, start: number, end: number): void {
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!
    if (byte < 0x80) continue
    const next = ++at < end ? bytes[at]! : 0
    if ((byte !== 0xc2 && byte !== 0xc3) || next < 0x80 || next > 0xbf) {
      throw bad('expected text of U+0000 to U+00FF in UTF-8')
    }
  }
}

function uint(bytes: Uint8Array, at: number, width: number, end: number): number {
  if (at + width > end) throw bad('it ends in a length')
  let value = 0
  for (let here = at; here < at + width; here++) value = value * 256 + bytes[here]!
  return value
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0')
}

function bad(what: string): RemoteProtocolError {
  return peerError('BAD_HEAD', `invalid head: ${what}`)
}
