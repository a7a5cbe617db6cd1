/**
 * Calls the application for the cache, and decides by the head of each response what happens to it: store and share it,
 * answer from the stored response, or neither. `shared-fetch.ts` runs the call; `cache-handler.ts` answers the clients.
 */

import type { Application, Environ, Headers } from '../../protocol/contract/application.ts'
import { headerOf } from '../shared/response-fields.ts'
import { BodyCollector } from './body-collector.ts'
import { cacheLog } from './cache-log.ts'
import { type CacheRequest, requestFields } from './cache-request.ts'
import type { CacheSettings } from './options.ts'
import { ageOf, isUsableOnError, type StoragePolicy, type StoredHead } from './policy.ts'
import { type Decision, type FetchHost, SharedFetch } from './shared-fetch.ts'
import { SharedFetches } from './shared-fetches.ts'
import { type Store, StoredResponse } from './store.ts'
import type { UncacheableKeys } from './uncacheable-keys.ts'

/** The statuses that `stale-if-error` covers (RFC 5861 §4). */
const SERVER_FAILURES: ReadonlySet<number> = new Set([500, 502, 503, 504])

/** How a fetch is started. */
interface FetchOptions {
  /** The stored response that the fetch revalidates. */
  readonly stale: StoredResponse | undefined
  /** Whether other requests may wait for the response. */
  readonly open: boolean
  /** Whether the fetch is the cache's own, without a client. */
  readonly background: boolean
}

export class Fetcher {
  readonly #settings: CacheSettings
  readonly #store: Store
  readonly #policy: StoragePolicy
  readonly #uncacheable: UncacheableKeys
  /** The fetches in progress. */
  readonly fetches: SharedFetches = new SharedFetches()
  /** Number of responses stored so far. */
  stored = 0

  constructor(settings: CacheSettings, store: Store, policy: StoragePolicy, uncacheable: UncacheableKeys) {
    this.#settings = settings
    this.#store = store
    this.#policy = policy
    this.#uncacheable = uncacheable
  }

  /** Prepares a fetch and makes it visible to other requests. The caller joins it and calls its `run()`. */
  prepare(
    application: Application,
    request: CacheRequest,
    environ: Environ,
    { stale, open, background }: FetchOptions,
  ): SharedFetch {
    const { uri, keySuffix } = request
    // A background request leaves out fields of the client: those fields must not count as sent.
    const snapshot = background
      ? { variables: requestFields(environ), authenticated: false, startedAt: this.#settings.clock.now() }
      : request.snapshot
    const { gantry, 'wsgi.errors': errors } = request.environ
    const { clock, log, backgroundTimeout, maxObjectBytes } = this.#settings
    const host: FetchHost = {
      clock,
      log: cacheLog(log, request.environ),
      timeout: backgroundTimeout,
      decide: (fetch, status, headers) => this.#decide(request, fetch, status, headers),
      collect: (length) => BodyCollector.start(this.#store, maxObjectBytes, length),
      complete: (fetch, head, body) => this.#complete(fetch, head, body),
      ended: (fetch) => this.fetches.delete(fetch),
    }
    const plan = { uri, keySuffix, snapshot, stale, open, background, gantry, errors: background ? undefined : errors }
    const fetch = new SharedFetch(application, environ, plan, host)
    this.fetches.add(fetch)
    return fetch
  }

  #decide(request: CacheRequest, fetch: SharedFetch, status: string, headers: Headers): Decision {
    const { snapshot, stale } = fetch.plan
    const { clock, passTime } = this.#settings
    const now = clock.now()
    const code = Number(status.slice(0, 3))
    if (stale) {
      if (code === 304) return this.#revalidated(fetch, stale, headers)
      if (SERVER_FAILURES.has(code) && isUsableOnError(stale.head, now, request.directives)) {
        return { kind: 'stored', response: stale, extraHeaders: [], failedStatus: code }
      }
      // A 4xx for one client (401, 429…) says nothing about the resource. A success, a redirect, a 404 or a 410 does:
      // the stale response is obsolete.
      const isObsolete = code < 400 || code === 404 || code === 410
      if (isObsolete && ageOf(stale.head, now) >= stale.head.lifetime) this.#store.remove(stale)
    }
    const head = this.#policy.storableHead(snapshot, status, headers)
    // Later requests need not wait for responses that cannot be shared. A 5xx is not a property of the resource.
    if (code < 500 && passTime > 0 && !(head && head.lifetime > 0)) {
      this.#uncacheable.set(request.passKey, now + passTime)
    } else if (head) this.#uncacheable.delete(request.passKey)
    return { kind: 'response', status, headers, head }
  }

  #revalidated(fetch: SharedFetch, stale: StoredResponse, headers: Headers): Decision {
    const head = this.#policy.freshen(stale.head, fetch.plan.snapshot, headers)
    if (head === undefined || head === 'other') {
      this.#store.remove(stale)
      return { kind: 'unshared' }
    }
    const extraHeaders = headers.filter(([name]) => name.toLowerCase() === 'set-cookie')
    if (!fetch.invalidated && stale.isStored) {
      this.#store.update(stale, head)
      return { kind: 'stored', response: stale, extraHeaders, failedStatus: 0 }
    }
    const response = new StoredResponse(stale.uri, stale.keySuffix, head, stale.body)
    return { kind: 'stored', response, extraHeaders, failedStatus: 0 }
  }

  #complete(fetch: SharedFetch, head: StoredHead, body: Uint8Array): StoredResponse {
    const { uri, keySuffix, snapshot } = fetch.plan
    const headers =
      head.code === 204 || headerOf(head.headers, 'content-length') !== undefined
        ? head.headers
        : [...head.headers, ['Content-Length', String(body.length)] as [string, string]]
    const response = new StoredResponse(uri, keySuffix, { ...head, headers }, body)
    if (!fetch.invalidated && this.#store.add(response, snapshot)) this.stored++
    return response
  }
}
