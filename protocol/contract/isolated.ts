/** Runs the code of one request in its own async context (`AsyncLocalStorage`). */

import { AsyncResource } from 'node:async_hooks'

// Node gives each callback of a socket or timer its own async context. Here one read of a link delivers many requests,
// and one batch sends many responses: a store that an application enters for its request (`enterWith()`, as tracing and
// session libraries do) would leak into the requests that follow.
const empty: AsyncResource = new AsyncResource('GantryRequest')

/**
 * Calls `act` with `self` as `this`, in a fresh async context: an AsyncLocalStorage store entered inside is visible to
 * work started there and to nothing else.
 */
export function runIsolated<T, A = undefined>(act: (this: T, argument: A) => void, self: T, argument?: A): void {
  empty.runInAsyncScope(act, self, argument)
}
