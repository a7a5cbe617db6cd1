/**
 * Time as an argument: code that waits takes a `Clock`, so that tests advance time instead of sleeping. `Deadlines`
 * watches many deadlines with one timer: setting a deadline on the hot path is an assignment.
 */

import { runIsolated } from '../contract/isolated.ts'

/** A pending call of a clock. */
export interface Timer {
  cancel(): void
}

/** Time as an argument, so that tests can advance it. */
export interface Clock {
  /** Milliseconds, monotonic, from an arbitrary origin. */
  now(): number
  /** Milliseconds since the epoch, for `Date` fields and logs. */
  wall(): number
  /**
   * Calls back once, `ms` milliseconds from now; never for Infinity. A pending timer does not keep the process alive.
   */
  after(ms: number, callback: () => void): Timer
}

/** The longest time of Node's timers, ms: some 25 days. */
const TIMER_MAX = 2 ** 31 - 1

/** The clock of the operating system. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, callback) {
    if (ms === Number.POSITIVE_INFINITY) return { cancel() {} }
    let timeout: NodeJS.Timeout
    const wait = (left: number): void => {
      // Node's timers fire at once if the time is longer (TimeoutOverflowWarning).
      timeout = left > TIMER_MAX ? setTimeout(() => wait(left - TIMER_MAX), TIMER_MAX) : setTimeout(callback, left)
      timeout.unref()
    }
    wait(ms)
    return { cancel: () => clearTimeout(timeout) }
  },
}

/** An object with a deadline. `deadline` may be changed at any time; Infinity: no deadline. */
export interface Expirable {
  /** On the clock's `now()`. */
  deadline: number
  /** Index in the list of `Deadlines`, which alone changes it; -1 at first: not in the list. */
  place: number
  /** Called once per deadline, after `deadline` was set to Infinity. */
  expire(): void
}

/**
 * Checks all deadlines together, every `tick` milliseconds: a deadline expires up to `tick` late, never early. 10,000
 * idle connections cost one pass over a list per tick, instead of 10,000 timers that are moved with each request.
 *
 * A list and not a Set: a Set to which each request adds and from which it deletes is rebuilt all the time, and V8's
 * old tables keep their elements alive until a full collection.
 */
export class Deadlines {
  readonly #items: Expirable[] = []
  readonly #clock: Clock
  readonly #tick: number
  #timer: Timer | undefined
  /** When the timer should fire. */
  #next = 0
  #deferred = false

  constructor(clock: Clock, tick: number = 250) {
    this.#clock = clock
    this.#tick = tick
  }

  get clock(): Clock {
    return this.#clock
  }

  /** Without effect if `item` is watched already. */
  add(item: Expirable): void {
    if (item.place !== -1) return
    item.place = this.#items.push(item) - 1
    this.#wait()
  }

  /** Without effect if `item` is not watched. */
  delete(item: Expirable): void {
    const { place } = item
    if (place === -1) return
    item.place = -1
    const last = this.#items.pop()!
    if (last === item) return
    this.#items[place] = last
    last.place = place
  }

  #wait(): void {
    if (this.#timer !== undefined) return
    this.#next = this.#clock.now() + this.#tick
    this.#timer = this.#clock.after(this.#tick, this.#sweep)
  }

  readonly #sweep = (): void => {
    const now = this.#clock.now()
    // This process was stopped, or its event loop was blocked: the sockets are read first, since bytes that have
    // arrived may move or end a deadline.
    if (now - this.#next > this.#tick && !this.#deferred) {
      this.#deferred = true
      setImmediate(this.#sweep)
      return
    }
    this.#deferred = false
    this.#timer = undefined
    // Backwards: the item that takes the place of a deleted one was checked already.
    for (let at = this.#items.length - 1; at >= 0; at--) {
      const item = this.#items[at]
      if (item !== undefined && item.deadline <= now) {
        item.deadline = Number.POSITIVE_INFINITY
        // Isolated: another request may have started the timer.
        runIsolated(item.expire, item)
      }
    }
    if (this.#items.length > 0) this.#wait()
  }
}
