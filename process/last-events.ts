/**
 * Waits for the 'close' events of connections that have just been destroyed. Streams emit them later, so a process that
 * exits immediately after the last connection would not call the application's listeners.
 */

/**
 * A stream emits 'close' one tick after its destroy(), a socket one event-loop iteration after, and each stage between
 * the connection and the application (a pipeline, `ws`) may add one. Ten iterations take well under a millisecond.
 */
const ITERATIONS = 10

/** Resolves when the listeners of streams that were destroyed before this call have been called. */
export async function lastEvents(): Promise<void> {
  for (let count = 0; count < ITERATIONS; count++) await new Promise<void>((resolve) => setImmediate(resolve))
}
