/** The statistics of a cache, as `cache().stats()` returns them. */

/** What a cache has done since it was created. */
export interface CacheStats {
  /** Requests answered from memory with a fresh response. */
  readonly hits: number
  /**
   * Requests answered with a stale response: while it is revalidated, because the client accepts it, or instead of a
   * failure.
   */
  readonly stale: number
  /** Requests answered by the application. */
  readonly misses: number
  /** Requests answered from memory after the application confirmed the stored response with 304. */
  readonly revalidated: number
  /** Requests answered with the response to another request in progress (collapsed forwarding). */
  readonly collapsed: number
  /** Requests that the cache does not handle: other methods, upgrades, requests with a body… */
  readonly passed: number
  /** Responses stored. */
  readonly stored: number
  /** Stored responses removed to make room for others. */
  readonly evicted: number
  /** Bytes in use now, including bodies that are being collected. */
  readonly bytes: number
  /** Responses in the store now. */
  readonly entries: number
}
