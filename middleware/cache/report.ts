/** What the cache tells clients of itself, where it is asked to: `Cache-Status` (RFC 9211) and `X-Cache`. It decides nothing. */

import type { Headers } from '../../protocol/contract/application.ts'

/** Why a request went to the application (RFC 9211 §2.2). */
export type Forward = 'bypass' | 'method' | 'uri-miss' | 'vary-miss' | 'request' | 'stale'

export class Reporter {
  readonly #cacheStatus: boolean
  readonly #xCache: boolean
  readonly #name: string

  constructor({ cacheStatus, xCache, name }: { cacheStatus: boolean; xCache: boolean; name: string }) {
    this.#cacheStatus = cacheStatus
    this.#xCache = xCache
    this.#name = name
  }

  get silent(): boolean {
    return !this.#cacheStatus && !this.#xCache
  }

  /** From the cache. @param ttl seconds it is still fresh for; negative when it is stale */
  hit(headers: Headers, ttl: number): void {
    if (this.silent) return
    this.#add(headers, ttl > 0 ? 'HIT' : 'STALE', `hit; ttl=${Math.floor(ttl)}`)
  }

  /** From another request's response. */
  collapsed(headers: Headers): void {
    if (this.silent) return
    this.#add(headers, 'HIT', 'fwd=uri-miss; collapsed')
  }

  /** From the application. */
  forwarded(headers: Headers, why: Forward): void {
    if (this.silent) return
    this.#add(headers, why === 'bypass' || why === 'method' ? 'BYPASS' : 'MISS', `fwd=${why}`)
  }

  /** From the cache after the application was asked. @param failed its status, or 0 when it said that nothing has changed */
  renewed(headers: Headers, failed: number): void {
    if (this.silent) return
    if (failed === 0) this.#add(headers, 'REVALIDATED', 'fwd=stale; fwd-status=304')
    else this.#add(headers, 'STALE', `fwd=stale; fwd-status=${failed}; detail=stale-if-error`)
  }

  #add(headers: Headers, short: string, long: string): void {
    if (this.#cacheStatus) headers.push(['Cache-Status', `${this.#name}; ${long}`])
    if (this.#xCache) headers.push(['X-Cache', short])
  }
}
