/**
 * Keeps stored responses by URI, key and `Vary`, and evicts the least recently used ones when there is no room. Counts
 * every byte, including bodies that are being collected. Knows no HTTP.
 */

import type { Environ, Headers } from '../../protocol/contract/application.ts'
import { matchesRequest, type RequestSnapshot, type StoredHead } from './policy.ts'

interface StoreLimits {
  readonly maxBytes: number
  readonly maxEntries: number
  readonly maxVariants: number
}

/** A stored response. Only the store changes `size`, `isStored` and the list links. */
export class StoredResponse {
  readonly uri: string
  readonly keySuffix: string
  readonly body: Uint8Array
  head: StoredHead
  /** Bytes that count towards the limit. */
  size: number
  /** A background request revalidates the response now. */
  isRevalidating = false
  /** After a failed background request: no other one before this time, on the clock's `now()`. */
  revalidateAfter = 0
  /** Neighbours in the order of use. */
  newer: StoredResponse | undefined
  older: StoredResponse | undefined
  isStored = false

  constructor(uri: string, keySuffix: string, head: StoredHead, body: Uint8Array) {
    this.uri = uri
    this.keySuffix = keySuffix
    this.head = head
    this.body = body
    this.size = sizeOf(uri, keySuffix, head, body)
  }
}

/** Objects, map slots and arrays, bytes: about 900 were measured for a small response with ten fields; rounded up. */
const OVERHEAD = 1024

function sizeOf(uri: string, keySuffix: string, head: StoredHead, body: Uint8Array): number {
  let bytes = OVERHEAD + uri.length + keySuffix.length + body.length + head.status.length + fieldBytes(head.headers)
  for (const value of head.varyValues) bytes += value?.length ?? 0
  return bytes
}

function fieldBytes(headers: Headers): number {
  let bytes = 0
  for (const [name, value] of headers) bytes += name.length + value.length
  return bytes
}

export class Store {
  readonly #limits: StoreLimits
  readonly #byUri: Map<string, StoredResponse[]> = new Map()
  #newest: StoredResponse | undefined
  #oldest: StoredResponse | undefined
  #entries = 0
  #bytes = 0
  /** The part of `#bytes` that is reserved for bodies in progress. */
  #reservedBytes = 0
  #evicted = 0

  constructor(limits: StoreLimits) {
    this.#limits = limits
  }

  /** Bytes in use, including bodies that are being collected. */
  get bytes(): number {
    return this.#bytes
  }

  get entries(): number {
    return this.#entries
  }

  /** Number of responses removed to make room for others. */
  get evicted(): number {
    return this.#evicted
  }

  /** The response for such a request. If several match, the one stored last (RFC 9111 §4). */
  find(
    uri: string,
    keySuffix: string,
    variables: Environ | RequestSnapshot['variables'],
    authenticated: boolean,
  ): StoredResponse | undefined {
    const responses = this.#byUri.get(uri)
    if (responses === undefined) return undefined
    for (let at = responses.length - 1; at >= 0; at--) {
      const response = responses[at]!
      if (response.keySuffix === keySuffix && matchesRequest(response.head, variables, authenticated)) {
        this.#use(response)
        return response
      }
    }
    return undefined
  }

  /** Whether any response has that key, whatever it varies on. */
  hasKey(uri: string, keySuffix: string): boolean {
    return this.#byUri.get(uri)?.some((response) => response.keySuffix === keySuffix) ?? false
  }

  /** The variables that the stored responses for that key vary on. */
  variesOn(uri: string, keySuffix: string): Set<string> {
    const names = new Set<string>()
    for (const response of this.#byUri.get(uri) ?? []) {
      if (response.keySuffix === keySuffix) for (const name of response.head.vary) names.add(name)
    }
    return names
  }

  /** Stores a response in place of those that the same request would match. Returns false if there is no room. */
  add(response: StoredResponse, snapshot: RequestSnapshot): boolean {
    for (const other of [...(this.#byUri.get(response.uri) ?? [])]) {
      if (other.keySuffix === response.keySuffix && matchesRequest(other.head, snapshot.variables, false))
        this.remove(other)
    }
    if (!this.#makeRoom(response.size)) return false
    this.#bytes += response.size
    let responses = this.#byUri.get(response.uri)
    // One URI must not evict all others, and a long list of variants would make each lookup slow.
    if (responses !== undefined && responses.length >= this.#limits.maxVariants) {
      this.#evict(responses[0]!)
      responses = this.#byUri.get(response.uri)
    }
    if (responses === undefined) this.#byUri.set(response.uri, [response])
    else responses.push(response)
    response.isStored = true
    this.#entries++
    this.#link(response)
    while (this.#entries > this.#limits.maxEntries && this.#oldest !== response) this.#evict(this.#oldest!)
    return true
  }

  /** Replaces the head of a stored response after revalidation. */
  update(response: StoredResponse, head: StoredHead): void {
    const size = sizeOf(response.uri, response.keySuffix, head, response.body)
    response.head = head
    if (!response.isStored) return
    this.#bytes += size - response.size
    response.size = size
    this.#use(response)
    while (this.#bytes > this.#limits.maxBytes && this.#oldest !== undefined) this.#evict(this.#oldest)
  }

  /** Does nothing if the response is no longer stored. */
  remove(response: StoredResponse): void {
    if (!response.isStored) return
    response.isStored = false
    const responses = this.#byUri.get(response.uri)!
    if (responses.length === 1) this.#byUri.delete(response.uri)
    else responses.splice(responses.indexOf(response), 1)
    this.#unlink(response)
    this.#entries--
    this.#bytes -= response.size
  }

  invalidate(uri: string): number {
    const responses = [...(this.#byUri.get(uri) ?? [])]
    for (const response of responses) this.remove(response)
    return responses.length
  }

  clear(): void {
    while (this.#oldest !== undefined) this.remove(this.#oldest)
  }

  /** Reserves bytes for a body in progress, and evicts responses if necessary. Returns false if there is no room. */
  reserve(bytes: number): boolean {
    if (!this.#makeRoom(bytes)) return false
    this.#reservedBytes += bytes
    this.#bytes += bytes
    return true
  }

  /** Returns reserved bytes. */
  release(bytes: number): void {
    this.#reservedBytes -= bytes
    this.#bytes -= bytes
  }

  #makeRoom(bytes: number): boolean {
    // If the bytes cannot fit even in an empty store, nothing is evicted.
    if (this.#reservedBytes + bytes > this.#limits.maxBytes) return false
    while (this.#bytes + bytes > this.#limits.maxBytes) this.#evict(this.#oldest!)
    return true
  }

  #evict(response: StoredResponse): void {
    this.#evicted++
    this.remove(response)
  }

  #use(response: StoredResponse): void {
    if (response === this.#newest || !response.isStored) return
    this.#unlink(response)
    this.#link(response)
  }

  #link(response: StoredResponse): void {
    response.older = this.#newest
    response.newer = undefined
    if (this.#newest) this.#newest.newer = response
    this.#newest = response
    this.#oldest ??= response
  }

  #unlink(response: StoredResponse): void {
    if (response.newer) response.newer.older = response.older
    else this.#newest = response.older
    if (response.older) response.older.newer = response.newer
    else this.#oldest = response.newer
    response.newer = undefined
    response.older = undefined
  }
}
