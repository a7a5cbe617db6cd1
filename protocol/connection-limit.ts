/**
 * Limits the client connections of a process, and closes idle connections to make room for new clients. Each connection
 * costs a file descriptor, and a process without free descriptors can neither dial nor answer a probe. Knows no
 * protocol.
 */

import type { Clock, Timer } from './clock.ts'
import type { Logger } from './log.ts'

export interface LimitedConnection {
  /** When the connection became idle, on the clock's `now()`; Infinity while a request or a response is in progress. */
  readonly waitingSince: number
  /** Closes the connection if it is idle; false if a request has arrived meanwhile, read by the event loop or not. */
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
 * The request of a younger connection, ms, may be on its way: the connection stays open, and the new client is refused.
 */
const FRESH_MILLISECONDS = 100
/**
 * Between the two ages, the oldest of this many connections is closed: a flood of silent connections must not keep
 * other clients out.
 */
const SAMPLE = 64
/** Below this share of the limit a process has room again. */
const OVER = 0.9
/**
 * The limit counts as no longer reached after this time below that share, ms: under load the number of connections
 * crosses it several times a second.
 */
const QUIET_MILLISECONDS = 10_000
/** Time between two log lines while the limit lasts, ms. */
const REPORT_MILLISECONDS = 60_000

/** Connections closed to make room, and clients refused. */
interface Counts {
  closed: number
  refused: number
}

/** A time at the limit, from the first client without room until it is quiet. */
interface Saturation {
  readonly total: Counts
  /** What the last log line counted. */
  reported: Counts
  /** When the number of connections fell below the share; undefined: it has not. */
  quietSince: number | undefined
  quiet: Timer | undefined
  report: Timer
}

export class ConnectionLimit {
  readonly most: number
  readonly #options: ConnectionLimitOptions
  #saturation: Saturation | undefined

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
      this.#observe(size)
      // The new connection takes the last room.
      if (this.#saturation && size + 1 >= this.most) this.#saturation.quietSince = undefined
      return true
    }
    const saturation = (this.#saturation ??= this.#reach())
    saturation.quietSince = undefined
    const ended = this.#makeRoom(sets)
    saturation.total.closed += ended
    if (ended === 0) saturation.total.refused++
    return ended > 0
  }

  /** To be called when a connection has ended. */
  left(...sets: readonly Set<LimitedConnection>[]): void {
    if (this.#saturation) this.#observe(sizeOf(sets))
  }

  #observe(size: number): void {
    const saturation = this.#saturation
    if (!saturation || size >= this.most * OVER || saturation.quietSince !== undefined) return
    saturation.quietSince = this.#options.clock.now()
    // A pending timer is kept: it sees how long it has been quiet.
    saturation.quiet ??= this.#endIn(saturation, QUIET_MILLISECONDS)
  }

  #endIn(saturation: Saturation, ms: number): Timer {
    const { clock } = this.#options
    return clock.after(ms, () => {
      saturation.quiet = undefined
      if (saturation.quietSince === undefined) return
      const left = saturation.quietSince + QUIET_MILLISECONDS - clock.now()
      if (left > 0) saturation.quiet = this.#endIn(saturation, left)
      else this.#end(saturation)
    })
  }

  #reach(): Saturation {
    const { log, what } = this.#options
    log.warn(
      { limit: this.most },
      `connection limit (${what}) reached: idle connections are closed to make room; while there are none, new clients are refused`,
    )
    const none = { closed: 0, refused: 0 }
    const saturation: Saturation = {
      total: { ...none },
      reported: none,
      quietSince: undefined,
      quiet: undefined,
      report: this.#options.clock.after(REPORT_MILLISECONDS, () => this.#report(saturation)),
    }
    return saturation
  }

  /** Logs what was counted since the last line; nothing, if nothing was. */
  #report(saturation: Saturation): void {
    const { clock, log, what } = this.#options
    const { total, reported } = saturation
    const closed = total.closed - reported.closed
    const refused = total.refused - reported.refused
    saturation.reported = { ...total }
    saturation.report = clock.after(REPORT_MILLISECONDS, () => this.#report(saturation))
    if (closed + refused === 0) return
    log.warn(
      { limit: this.most, closed, refused },
      `connection limit (${what}) still reached: in the last minute new clients were refused or idle connections closed`,
    )
  }

  #end(saturation: Saturation): void {
    const { log, what } = this.#options
    this.#saturation = undefined
    saturation.report.cancel()
    log.info(saturation.total, `connection limit (${what}) is no longer reached`)
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
