/**
 * Closes idle connections right after the event loop has read its sockets, a few at a time, so that a request that has
 * arrived is served. Knows neither timeouts nor sockets.
 */

/** A connection without a request. */
export interface Idle {
  /** Reads the bytes that have arrived, and closes the connection if it is still idle. */
  closeIfIdle(): void
}

/**
 * Closes between two reads of the sockets. A close takes some 20 µs, and a request that arrives between the read and
 * the close gets no response: clients repeat most requests, but may not repeat a POST.
 */
const BATCH = 16

const waiting: Set<Idle> = new Set()
let scheduled = false

/** Calls `one.closeIfIdle()` after the next read of the sockets. */
export function closeIdle(one: Idle): void {
  waiting.add(one)
  if (scheduled) return
  scheduled = true
  // The rest of the current event-loop iteration may read no socket.
  setImmediate(nextRound)
}

/** Calls `closeSome` after the poll phase of the next event-loop iteration. */
function nextRound(): void {
  setImmediate(closeSome)
}

function closeSome(): void {
  let count = 0
  for (const one of waiting) {
    if (++count > BATCH) break
    waiting.delete(one)
    one.closeIfIdle()
  }
  scheduled = waiting.size > 0
  if (scheduled) nextRound()
}
