/** Steps through iterations of the event loop in tests. */

import type { Clock } from '../../protocol/net/clock.ts'
import { ResponseBatch } from '../../protocol/net/response-batch.ts'

/** Resolves in the check phase of this event-loop iteration, after what was scheduled there before. */
export const iterationEnd = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Resolves after the ticks of this callback: before the next phase of the event loop. */
export async function afterTicks(): Promise<void> {
  for (let tick = 0; tick < 10; tick++) await new Promise<void>((resolve) => process.nextTick(resolve))
}

/** Lets an iteration pass in which several connections with `clock` were flushed: the next responses are batched. */
export async function busyIteration(clock: Clock): Promise<void> {
  for (let connections = 0; connections < 2; connections++) ResponseBatch.of(clock).add({ flushBatched() {} })
  await iterationEnd()
}
