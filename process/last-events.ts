/**
 * Time for the listeners of an application whose connections have just been closed. A process that exits as soon as the
 * last connection is destroyed calls none of them: streams emit 'close' later.
 */

/**
 * A stream emits 'close' a tick after its destroy(), a socket an event-loop iteration after, and each stage between the
 * connection and the application (a pipeline, `ws`) may add one. Ten iterations take well under a millisecond.
 */
const ITERATIONS = 10

/** Resolves when events of streams that were destroyed before this call have been emitted, and their listeners were called. */
export async function lastEvents(): Promise<void> {
  for (let count = 0; count < ITERATIONS; count++) await new Promise<void>((resolve) => setImmediate(resolve))
}
