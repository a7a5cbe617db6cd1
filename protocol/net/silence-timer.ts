/**
 * Timeouts that judge a peer by its silence. They count only time in which this process ran: a process that was
 * stopped, asleep or blocked could not read. Before they call back, the sockets are read.
 */

import type { Clock, Timer } from './clock.ts'

/**
 * A timeout is divided into this many steps. A pause of this process, however long, counts as at most two steps: half
 * of the timeout.
 */
const STEPS = 4

/**
 * Calls back once, after `ms` milliseconds in which this process ran, and after one more poll of the sockets: bytes
 * that a peer sent before that have been read, and may have cancelled it.
 */
export function afterSilence(clock: Clock, ms: number, callback: () => void): Timer {
  if (ms === Number.POSITIVE_INFINITY) return { cancel() {} }
  const step = ms / STEPS
  let left = ms
  let timer: Timer | undefined
  let immediate: NodeJS.Immediate | undefined
  const wait = (): void => {
    const began = clock.now()
    timer = clock.after(Math.min(step, left), () => {
      left -= Math.min(clock.now() - began, 2 * step)
      // Timers run before the poll of the sockets, immediates after it. (0.001 ms: floating-point error.)
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
