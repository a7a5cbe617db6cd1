/**
 * The fields in which the cache tells clients what it did: `Cache-Status` (RFC 9211) and `X-Cache`. It decides nothing.
 */

import type { Headers } from '../../protocol/contract/application.ts'

/** Why a request was forwarded to the application (RFC 9211 §2.2). */
export type ForwardReason = 'bypass' | 'method' | 'uri-miss' | 'vary-miss' | 'request' | 'stale'

export class CacheStatus {
  readonly #cacheStatus: boolean
  readonly #xCache: boolean
  readonly #name: string

  constructor({ cacheStatus, xCache, name }: { cacheStatus: boolean; xCache: boolean; name: string }) {
    this.#cacheStatus = cacheStatus
    this.#xCache = xCache
    this.#name = name
  }

  get isOff(): boolean {
    return !this.#cacheStatus && !this.#xCache
  }

  /** A stored response was used. @param ttl seconds until it is stale; negative if it is stale already */
  hit(headers: Headers, ttl: number): void {
    if (this.isOff) return
    this.#add(headers, ttl > 0 ? 'HIT' : 'STALE', `hit; ttl=${Math.floor(ttl)}`)
  }

  /** The response to another request was used. */
  collapsed(headers: Headers): void {
    if (this.isOff) return
    this.#add(headers, 'HIT', 'fwd=uri-miss; collapsed')
  }

  /** The application answered. */
  forwarded(headers: Headers, reason: ForwardReason): void {
    if (this.isOff) return
    this.#add(headers, reason === 'bypass' || reason === 'method' ? 'BYPASS' : 'MISS', `fwd=${reason}`)
  }

  /**
   * A stored response was used after the application was called.
   *
   * @param failedStatus the application's status if it failed, 0 if it answered 304
   */
  revalidated(headers: Headers, failedStatus: number): void {
    if (this.isOff) return
    if (failedStatus === 0) this.#add(headers, 'REVALIDATED', 'fwd=stale; fwd-status=304')
    else this.#add(headers, 'STALE', `fwd=stale; fwd-status=${failedStatus}; detail=stale-if-error`)
  }

  #add(headers: Headers, short: string, long: string): void {
    if (this.#cacheStatus) headers.push(['Cache-Status', `${this.#name}; ${long}`])
    if (this.#xCache) headers.push(['X-Cache', short])
  }
}
