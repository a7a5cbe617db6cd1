/** Steps of Node's event loop, for code that must not hold it up. */

/**
 * Lets the event loop go on: resolves after it has polled the sockets once (its check phase). Unlike `process.nextTick`
 * and promises, which run before the event loop goes on, a loop that awaits this in each round does not starve others.
 */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
