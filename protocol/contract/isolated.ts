/**
 * Runs code for one request in an async context of its own.
 *
 * Node gives each callback of a socket or timer its own async context (`AsyncLocalStorage`). Here one read of a link
 * delivers many requests, and one batch sends many responses. A store that an application enters for its own request
 * (`enterWith()`, as tracing and session libraries do) would leak into the requests that follow.
 */

import { AsyncResource } from 'node:async_hooks'

const empty: AsyncResource = new AsyncResource('GantryRequest')

/**
 * Calls `act` with `self` as `this`, in a fresh async context: an AsyncLocalStorage store entered inside is visible to
 * work started there and to nothing else.
 */
export function runIsolated<T, A = undefined>(act: (this: T, argument: A) => void, self: T, argument?: A): void {
  empty.runInAsyncScope(act, self, argument)
}
