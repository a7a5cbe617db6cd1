/** Turns of the event loop, as a test steps through them. */

import { Turn } from '../../protocol/net/batch.ts'
import type { Clock } from '../../protocol/net/clock.ts'

/** What was set for this turn's end before has happened. */
export const turnEnd = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** All that can happen before this turn's end. */
export async function sameTurn(): Promise<void> {
  for (let tick = 0; tick < 10; tick++) await new Promise<void>((resolve) => process.nextTick(resolve))
}

/** A turn after one in which several were answered, for all that keep time by `clock`. */
export async function busyTurn(clock: Clock): Promise<void> {
  for (let answers = 0; answers < 2; answers++) Turn.of(clock).leave({ leave() {} })
  await turnEnd()
}
