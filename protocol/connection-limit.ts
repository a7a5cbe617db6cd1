/**
 * How many connections clients may have at once, and who makes room for one more. Each costs a file descriptor, and a process that has none left
 * can neither dial nor answer a probe. Knows no protocol: what a connection waits for, it says itself.
 */

import type { Clock } from './clock.ts'
import type { Logger } from './log.ts'

export interface LimitedConnection {
  /** Since when nothing but the client's next bytes is waited for, on the clock's `now()`; Infinity: there is something to do for it. */
  readonly waitingSince: number
  /** Ends the connection if nothing but its client is waited for; false if there is something to do for it after all. */
  dismiss(): boolean
}

export interface ConnectionLimitOptions {
  readonly clock: Clock
  readonly log: Logger
  /** What is limited, for the log. */
  readonly what: string
}

/** Who has been idle for so long, ms, is most likely to stay so: a client in use sends its next request within a second. */
const IDLE_MILLISECONDS = 1_000
/** Connections that are ended at a time, so that not each new client of a flood costs a walk through all. */
const BATCH = 32
/** Who has waited for less, ms, has perhaps sent a request that nobody has read yet: it stays, and the new client is refused. */
const FRESH_MILLISECONDS = 100
/** Between the two, of so many the one that has waited for longest makes room: a flood of silent connections keeps nobody out. */
const SAMPLE = 64
/** The limit counts as left below this share of it: one that is reached again and again is said once. */
const OVER = 0.9

export class ConnectionLimit {
  readonly most: number
  readonly #options: ConnectionLimitOptions
  #reached = false
  #closed = 0
  #refused = 0

  constructor(most: number, options: ConnectionLimitOptions) {
    this.most = most
    this.#options = options
  }

  /**
   * Whether there is room for one more. If all is taken, connections that wait for their clients are ended and taken out of their set: those
   * that are idle for a second at first, since a client that holds connections and sends nothing must not keep another one out.
   *
   * @param extra how far beyond the limit it may go
   */
  admit(extra: number, ...sets: readonly Set<LimitedConnection>[]): boolean {
    const size = sizeOf(sets)
    if (size < this.most + extra) {
      this.left(...sets)
      return true
    }
    this.#reach()
    const ended = this.#makeRoom(sets)
    this.#closed += ended
    if (ended === 0) this.#refused++
    return ended > 0
  }

  /** To be called when a connection has ended. */
  left(...sets: readonly Set<LimitedConnection>[]): void {
    if (!this.#reached || sizeOf(sets) >= this.most * OVER) return
    this.#reached = false
    const { log, what } = this.#options
    log.info({ closed: this.#closed, refused: this.#refused }, `connection limit (${what}) is no longer reached`)
    this.#closed = 0
    this.#refused = 0
  }

  #reach(): void {
    if (this.#reached) return
    this.#reached = true
    const { log, what } = this.#options
    log.warn(
      { limit: this.most },
      `connection limit (${what}) reached: idle connections are closed to make room; while there are none, new clients are refused`,
    )
  }

  #makeRoom(sets: readonly Set<LimitedConnection>[]): number {
    const now = this.#options.clock.now()
    const idleSince = now - IDLE_MILLISECONDS
    const freshSince = now - FRESH_MILLISECONDS
    const batch = Math.max(1, Math.min(BATCH, Math.floor(this.most / BATCH)))
    let ended = 0
    let seen = 0
    let longest: { connection: LimitedConnection; set: Set<LimitedConnection>; since: number } | undefined
    for (const set of sets) {
      for (const connection of set) {
        const since = connection.waitingSince
        if (since > freshSince) continue
        if (since <= idleSince) {
          if (!connection.dismiss()) continue
          set.delete(connection)
          if (++ended === batch) return ended
        } else if (seen++ < SAMPLE && since < (longest?.since ?? Number.POSITIVE_INFINITY)) {
          longest = { connection, set, since }
        }
      }
    }
    if (ended > 0 || !longest?.connection.dismiss()) return ended
    longest.set.delete(longest.connection)
    return 1
  }
}

function sizeOf(sets: readonly Set<LimitedConnection>[]): number {
  let size = 0
  for (const set of sets) size += set.size
  return size
}
