/**
 * Limits the client connections of a process, and closes idle connections to make room for new clients. Each connection
 * costs a file descriptor, and a process without free descriptors can neither dial nor answer a probe. Knows no
 * protocol.
 */

import type { Clock } from './clock.ts'
import type { Logger } from './log.ts'

export interface LimitedConnection {
  /** When the connection became idle, on the clock's `now()`; Infinity while a request or a response is in progress. */
  readonly waitingSince: number
  /** Closes the connection if it is idle; false if a request has arrived meanwhile. */
  dismiss(): boolean
}

export interface ConnectionLimitOptions {
  readonly clock: Clock
  readonly log: Logger
  /** The kind of connections that are limited, for the log. */
  readonly what: string
}

/**
 * Connections that have been idle for this long, ms, are closed first: a client in use sends its next request within a
 * second.
 */
const IDLE_MILLISECONDS = 1_000
/**
 * Connections that are closed at a time, so that a flood does not cost a walk through all connections for each new
 * client.
 */
const BATCH = 32
/**
 * A younger connection, ms, may have sent a request that has not been read yet: it stays open, and the new client is
 * refused.
 */
const FRESH_MILLISECONDS = 100
/**
 * Between the two ages, the oldest of this many connections is closed: a flood of silent connections must not keep
 * other clients out.
 */
const SAMPLE = 64
/** The limit counts as no longer reached below this share, so that a limit reached again and again is logged once. */
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
   * Whether there is room for one more connection. At the limit it closes idle connections and deletes them from their
   * set, first those that have been idle for a second: a client that holds connections and sends nothing must not keep
   * other clients out.
   *
   * @param extra connections allowed above the limit
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
