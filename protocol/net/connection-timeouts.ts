/**
 * The timeouts of a connection: one deadline for reading and one for writing, checked by the server's `Deadlines`.
 * Moving a deadline is an assignment; no timer is set per request or write. Knows no socket, only how many bytes have
 * passed.
 */

import { AbortError } from '../contract/errors.ts'
import type { Http1Timeouts } from '../http1/options.ts'
import type { Clock, Deadlines, Expirable } from './clock.ts'

/** What the connection waits to read, which selects the timeout. */
export type AwaitedRead =
  | 'nothing'
  /** A request head: the first of the connection, or the rest of one that has begun. */
  | 'head'
  /** The first byte of a further request. */
  | 'next-request'
  /** A request that the client may have sent before it saw that the server drains. */
  | 'late-request'
  | 'body'
  /** The part of a body that is discarded. */
  | 'rest'
  /** The client's FIN, after ours. */
  | 'linger'
  /** Bytes in either direction of an upgraded connection. */
  | 'upgraded'

/** The connection whose timeouts these are. */
export interface TimeoutOwner {
  timedOut(awaited: AwaitedRead): void
  /** The client accepts no byte of the output. */
  stalled(): void
  /** Bytes that the operating system has accepted for the client; grows while there is progress. */
  readonly bytesAccepted: number
  /** Bytes of output that the operating system has not accepted. */
  readonly backlog: number
  /** Bytes read from the client. */
  readonly bytesReceived: number
}

const NEVER: number = Number.POSITIVE_INFINITY

/** The error that aborts an exchange whose client accepted nothing for too long. */
export function stallOf({ write }: Http1Timeouts, upgraded: boolean = false): AbortError {
  const what = upgraded ? 'an upgraded stream' : 'its response'
  return new AbortError(
    'DEADLINE',
    `the client accepted no byte of ${what} for ${write / 1000} s (--send-timeout): its connection is reset`,
  )
}

/** The error that aborts an exchange whose upgraded stream was silent for too long. */
export function silenceOf({ upgradeIdle }: Http1Timeouts): AbortError {
  const message = `an upgraded stream was silent in both directions for ${upgradeIdle / 1000} s (--upgrade-idle-timeout): its connection is closed`
  return new AbortError('DEADLINE', message)
}

/**
 * Progress is checked four times per timeout, so that a stall is noticed between 1 and 1.25 timeouts after the last
 * byte. Moving a deadline with each write would cost time on the hot path.
 */
const CHECKS = 4

export class ConnectionTimeouts implements Expirable {
  deadline: number = NEVER
  place = -1
  /** When the current wait began, on the clock's `now()`. */
  since = 0
  /** How long an idle connection of a draining server waits for a late request, ms. */
  grace: number = NEVER
  readonly #owner: TimeoutOwner
  readonly #timeouts: Http1Timeouts
  readonly #clock: Clock
  readonly #deadlines: Deadlines
  #awaited: AwaitedRead = 'nothing'
  /** When reading times out; for an upgraded connection, when to check next. */
  #read = NEVER
  /** When to check the progress of writing next. */
  #write = NEVER
  /** Bytes accepted at the last check, since when the number is unchanged, and whether there was a backlog. */
  #accepted = 0
  #acceptedSince = 0
  #blocked = false
  /** For an upgraded connection: bytes in both directions at the last check, and since when the number is unchanged. */
  #passed = 0
  #passedSince = 0

  constructor(owner: TimeoutOwner, timeouts: Http1Timeouts, clock: Clock, deadlines: Deadlines) {
    this.#owner = owner
    this.#timeouts = timeouts
    this.#clock = clock
    this.#deadlines = deadlines
    deadlines.add(this)
  }

  /** What the connection waits to read. */
  get awaited(): AwaitedRead {
    return this.#awaited
  }

