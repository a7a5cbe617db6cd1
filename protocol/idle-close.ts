/**
 * Closes idle connections right after the event loop has read its sockets, a few at a time: a request that has arrived is
 * served, and is not answered by a close. Knows neither timeouts nor sockets.
 */

/** A connection without a request. */
export interface Idle {
  /** Reads what has arrived, and closes the connection if it is still idle. */
  closeIfIdle(): void
}

/**
 * Closes between two reads of the sockets. A close takes some 20 µs, and a request that arrives between the read and the
 * close gets no response: most clients repeat it, but none may repeat a POST.
 */
const BATCH = 16

const waiting: Set<Idle> = new Set()
let scheduled = false

/** Calls `one.closeIfIdle()` once the sockets were read again. */
export function closeIdle(one: Idle): void {
  waiting.add(one)
  schedule()
}

function schedule(): void {
  if (scheduled) return
  scheduled = true
  // Runs after the event loop's poll phase.
  setImmediate(closeSome)
}

function closeSome(): void {
  scheduled = false
  let count = 0
  for (const one of waiting) {
    if (++count > BATCH) break
    waiting.delete(one)
    one.closeIfIdle()
  }
  if (waiting.size > 0) schedule()
}
