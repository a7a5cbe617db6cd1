/**
 * Where stored responses are: by URI, then by the rest of their key and by `Vary`; the least recently used ones go when there is
 * no room. It keeps account of every byte, also of those still being gathered. It knows no HTTP.
 */

import type { Environ, Headers } from '../../protocol/contract/application.ts'
import { type Asked, type StoredHead, selects } from './stored.ts'

export interface StoreLimits {
  readonly maxBytes: number
  readonly maxEntries: number
  readonly maxVariants: number
}

/** A stored response. */
export class Entry {
  readonly uri: string
  readonly rest: string
  readonly body: Uint8Array
  head: StoredHead
  /** Accounted. */
  size: number
  /** A request of the cache's own renews it now. */
  renewing = false
  /** On the clock's `now()`: not before then, after one that failed. */
  renewAt = 0
  /** Neighbours in order of use; this file's alone. */
  newer: Entry | undefined
  older: Entry | undefined
  stored = false

  constructor(uri: string, rest: string, head: StoredHead, body: Uint8Array) {
    this.uri = uri
    this.rest = rest
    this.head = head
    this.body = body
    this.size = sizeOf(uri, rest, head, body)
  }
}

/** Objects, map slots, arrays: measured at some 900 bytes for a small response with ten fields, rounded up. */
const OVERHEAD = 1024

function sizeOf(uri: string, rest: string, head: StoredHead, body: Uint8Array): number {
  let bytes = OVERHEAD + uri.length + rest.length + body.length + head.status.length + fieldBytes(head.headers)
  for (const value of head.selecting) bytes += value?.length ?? 0
  return bytes
}

function fieldBytes(headers: Headers): number {
  let bytes = 0
  for (const [name, value] of headers) bytes += name.length + value.length
  return bytes
}

export class Store {
  readonly #limits: StoreLimits
  readonly #byUri: Map<string, Entry[]> = new Map()
  #newest: Entry | undefined
  #oldest: Entry | undefined
  #entries = 0
  #bytes = 0
  /** Of `#bytes`, those that no entry has yet. */
  #gathered = 0
  #evicted = 0

  constructor(limits: StoreLimits) {
    this.#limits = limits
  }

  /** With what is being gathered. */
  get bytes(): number {
    return this.#bytes
  }

  get entries(): number {
    return this.#entries
  }

  /** Stored responses that had to go for others. */
  get evicted(): number {
    return this.#evicted
  }

  /** The one that answers such a request: the last stored, where there are more (RFC 9111 §4). */
  find(uri: string, rest: string, variables: Environ | Asked['variables'], authorised: boolean): Entry | undefined {
    const entries = this.#byUri.get(uri)
    if (entries === undefined) return undefined
    for (let at = entries.length - 1; at >= 0; at--) {
      const entry = entries[at]!
      if (entry.rest === rest && selects(entry.head, variables, authorised)) {
        this.#use(entry)
        return entry
      }
    }
    return undefined
  }

  /** Whether there is any of that key, whatever it varies on. */
  hasKey(uri: string, rest: string): boolean {
    return this.#byUri.get(uri)?.some((entry) => entry.rest === rest) ?? false
  }

  /** The variables that stored ones of that key vary on. */
  variesOn(uri: string, rest: string): Set<string> {
    const names = new Set<string>()
    for (const entry of this.#byUri.get(uri) ?? []) {
      if (entry.rest === rest) for (const name of entry.head.vary) names.add(name)
    }
    return names
  }

