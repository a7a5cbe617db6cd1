/**
 * The shared fetches in progress, by URI: which one a request may wait for, and which ones an unsafe request
 * invalidates.
 */

import type { CacheRequest } from './cache-request.ts'
import { matchesRequest } from './policy.ts'
import type { SharedFetch } from './shared-fetch.ts'

export class SharedFetches {
  readonly #byUri: Map<string, Set<SharedFetch>> = new Map()

  add(fetch: SharedFetch): void {
    const { uri } = fetch.plan
    const fetches = this.#byUri.get(uri)
    if (fetches) fetches.add(fetch)
    else this.#byUri.set(uri, new Set([fetch]))
  }

  delete(fetch: SharedFetch): void {
    const { uri } = fetch.plan
    const fetches = this.#byUri.get(uri)
    if (!fetches?.delete(fetch)) return
    if (fetches.size === 0) this.#byUri.delete(uri)
  }

  /**
   * The fetch whose response will probably fit `request`: it has the same key, and the same values of the fields that
   * the responses for that key are known to vary on. The caller checks the head when it arrives.
   *
   * @param known returns the variables that stored responses vary on
   */
  joinable(request: CacheRequest, known: () => Set<string>): SharedFetch | undefined {
    const fetches = this.#byUri.get(request.uri)
    if (fetches === undefined) return undefined
    let names: Set<string> | undefined
    for (const fetch of fetches) {
      const { plan, decision } = fetch
      if (plan.keySuffix !== request.keySuffix || !plan.open || fetch.isEnded || fetch.invalidated) continue
      if (decision) {
        const head = decision.kind === 'response' ? decision.head : undefined
        if (head && matchesRequest(head, request.environ, request.authenticated)) return fetch
        continue
      }
      names ??= addVariesOn(known(), fetches, request)
      let isSame = true
      for (const name of names) isSame &&= plan.snapshot.variables[name] === request.environ[name]
      if (isSame) return fetch
    }
    return undefined
  }

  /** Forbids the fetches for `uri` to store their responses, and new requests to wait for them. */
  invalidate(uri: string): void {
    for (const fetch of this.#byUri.get(uri) ?? []) fetch.invalidated = true
  }

  invalidateAll(): void {
    for (const fetches of this.#byUri.values()) for (const fetch of fetches) fetch.invalidated = true
  }
}

/** Adds the variables that the responses in progress vary on. */
function addVariesOn(names: Set<string>, fetches: Set<SharedFetch>, request: CacheRequest): Set<string> {
  for (const { plan, decision } of fetches) {
    if (plan.keySuffix !== request.keySuffix || decision?.kind !== 'response' || !decision.head) continue
    for (const name of decision.head.vary) names.add(name)
  }
  return names
}
