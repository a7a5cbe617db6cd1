/**
 * What is done for one request is done apart from what was done for another.
 *
 * Node gives each callback of a socket or timer an async context of its own (`AsyncLocalStorage`). Here many requests come in one read of a
 * link, and many leave in one turn: an application that entered a store for its own (`enterWith()`, as tracing and session libraries do) would have
 * those that follow find it, and one client be taken for another.
 */

import { AsyncResource } from 'node:async_hooks'

const nobody: AsyncResource = new AsyncResource('GantryRequest')

/** Calls `act` of `self` in nobody's context. What it enters ends with the call, and stays in all that it has begun. */
export function apart<T, A = undefined>(act: (this: T, argument: A) => void, self: T, argument?: A): void {
  nobody.runInAsyncScope(act, self, argument)
}
