/**
 * Handles one cacheable request: serves it from the store, waits for an identical request in progress, or calls the
 * application. `policy.ts` decides what may be stored and reused, `store.ts` keeps it, `fetcher.ts` calls the
 * application.
 */

// A client never gets a response that the application made for another client, unless the head of that response allows
// sharing and its `Vary` matches. A request that waits for another one's response is checked against that head, and
// calls the application itself if it does not match.

import type { Application, Body, Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { unchangedHeaders } from '../conditional/preconditions.ts'
import { environForBackground, environForClient } from './application-environ.ts'
import { cacheLog } from './cache-log.ts'
import type { CacheRequest } from './cache-request.ts'
import type { CacheStats } from './cache-stats.ts'
import { CacheStatus, type ForwardReason } from './cache-status.ts'
import type { FetchReader } from './fetch-reader.ts'
import { Fetcher } from './fetcher.ts'
import { keySuffixOf, uriOf } from './key.ts'
import type { CacheSettings } from './options.ts'
import { ageOf, matchesRequest, reuseOf, StoragePolicy, type StoredHead } from './policy.ts'
import { copied, isUnchanged, respond } from './respond.ts'
import type { Decision, SharedFetch } from './shared-fetch.ts'
import { completeBody, SharedFetchBody } from './shared-fetch-body.ts'
import { Store, type StoredResponse } from './store.ts'
import { UncacheableKeys } from './uncacheable-keys.ts'
import { WaitDeadline } from './wait-deadline.ts'

/**
 * A request waits for others at most this often, each time with more knowledge of their `Vary`; then it is forwarded.
 */
const MAX_WAITS = 3
/**
 * After a failed background request the next one starts no earlier than this, ms: not every client calls a failed
 * application.
 */
const RETRY_DELAY = 1_000

export class CacheHandler {
  readonly #settings: CacheSettings
  readonly #store: Store
  readonly #policy: StoragePolicy
  readonly #uncacheable: UncacheableKeys = new UncacheableKeys()
  readonly #fetcher: Fetcher
  readonly #cacheStatus: CacheStatus
  readonly #count = { hits: 0, stale: 0, misses: 0, revalidated: 0, collapsed: 0, passed: 0 }
  #backgroundFetches = 0

  constructor(settings: CacheSettings) {
    this.#settings = settings
    this.#store = new Store(settings)
    this.#policy = new StoragePolicy(settings)
    this.#fetcher = new Fetcher(settings, this.#store, this.#policy, this.#uncacheable)
    this.#cacheStatus = new CacheStatus(settings)
  }

  stats(): CacheStats {
    const { bytes, entries, evicted } = this.#store
    return { ...this.#count, stored: this.#fetcher.stored, evicted, bytes, entries }
  }

  invalidate(uri: string): number {
    this.#fetcher.fetches.invalidate(uri)
    return this.#store.invalidate(uri)
  }

  clear(): void {
    this.#fetcher.fetches.invalidateAll()
    this.#store.clear()
    this.#uncacheable.clear()
  }

  /** Counts a request that the cache does not handle, and adds the status fields to its response. */
  passThrough(startResponse: StartResponse, reason: ForwardReason): StartResponse {
    this.#count.passed++
    if (this.#cacheStatus.isOff) return startResponse
    return (status, headers, excInfo) => {
      const fields = [...headers]
      this.#cacheStatus.forwarded(fields, reason)
      return startResponse(status, fields, excInfo)
    }
  }

  /** Answers a GET or HEAD. */
  serve(application: Application, request: CacheRequest): Body | Promise<Body> {
    const { environ, directives, authenticated } = request
    const now = this.#settings.clock.now()
    const response = this.#store.find(request.uri, request.keySuffix, environ, authenticated)
    if (response) {
      const reuse = reuseOf(response.head, now, directives)
      if (reuse === 'fresh' || reuse === 'stale') return this.#serveStored(request, response, now)
      if (reuse === 'while-revalidating' && this.#revalidateInBackground(application, request, response, now)) {
        return this.#serveStored(request, response, now)
      }
      const isFresh = directives.size > 0 && reuseOf(response.head, now, new Map()) === 'fresh'
      request.forwardReason = isFresh ? 'request' : 'stale'
    } else if (this.#store.hasKey(request.uri, request.keySuffix)) request.forwardReason = 'vary-miss'
    if (directives.has('only-if-cached')) return statusPage(504)(environ, request.startResponse)
    // Responses to HEAD and Range requests are not stored, and would not revalidate a stored GET.
    if (environ.REQUEST_METHOD === 'HEAD' || environ['HTTP_RANGE'] !== undefined) {
      return this.#forwardAlone(application, request)
    }

    const mayShare = !authenticated && !directives.has('no-cache') && directives.get('max-age') !== '0'
    const isUncacheable = this.#uncacheable.has(request.passKey, now)
    if (isUncacheable && !response) return this.#forwardAlone(application, request)
    if (!mayShare || isUncacheable || this.#settings.waitLimit === 0) {
      return this.#fetch(application, request, response, false)
    }
    const known = (): Set<string> => this.#store.variesOn(request.uri, request.keySuffix)
    const fetch = this.#fetcher.fetches.joinable(request, known)
    if (!fetch) return this.#fetch(application, request, response, true)
    if (request.waits >= MAX_WAITS) return this.#forwardAlone(application, request)
    request.waits++
    return this.#waitForFetch(application, request, fetch)
  }

  // ---- from the store ----------------------------------------------------------------------------------------------

  #serveStored(request: CacheRequest, response: StoredResponse, now: number): Body {
    const { head } = response
    const age = ageOf(head, now)
    const added: Headers = [['Age', String(Math.floor(age))]]
    const secondsLeft = head.lifetime - age
    this.#cacheStatus.hit(added, secondsLeft)
    if (secondsLeft > 0) this.#count.hits++
    else this.#count.stale++
    return this.#respond(request, response, added)
  }

  #respond(request: CacheRequest, { head, body }: StoredResponse, added: Headers): Body {
    const complete = { status: head.status, headers: head.headers, body }
    return respond(complete, request.environ, request.startResponse, added, this.#settings.clock)
  }

  /**
   * Starts the revalidation of a stale response, unless it is in progress or must wait.
   *
   * @returns whether the stale response may be served now: this request or a later one revalidates it
   */
  #revalidateInBackground(
    application: Application,
    request: CacheRequest,
    response: StoredResponse,
    now: number,
  ): boolean {
    const { gantry } = request.environ
    // Only an authenticated request could revalidate it, and a background request carries no credentials.
    if (request.authenticated || response.head.fromAuthenticated) return false
    const isBusy = this.#backgroundFetches >= this.#settings.maxBackground
    if (response.isRevalidating || isBusy || now < response.revalidateAfter || gantry.draining) return true
    const environ = environForBackground(request.environ, response, this.#settings.carry)
    // If the background request has another key, its response would belong to other requests.
    const ownKey = this.#settings.key === undefined ? '' : this.#settings.key(environ)
    if (ownKey === undefined || uriOf(environ) !== request.uri) return false
    if (keySuffixOf(environ, request.mountIndex, ownKey) !== request.keySuffix) return false
    if (!matchesRequest(response.head, environ, false)) return false
    response.isRevalidating = true
    this.#backgroundFetches++
    const fetch = this.#fetcher.prepare(application, request, environ, {
      stale: response,
      open: true,
      background: true,
    })
    fetch.run()
    void fetch.whenSettled.then(() => {
      response.isRevalidating = false
      this.#backgroundFetches--
      const { decision } = fetch
      if (fetch.response || (decision?.kind === 'stored' && decision.failedStatus === 0)) return
      response.revalidateAfter = this.#settings.clock.now() + RETRY_DELAY
      const { requestId } = gantry
      const status =
        decision?.kind === 'stored'
          ? decision.failedStatus
          : decision?.kind === 'response'
            ? decision.status
            : undefined
      this.#log(request.environ).warn(
        { requestId, code: 'CACHE_RENEWAL', status },
        'revalidating a stale response failed',
      )
    })
    return true
  }

  // ---- from the application ----------------------------------------------------------------------------------------

  /**
   * Calls the application for this client alone. The head may show that responses for this key can be shared after all.
   */
  #forwardAlone(application: Application, request: CacheRequest): Body | Promise<Body> {
    const { environ, startResponse } = request
    this.#count.misses++
    const isPlainGet = environ.REQUEST_METHOD === 'GET' && environ['HTTP_RANGE'] === undefined
    return application(environ, (status, headers, excInfo) => {
      if (isPlainGet) {
        const head = this.#policy.storableHead(request.liveView, status, headers)
        if (head && head.lifetime > 0) this.#uncacheable.delete(request.passKey)
      }
      if (this.#cacheStatus.isOff) return startResponse(status, headers, excInfo)
      const fields = [...headers]
      this.#cacheStatus.forwarded(fields, request.forwardReason)
      return startResponse(status, fields, excInfo)
    })
  }

  /** As `#forwardAlone`, unless the client disconnected during the wait. */
  #forwardAfterWait(application: Application, request: CacheRequest): Body | Promise<Body> {
    return request.isAborted ? [] : this.#forwardAlone(application, request)
  }

  /**
   * Calls the application with a fetch that other requests may share. @param open whether others may wait for its head
   */
  #fetch(
    application: Application,
    request: CacheRequest,
    stale: StoredResponse | undefined,
    open: boolean,
  ): Body | Promise<Body> {
    const environ = environForClient(request.environ, stale)
    const fetch = this.#fetcher.prepare(application, request, environ, { stale, open, background: false })
    const reader = fetch.join(true)
    fetch.run()
    if (fetch.decision) return this.#serveFetched(application, request, fetch, reader, fetch.decision)
    return this.#awaitFetch(application, request, fetch, reader)
  }

  async #awaitFetch(
    application: Application,
    request: CacheRequest,
    fetch: SharedFetch,
    reader: FetchReader,
  ): Promise<Body> {
    const { signal } = request.environ.gantry
    const leave = (): void => reader.leave(request.abortReason)
    signal.addEventListener('abort', leave, { once: true })
    if (signal.aborted) leave()
    // The change promise also resolves when the reader leaves.
    while (!fetch.decision && !signal.aborted) await fetch.nextChange()
    signal.removeEventListener('abort', leave)
    if (signal.aborted || !fetch.decision) {
      // The slot stays taken until the application is done, unless other requests have taken over the response.
      if (!fetch.isNeeded) await fetch.whenSettled
      return []
    }
    return this.#serveFetched(application, request, fetch, reader, fetch.decision)
  }

  #serveFetched(
    application: Application,
    request: CacheRequest,
    fetch: SharedFetch,
    reader: FetchReader,
    decision: Decision,
  ): Body | Promise<Body> {
    if (decision.kind === 'unshared') {
      reader.leave()
      return this.#forwardAfterWait(application, request)
    }
    if (decision.kind === 'stored') {
      reader.leave()
      if (fetch.thrown !== undefined) {
        const { requestId } = request.environ.gantry
        const message = 'the application failed; the cache served a stale response instead'
        this.#log(request.environ).error({ requestId, err: fetch.thrown }, message)
      }
      return this.#serveRevalidated(request, decision, decision.extraHeaders)
    }
    if (fetch.thrown !== undefined) {
      reader.leave()
      throw fetch.thrown
    }
    this.#count.misses++
    const { status, headers } = decision
    const fields = copied(headers, [])
    this.#cacheStatus.forwarded(fields, request.forwardReason)
    if (status.startsWith('200') && isUnchanged(request.environ, headers)) {
      // The client has the response, but the store does not.
      if (decision.head) fetch.continueForStore()
      reader.leave()
      request.startResponse('304 Not Modified', unchangedHeaders(fields))
      return completeBody([], fetch, reader)
    }
    try {
      const write = request.startResponse(status, fields)
      const chunks = fetch.completeChunks
      if (chunks) return completeBody(chunks, fetch, reader)
      // The application sent its head before its first chunk: so does the cache.
      if (fetch.isHeadOnly) write(new Uint8Array(0)).catch(() => {})
    } catch (error) {
      reader.leave()
      throw error
    }
    return new SharedFetchBody(fetch, reader, request)
  }

  #serveRevalidated(
    request: CacheRequest,
    { response, failedStatus }: Decision & { kind: 'stored' },
    extraHeaders: Headers,
  ): Body {
    const added: Headers = [this.#ageField(response.head), ...extraHeaders]
    this.#cacheStatus.revalidated(added, failedStatus)
    if (failedStatus > 0) this.#count.stale++
    else this.#count.revalidated++
    return this.#respond(request, response, added)
  }

  // ---- from another request's fetch (collapsed forwarding) ----------------------------------------------------------

  async #waitForFetch(application: Application, request: CacheRequest, fetch: SharedFetch): Promise<Body> {
    const reader = fetch.join(false)
    const deadline = new WaitDeadline(request, this.#settings)
    try {
      while (!fetch.decision && !deadline.isOver) await Promise.race([fetch.nextChange(), deadline.whenOver])
      const { decision } = fetch
      if (!decision || deadline.isOver || decision.kind === 'unshared') {
        return this.#forwardAfterWait(application, request)
      }
      if (decision.kind === 'stored') {
        const { head } = decision.response
        if (!matchesRequest(head, request.environ, request.authenticated)) return this.serve(application, request)
        const reuse = reuseOf(head, this.#settings.clock.now(), request.directives)
        if (decision.failedStatus === 0 && reuse === 'no') return this.#forwardAfterWait(application, request)
        return this.#serveRevalidated(request, decision, [])
      }
      const { head } = decision
      if (!head) return this.#forwardAfterWait(application, request)
      if (!matchesRequest(head, request.environ, request.authenticated)) return this.serve(application, request)
      if (reuseOf(head, this.#settings.clock.now(), request.directives) !== 'fresh') {
        return this.#forwardAfterWait(application, request)
      }
      if (fetch.isShareable && !fetch.isEnded) {
        return this.#serveCollapsed(request, fetch, reader, decision.status, head)
      }
      // A body of unknown length may become too large to store: read along until the body is complete or abandoned.
      while (!fetch.isEnded && decision.head && !deadline.isOver) {
        await Promise.race([reader.next(), deadline.whenOver])
      }
      if (!fetch.response) return this.#forwardAfterWait(application, request)
      return this.#respond(request, fetch.response, this.#countCollapsed(head))
    } catch (error) {
      // The fetch was aborted before this client saw any of its response.
      if (!fetch.hasFailed) throw error
      return this.#forwardAfterWait(application, request)
    } finally {
      deadline.cancel()
      if (!reader.belongsToBody) reader.leave(request.abortReason)
    }
  }

  #serveCollapsed(
    request: CacheRequest,
    fetch: SharedFetch,
    reader: FetchReader,
    status: string,
    head: StoredHead,
  ): Body {
    const fields = copied(head.headers, this.#countCollapsed(head))
    if (status.startsWith('200') && isUnchanged(request.environ, head.headers)) {
      request.startResponse('304 Not Modified', unchangedHeaders(fields))
      return []
    }
    request.startResponse(status, fields)
    reader.belongsToBody = true
    return new SharedFetchBody(fetch, reader, request)
  }

  #countCollapsed(head: StoredHead): Headers {
    const added: Headers = [this.#ageField(head)]
    this.#cacheStatus.collapsed(added)
    this.#count.collapsed++
    return added
  }

  #log(environ: Environ): Logger {
    return cacheLog(this.#settings.log, environ)
  }

  #ageField(head: StoredHead): [string, string] {
    return ['Age', String(Math.floor(ageOf(head, this.#settings.clock.now())))]
  }
}
