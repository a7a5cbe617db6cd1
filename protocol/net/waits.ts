/**
 * The deadlines of a connection: one for reading, one for writing, checked by the server's `Deadlines`. Moving a
 * deadline is an assignment; no timer is set per request or write. Knows no socket, only how many bytes have
 * passed.
 */

import { AbortError } from '../contract/errors.ts'
import type { Http1Timeouts } from '../http1/options.ts'
import type { Clock, Deadlines, Expirable } from './clock.ts'

/** What the connection waits to read, which selects the timeout. `upgraded`: bytes in either direction. */
export type Wait = 'nothing' | 'head' | 'next-request' | 'late-request' | 'body' | 'rest' | 'linger' | 'upgraded'

/** Who is told when a wait was too long. */
export interface Waiter {
  waitedTooLong(wait: Wait): void
  /** The client takes nothing of what was written. */
  stalled(): void
  /** Bytes that the operating system has accepted for the client; grows while there is progress. */
  readonly taken: number
  /** Bytes that it has not. */
  readonly backlog: number
  /** Bytes read from the client. */
  readonly received: number
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
const LOOKS = 4

export class Waits implements Expirable {
  deadline: number = NEVER
  place = -1
  /** When the present wait for a head began, on the clock's `now()`. */
  since = 0
  /** How long an idle connection of a draining server waits for a late request, ms. */
  grace: number = NEVER
  readonly #waiter: Waiter
  readonly #timeouts: Http1Timeouts
  readonly #clock: Clock
  readonly #deadlines: Deadlines
  #wait: Wait = 'nothing'
  /** When reading times out; for an upgraded connection, when to check next. */
  #read = NEVER
  /** When to check the progress of writing next. */
  #write = NEVER
  /** Bytes accepted at the last check, since when the number is unchanged, and whether there was a backlog. */
  #taken = 0
  #takenSince = 0
  #blocked = false
  /** For an upgraded connection: bytes in both directions at the last check, and since when the number is unchanged. */
  #passed = 0
  #passedSince = 0

  constructor(waiter: Waiter, timeouts: Http1Timeouts, clock: Clock, deadlines: Deadlines) {
    this.#waiter = waiter
    this.#timeouts = timeouts
    this.#clock = clock
    this.#deadlines = deadlines
    deadlines.add(this)
  }

  /** What the connection waits to read. */
  get wait(): Wait {
    return this.#wait
  }

  /** Waits for `wait`; one that is being waited for already keeps its deadline. */
  for(wait: Wait): void {
    if (wait !== this.#wait) this.#begin(wait)
  }

  /** As `for`, with a new deadline: there was progress. */
  anew(wait: Wait): void {
    this.#begin(wait)
  }

  #begin(wait: Wait): void {
    this.#wait = wait
    const ms = this.#milliseconds(wait)
    if (wait === 'nothing') this.#read = NEVER
    else {
      this.since = this.#clock.now()
      this.#read = this.since + ms
    }
    this.#set()
  }

  #milliseconds(wait: Wait): number {
    switch (wait) {
      case 'head':
        return this.#timeouts.head
      case 'next-request':
        return this.#timeouts.keepAlive
      case 'late-request':
        return Math.min(this.grace, this.#timeouts.keepAlive)
      case 'body':
        return this.#timeouts.body
      // What nobody reads is dropped for no longer than after a close.
      case 'rest':
      case 'linger':
        return this.#timeouts.linger
      default:
        return NEVER
    }
  }

  /** To be called after writing and when the socket has drained: `pending` bytes are with the socket still. */
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

  /** The connection speaks another protocol: `written` is not called any more, so progress is checked until `stop`. */
  upgraded(): void {
    this.#wait = 'upgraded'
    this.#watch(this.#waiter.backlog > 0)
    this.#passedSince = this.#clock.now()
    this.#passed = this.#bytesPassed
    this.#read = this.#passedSince + this.#timeouts.upgradeIdle / LOOKS
    this.#set()
  }

  #watch(blocked: boolean): void {
    this.#takenSince = this.#clock.now()
    this.#taken = this.#waiter.taken
    this.#blocked = blocked
    this.#write = this.#takenSince + this.#timeouts.write / LOOKS
  }

  #set(): void {
    this.deadline = Math.min(this.#read, this.#write)
  }

  get #bytesPassed(): number {
    return this.#waiter.taken + this.#waiter.received
  }

  expire(): void {
    const now = this.#clock.now()
    if (this.#write <= now && this.#hasStalled(now)) {
      this.#write = NEVER
      this.#waiter.stalled()
      return
    }
    if (this.#read <= now && this.#wasTooLong(now)) {
      this.#read = NEVER
      const wait = this.#wait
      this.#wait = 'nothing'
      this.#waiter.waitedTooLong(wait)
    }
    this.#set()
  }

  #hasStalled(now: number): boolean {
    const { taken, backlog } = this.#waiter
    if (backlog === 0 && this.#wait !== 'upgraded') {
      this.#write = NEVER
      return false
    }
    if (backlog === 0 || !this.#blocked || taken !== this.#taken) this.#takenSince = now
    this.#taken = taken
    this.#blocked = backlog > 0
    const left = this.#takenSince + this.#timeouts.write - now
    this.#write = now + Math.min(left, this.#timeouts.write / LOOKS)
    return left <= 0
  }

  #wasTooLong(now: number): boolean {
    if (this.#wait !== 'upgraded') return true
    const passed = this.#bytesPassed
    if (passed !== this.#passed) this.#passedSince = now
    this.#passed = passed
    const left = this.#passedSince + this.#timeouts.upgradeIdle - now
    this.#read = now + Math.min(left, this.#timeouts.upgradeIdle / LOOKS)
    return left <= 0
  }

  /**
   * Since when no byte of an expected body has arrived, or no written byte was accepted; Infinity if the connection
   * waits for neither.
   */
  get stalledSince(): number {
    const { taken, backlog } = this.#waiter
    if (backlog === 0) return this.#wait === 'body' ? this.since : NEVER
    if (this.#write === NEVER) return NEVER
    if (taken !== this.#taken) {
      this.#taken = taken
      this.#takenSince = this.#clock.now()
    }
    return this.#takenSince
  }

  /** For a connection that is no longer ours. */
  stop(): void {
    this.#read = NEVER
    this.#write = NEVER
    this.deadline = NEVER
    this.#deadlines.delete(this)
  }
}