  /** Starts the timeout of `awaited`. If the connection waits for it already, the deadline stays. */
  waitFor(awaited: AwaitedRead): void {
    if (awaited !== this.#awaited) this.restart(awaited)
  }

  /** Starts the timeout of `awaited` anew, because there was progress. */
  restart(awaited: AwaitedRead): void {
    this.#awaited = awaited
    const ms = this.#milliseconds(awaited)
    if (awaited === 'nothing') this.#read = NEVER
    else {
      this.since = this.#clock.now()
      this.#read = this.since + ms
    }
    this.#set()
  }

  #milliseconds(awaited: AwaitedRead): number {
    switch (awaited) {
      case 'head':
        return this.#timeouts.head
      case 'next-request':
        return this.#timeouts.keepAlive
      case 'late-request':
        return Math.min(this.grace, this.#timeouts.keepAlive)
      case 'body':
        return this.#timeouts.body
      // A body that nobody reads is discarded for no longer than after a close.
      case 'rest':
      case 'linger':
        return this.#timeouts.linger
      default:
        return NEVER
    }
  }

  /**
   * To be called after each write, and when the socket has drained.
   *
   * @param pending bytes that the socket still holds
   */
  written(pending: number): void {
    if (pending === 0) {
      if (this.#write === NEVER) return
      this.#write = NEVER
    } else {
      if (this.#write !== NEVER) return
      this.#watch(true)
    }
    this.#set()
  }

  /** The connection speaks another protocol: `written` is no longer called, so progress is checked until `stop`. */
  upgraded(): void {
    this.#awaited = 'upgraded'
    this.#watch(this.#owner.backlog > 0)
    this.#passedSince = this.#clock.now()
    this.#passed = this.#bytesPassed
    this.#read = this.#passedSince + this.#timeouts.upgradeIdle / CHECKS
    this.#set()
  }

  #watch(blocked: boolean): void {
    this.#acceptedSince = this.#clock.now()
    this.#accepted = this.#owner.bytesAccepted
    this.#blocked = blocked
    this.#write = this.#acceptedSince + this.#timeouts.write / CHECKS
  }

  #set(): void {
    this.deadline = Math.min(this.#read, this.#write)
  }

  get #bytesPassed(): number {
    return this.#owner.bytesAccepted + this.#owner.bytesReceived
  }

  expire(): void {
    const now = this.#clock.now()
    if (this.#write <= now && this.#hasStalled(now)) {
      this.#write = NEVER
      this.#owner.stalled()
      return
    }
    if (this.#read <= now && this.#hasTimedOut(now)) {
      this.#read = NEVER
      const awaited = this.#awaited
      this.#awaited = 'nothing'
      this.#owner.timedOut(awaited)
    }
    this.#set()
  }

  #hasStalled(now: number): boolean {
    const { bytesAccepted, backlog } = this.#owner
    if (backlog === 0 && this.#awaited !== 'upgraded') {
      this.#write = NEVER
      return false
    }
    if (backlog === 0 || !this.#blocked || bytesAccepted !== this.#accepted) this.#acceptedSince = now
    this.#accepted = bytesAccepted
    this.#blocked = backlog > 0
    const left = this.#acceptedSince + this.#timeouts.write - now
    this.#write = now + Math.min(left, this.#timeouts.write / CHECKS)
    return left <= 0
  }

  #hasTimedOut(now: number): boolean {
    if (this.#awaited !== 'upgraded') return true
    const passed = this.#bytesPassed
    if (passed !== this.#passed) this.#passedSince = now
    this.#passed = passed
    const left = this.#passedSince + this.#timeouts.upgradeIdle - now
    this.#read = now + Math.min(left, this.#timeouts.upgradeIdle / CHECKS)
    return left <= 0
  }

  /**
   * Since when no byte of an expected body has arrived, or no written byte was accepted; Infinity if the connection
   * waits for neither.
   */
  get stalledSince(): number {
    const { bytesAccepted, backlog } = this.#owner
    if (backlog === 0) return this.#awaited === 'body' ? this.since : NEVER
    if (this.#write === NEVER) return NEVER
    if (bytesAccepted !== this.#accepted) {
      this.#accepted = bytesAccepted
      this.#acceptedSince = this.#clock.now()
    }
    return this.#acceptedSince
  }

  /** Ends all timeouts: the connection is closed or was given away. */
  stop(): void {
    this.#read = NEVER
    this.#write = NEVER
    this.deadline = NEVER
    this.#deadlines.delete(this)
  }
}