  /** Keeps an entry in place of those that the same request would find. False when it has no room, and then it is not kept. */
  add(entry: Entry, asked: Asked): boolean {
    for (const other of [...(this.#byUri.get(entry.uri) ?? [])]) {
      if (other.rest === entry.rest && selects(other.head, asked.variables, false)) this.remove(other)
    }
    if (!this.#makeRoom(entry.size)) return false
    this.#bytes += entry.size
    let entries = this.#byUri.get(entry.uri)
    // One URI must not push all others out, nor make its own look-up long.
    if (entries !== undefined && entries.length >= this.#limits.maxVariants) {
      this.#evict(entries[0]!)
      entries = this.#byUri.get(entry.uri)
    }
    if (entries === undefined) this.#byUri.set(entry.uri, [entry])
    else entries.push(entry)
    entry.stored = true
    this.#entries++
    this.#link(entry)
    while (this.#entries > this.#limits.maxEntries && this.#oldest !== entry) this.#evict(this.#oldest!)
    return true
  }

  /** A stored entry's head is another now. */
  renew(entry: Entry, head: StoredHead): void {
    const size = sizeOf(entry.uri, entry.rest, head, entry.body)
    entry.head = head
    if (!entry.stored) return
    this.#bytes += size - entry.size
    entry.size = size
    this.#use(entry)
    while (this.#bytes > this.#limits.maxBytes && this.#oldest !== undefined) this.#evict(this.#oldest)
  }

  /** Without effect on one that is not there any more. */
  remove(entry: Entry): void {
    if (!entry.stored) return
    entry.stored = false
    const entries = this.#byUri.get(entry.uri)!
    if (entries.length === 1) this.#byUri.delete(entry.uri)
    else entries.splice(entries.indexOf(entry), 1)
    this.#unlink(entry)
    this.#entries--
    this.#bytes -= entry.size
  }

  invalidate(uri: string): number {
    const entries = [...(this.#byUri.get(uri) ?? [])]
    for (const entry of entries) this.remove(entry)
    return entries.length
  }

  clear(): void {
    while (this.#oldest !== undefined) this.remove(this.#oldest)
  }

  /** Takes bytes of the whole for what is being gathered, making room. False when there is none to make. */
  reserve(bytes: number): boolean {
    if (!this.#makeRoom(bytes)) return false
    this.#gathered += bytes
    this.#bytes += bytes
    return true
  }

  /** Gives them back. */
  release(bytes: number): void {
    this.#gathered -= bytes
    this.#bytes -= bytes
  }

  #makeRoom(bytes: number): boolean {
    // Nothing is thrown out for what would not fit all the same.
    if (this.#gathered + bytes > this.#limits.maxBytes) return false
    while (this.#bytes + bytes > this.#limits.maxBytes) this.#evict(this.#oldest!)
    return true
  }

  #evict(entry: Entry): void {
    this.#evicted++
    this.remove(entry)
  }

  #use(entry: Entry): void {
    if (entry === this.#newest || !entry.stored) return
    this.#unlink(entry)
    this.#link(entry)
  }

  #link(entry: Entry): void {
    entry.older = this.#newest
    entry.newer = undefined
    if (this.#newest) this.#newest.newer = entry
    this.#newest = entry
    this.#oldest ??= entry
  }

  #unlink(entry: Entry): void {
    if (entry.newer) entry.newer.older = entry.older
    else this.#newest = entry.older
    if (entry.older) entry.older.newer = entry.newer
    else this.#oldest = entry.newer
    entry.newer = undefined
    entry.older = undefined
  }
}

/** Keys whose responses turned out not to be shareable, for a time. The oldest is forgotten first. */
export class Marks {
  /** Until when, on the clock's `now()`. */
  readonly #until: Map<string, number> = new Map()
  #characters = 0
  /** A scan of all addresses must not fill memory: characters of all keys. */
  static readonly MAX: number = 1024 * 1024

  has(key: string, now: number): boolean {
    const until = this.#until.get(key)
    if (until === undefined) return false
    if (until > now) return true
    this.delete(key)
    return false
  }

  set(key: string, until: number): void {
    this.delete(key)
    this.#until.set(key, until)
    this.#characters += key.length
    while (this.#characters > Marks.MAX) this.delete(this.#until.keys().next().value!)
  }

  delete(key: string): void {
    if (this.#until.delete(key)) this.#characters -= key.length
  }

  clear(): void {
    this.#until.clear()
    this.#characters = 0
  }
}
