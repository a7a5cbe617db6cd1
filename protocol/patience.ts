/**
 * Timeouts that judge a peer by its silence. They count only time in which this process ran: one that was stopped, asleep or blocked
 * has not listened meanwhile. Before they call back, what waits in the sockets is read.
 */

import type { Clock, Timer } from './clock.ts'

/** A timeout is waited for in so many steps. A pause of this process, however long, counts as two steps at the most: half of the timeout. */
const STEPS = 4

/**
 * Calls back once, after `ms` milliseconds in which this process ran, and after one more poll of the sockets: what a peer has sent
 * meanwhile was read by then, and can have cancelled it.
 */
export function patiently(clock: Clock, ms: number, callback: () => void): Timer {
  if (ms === Number.POSITIVE_INFINITY) return { cancel() {} }
  const step = ms / STEPS
  let left = ms
  let timer: Timer | undefined
  let immediate: NodeJS.Immediate | undefined
  const wait = (): void => {
    const began = clock.now()
    timer = clock.after(Math.min(step, left), () => {
      left -= Math.min(clock.now() - began, 2 * step)
      // Timers run before the poll of the sockets and immediates after it. (A thousandth of a millisecond: floating point.)
      if (left > 0.001) wait()
      else immediate = setImmediate(callback)
    })
  }
  wait()
  return {
    cancel() {
      timer?.cancel()
      clearImmediate(immediate)
    },
  }
}
