/** Waits for conditions that have no event. */

/** Time limit, ms: longer than a busy machine needs, and less than the runner's limit, which names no condition. */
const PATIENCE = 60_000
/** Effects within this process happen within this number of event-loop iterations. */
const ITERATIONS = 100

/**
 * Resolves once `condition` holds. It is checked in each event-loop iteration, and later each millisecond, so that the
 * awaited process gets the CPU.
 *
 * @throws Error after a minute, naming `what`
 */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string = String(condition),
): Promise<void> {
  for (let round = 0; round < ITERATIONS; round++) {
    if (await condition()) return
    await new Promise((resolve) => setImmediate(resolve))
  }
  const end = performance.now() + PATIENCE
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited ${PATIENCE / 1000} s in vain for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}
