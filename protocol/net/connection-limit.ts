/**
 * Limits the client connections of a process, since each costs a file descriptor, without which the process can neither
 * dial nor answer a probe. Makes room for new clients by closing idle and stalled connections, first those of the
 * client that has most. Knows no protocol.
 */

import type { ClientKey } from '../client/client-shares.ts'
import { AbortError } from '../contract/errors.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock, Timer } from './clock.ts'

export interface LimitedConnection {
  /** When the connection became idle, on the clock's `now()`; Infinity while a request or a response is in progress. */
  readonly waitingSince: number
  /**
   * Closes the connection if it is idle; false if a request has arrived, even if the event loop has not read it yet.
   */
  evict(): boolean
  /** Its client; undefined: not known. The server sets it once, when it accepts the connection. */
  share?: ClientKey | undefined
  /** Since when its client has moved no byte that its request waits for; Infinity: the request does not wait for it. */
  readonly stalledSince?: number
  /** Resets the connection, and logs the reason with its request's id. */
  reset?(reason: AbortError): void
}

interface ConnectionLimitOptions {
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
 * A connection younger than this, ms, may have a request on its way: it stays open, and the new client is refused.
 */
const FRESH_MILLISECONDS = 100
/**
 * Between the two ages, the oldest of this many connections is closed: a flood of silent connections must not keep
 * other clients out.
 */
const SAMPLE = 64
/**
 * The part of the limit that one client cannot fill, so that new clients find room without a disconnect. A limit below
 * ten has no such part.
 */
const RESERVE = 0.1
/**
 * A client that has moved no byte for this long, ms, is disconnected to make room: a tenth of --slow-client-patience.
 */
const STALLED_MILLISECONDS = 500
/** The shortest time between two searches for stalled connections, ms: a search walks through all connections. */
const STALLED_PAUSE = 100
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
  readonly #clients: Map<ClientKey, number> = new Map()
  #saturation: Saturation | undefined
  #soughtAt = Number.NEGATIVE_INFINITY

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
    return this.admitFrom(undefined, extra, ...sets)
  }

  /**
   * As `admit`, for a new connection of the client `share`. One client has at most nine tenths of the connections. No
   * connection is closed of a client that has fewer connections than `share`.
   */
  admitFrom(share: ClientKey | undefined, extra: number, ...sets: readonly Set<LimitedConnection>[]): boolean {
    const size = sizeOf(sets)
    const filled = this.#count(share) >= this.most - Math.floor(this.most * RESERVE)
    if (size < this.most + extra && !filled) {
      this.#observe(size)
      // The new connection takes the last room.
      if (this.#saturation && size + 1 >= this.most) this.#saturation.quietSince = undefined
      return true
    }
    const saturation = (this.#saturation ??= this.#reach())
    saturation.quietSince = undefined
    const ended = filled ? this.#endOf(sets, (other) => other === share) : this.#makeRoom(sets, share)
    saturation.total.closed += ended
    if (ended === 0) saturation.total.refused++
    return ended > 0
  }

  /** Counts a connection for its client until `exited`. */
  entered({ share }: LimitedConnection): void {
    if (share !== undefined) this.#clients.set(share, this.#count(share) + 1)
  }

  /** To be called when a connection has left its set, unless `admit` deleted it there. */
  exited({ share }: LimitedConnection): void {
    if (share === undefined) return
    const count = this.#count(share) - 1
    if (count > 0) this.#clients.set(share, count)
    else this.#clients.delete(share)
  }

  #count(share: ClientKey | undefined): number {
    return share === undefined ? 0 : (this.#clients.get(share) ?? 0)
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

  /**
   * Closes connections of the client that has most, if any of them can be closed; else of any client that has no fewer
   * than `share`.
   */
  #makeRoom(sets: readonly Set<LimitedConnection>[], share: ClientKey | undefined): number {
    const own = this.#count(share)
    let largest: ClientKey | undefined
    for (const [other, count] of this.#clients) if (count > Math.max(1, this.#count(largest))) largest = other
    if (largest !== undefined && this.#count(largest) >= own) {
      const ended = this.#endOf(sets, (other) => other === largest)
      if (ended > 0) return ended
    }
    return this.#endIdle(sets, (other) => other === share || other === undefined || this.#count(other) >= own)
  }

  /** Closes idle connections, else stalled ones. */
  #endOf(sets: readonly Set<LimitedConnection>[], mayEnd: (share: ClientKey | undefined) => boolean): number {
    return this.#endIdle(sets, mayEnd) || this.#endStalled(sets, mayEnd)
  }

  #endStalled(sets: readonly Set<LimitedConnection>[], mayEnd: (share: ClientKey | undefined) => boolean): number {
    const now = this.#options.clock.now()
    if (now - this.#soughtAt < STALLED_PAUSE) return 0
    this.#soughtAt = now
    const stalled: [since: number, connection: LimitedConnection, set: Set<LimitedConnection>][] = []
    for (const set of sets) {
      for (const connection of set) {
        if (!mayEnd(connection.share)) continue
        const { stalledSince = Number.POSITIVE_INFINITY } = connection
        if (now - stalledSince >= STALLED_MILLISECONDS) stalled.push([stalledSince, connection, set])
      }
    }
    stalled.sort(([a], [b]) => a - b)
    const { what } = this.#options
    for (const [since, connection, set] of stalled.slice(0, this.#batch)) {
      set.delete(connection)
      this.exited(connection)
      const seconds = ((now - since) / 1000).toFixed(1)
      const message = `slow client: moved no byte of its request or response for ${seconds} s, and the connection limit was reached (${what})`
      connection.reset?.(new AbortError('SLOW_CLIENT', message))
    }
    return Math.min(stalled.length, this.#batch)
  }

  get #batch(): number {
    return Math.max(1, Math.min(BATCH, Math.floor(this.most / BATCH)))
  }

  #endIdle(sets: readonly Set<LimitedConnection>[], mayEnd: (share: ClientKey | undefined) => boolean): number {
    const now = this.#options.clock.now()
    const idleSince = now - IDLE_MILLISECONDS
    const freshSince = now - FRESH_MILLISECONDS
    const batch = this.#batch
    let ended = 0
    let seen = 0
    let longest: { connection: LimitedConnection; set: Set<LimitedConnection>; since: number } | undefined
    for (const set of sets) {
      for (const connection of set) {
        const since = connection.waitingSince
        if (since > freshSince || !mayEnd(connection.share)) continue
        if (since <= idleSince) {
          if (!connection.evict()) continue
          if (set.delete(connection)) this.exited(connection)
          if (++ended === batch) return ended
        } else if (seen++ < SAMPLE && since < (longest?.since ?? Number.POSITIVE_INFINITY)) {
          longest = { connection, set, since }
        }
      }
    }
    if (ended > 0 || !longest?.connection.evict()) return ended
    if (longest.set.delete(longest.connection)) this.exited(longest.connection)
    return 1
  }
}

function sizeOf(sets: readonly Set<LimitedConnection>[]): number {
  let size = 0
  for (const set of sets) size += set.size
  return size
}
