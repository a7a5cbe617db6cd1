/** Waiting for what a test cannot be told of. */

/**
 * A wait that lasts longer than this is in vain, ms: so long that no busy machine needs it, and less than the runner's
 * limit, which names no condition.
 */
const PATIENCE = 60_000
/** What comes from this process comes within so many turns of its loop. */
const TURNS = 100

/**
 * Resolves once `condition` holds. Looked at in each turn of the event loop, and later each millisecond, so that
 * whoever it waits for has the processor.
 *
 * @throws Error after a minute, naming `what`
 */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string = String(condition),
): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) {
    if (await condition()) return
    await new Promise((resolve) => setImmediate(resolve))
  }
  const end = performance.now() + PATIENCE
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited ${PATIENCE / 1000} s in vain for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}
