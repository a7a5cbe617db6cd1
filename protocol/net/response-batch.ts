/**
 * Flushes the responses of one event-loop iteration together, at its end. A performance trick:
 * docs/performance-tricks.md has the gain and the command that shows it. Knows neither sockets nor protocols.
 */

import { runIsolated } from '../contract/isolated.ts'
import type { Clock } from './clock.ts'

/** A connection with output to flush. */
export interface Flushable {
  flushBatched(): void
}

/**
 * How long responses wait for others, ms: enough for some dozens of small ones. Where an application computes for
 * longer, its responses do not wait for further requests.
 */
export const MAX_DELAY = 1

const batches: WeakMap<Clock, ResponseBatch> = new WeakMap()

/**
 * The responses of one event-loop iteration. Each write wakes the process that reads the socket. Written between two
 * requests, a response is read, and its reader is asleep again, before the next write; responses that are written one
 * right after the other find their reader awake.
 */
export class ResponseBatch {
  readonly #clock: Clock
  #waiting: Set<Flushable> = new Set()
  /** Connections added in this event-loop iteration; 0: nothing is scheduled. */
  #added = 0
  /**
   * Whether the first connection of an iteration waits: in the iteration before several were added, in quick
   * succession.
   */
  #firstWaits = false
  /** Whether connections of this iteration were flushed before its end. */
  #late = false
  /** When the first of `#waiting` was added, or the last flush happened. */
  #since = 0

  private constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The batch of all connections that use `clock`. */
  static of(clock: Clock): ResponseBatch {
    let batch = batches.get(clock)
    if (!batch) batches.set(clock, (batch = new ResponseBatch(clock)))
    return batch
  }

  /**
   * Calls `connection.flushBatched()` once: at the end of this event-loop iteration, or earlier if others are added for
   * longer than `MAX_DELAY`. The first connection of an iteration is flushed at once if the iteration before had no
   * others (a single client must not wait: that would cost a twentieth of its requests per second) or took longer than
   * `MAX_DELAY`.
   */
  add(connection: Flushable): void {
    if (this.#waiting.has(connection)) return
    this.#added++
    if (this.#added === 1) {
      this.#since = this.#clock.now()
      setImmediate(end, this)
      if (!this.#firstWaits) {
        connection.flushBatched()
        return
      }
    }
    this.#waiting.add(connection)
    const now = this.#clock.now()
    if (now - this.#since <= MAX_DELAY) return
    this.#since = now
    this.#late = true
    this.#flush()
  }

  /** Called by `setImmediate`, after all sockets of the iteration were read. */
  end(): void {
    this.#firstWaits = this.#added > 1 && !this.#late
    this.#late = false
    this.#added = 0
    this.#flush()
  }

  #flush(): void {
    const waiting = this.#waiting
    if (waiting.size === 0) return
    this.#waiting = new Set()
    for (const connection of waiting) flush(connection)
  }
}

/**
 * An error of one connection must not keep the others from being flushed: it becomes an uncaught exception of its own.
 */
function flush(connection: Flushable): void {
  try {
    runIsolated(connection.flushBatched, connection)
  } catch (error) {
    process.nextTick(() => {
      throw error
    })
  }
}

function end(batch: ResponseBatch): void {
  // Isolated: the first connection of the iteration has scheduled this call.
  runIsolated(batch.end, batch)
}
