/**
 * What a connection waits for, and until when: one deadline for reading, one for writing, looked at by the server's `Deadlines`. Moving
 * one is an assignment; no timer is set per request. It knows no socket, only how much its output has got rid of.
 */

import type { Clock, Deadlines, Expirable } from '../clock.ts'
import type { Http1Timeouts } from './options.ts'

/** What is being waited for by reading, and so which timeout runs. */
export type Wait = 'nothing' | 'head' | 'next-request' | 'body' | 'rest' | 'linger'

/** Who is told when a wait was too long. */
export interface Waiter {
  waitedTooLong(wait: Wait): void
  /** The client takes nothing of what was written. */
  stalled(): void
  /** Bytes written that the client's side has taken; grows as long as there is progress. */
  readonly taken: number
  /** Bytes that it has not. */
  readonly backlog: number
}

const NEVER: number = Number.POSITIVE_INFINITY

export class Waits implements Expirable {
  deadline: number = NEVER
  place = -1
  /** When the present wait for a head began, on the clock's `now()`. */
  since = 0
  readonly #waiter: Waiter
  readonly #timeouts: Http1Timeouts
  readonly #clock: Clock
  readonly #deadlines: Deadlines
  #wait: Wait = 'nothing'
  #read = NEVER
  #write = NEVER
  /** What was taken when the write deadline was set. */
  #taken = 0

  constructor(waiter: Waiter, timeouts: Http1Timeouts, clock: Clock, deadlines: Deadlines) {
    this.#waiter = waiter
    this.#timeouts = timeouts
    this.#clock = clock
    this.#deadlines = deadlines
    deadlines.add(this)
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
      this.#watch()
    }
    this.#set()
  }

  #watch(): void {
    this.#taken = this.#waiter.taken
    this.#write = this.#clock.now() + this.#timeouts.write
  }

  #set(): void {
    this.deadline = Math.min(this.#read, this.#write)
  }

  expire(): void {
    const now = this.#clock.now()
    if (this.#write <= now) {
      this.#write = NEVER
      if (this.#waiter.backlog > 0) {
        if (this.#waiter.taken === this.#taken) {
          this.#waiter.stalled()
          return
        }
        this.#watch()
      }
    }
    if (this.#read <= now) {
      this.#read = NEVER
      const wait = this.#wait
      this.#wait = 'nothing'
      this.#waiter.waitedTooLong(wait)
    }
    this.#set()
  }

  /** For a connection that is no longer ours. */
  stop(): void {
    this.#read = NEVER
    this.#write = NEVER
    this.deadline = NEVER
    this.#deadlines.delete(this)
  }
}
