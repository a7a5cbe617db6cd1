/** A clock that a test moves by hand. */

import type { Clock, Timer } from '../../protocol/net/clock.ts'

export class FakeClock implements Clock {
  #now = 1_000
  #timers: { at: number; callback: () => void }[] = []

  now(): number {
    return this.#now
  }

  wall(): number {
    return 1_700_000_000_000 + this.#now
  }

  after(ms: number, callback: () => void): Timer {
    const timer = { at: this.#now + ms, callback }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  /** How many timers are pending. */
  get pending(): number {
    return this.#timers.length
  }

  /** This process is stopped: time passes, and timers that expired meanwhile are called back late. */
  pause(ms: number): void {
    this.#now += ms
    this.advance(0)
  }

  /** Advances the time, and calls expired timers back in the order of their times. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0]
      if (!due) break
      this.#timers = this.#timers.filter((timer) => timer !== due)
      this.#now = Math.max(this.#now, due.at)
      due.callback()
    }
    this.#now = end
  }
}
