/** The `Date` field of responses, formatted once a second (RFC 9110 §6.6.1). */

import type { Clock } from '../net/clock.ts'

export class DateField {
  readonly #clock: Clock
  #second = Number.NaN
  #line = ''

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The field with the current time: `Date: …\r\n`. */
  get line(): string {
    const second = Math.floor(this.#clock.wall() / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#line = `Date: ${new Date(second * 1000).toUTCString()}\r\n`
    }
    return this.#line
  }
}
