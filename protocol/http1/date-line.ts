import type { Clock } from '../net/clock.ts'

/** `Date` fields: formatted once a second (RFC 9110 §6.6.1). */
export class DateLine {
  readonly #clock: Clock
  #second = Number.NaN
  #line = ''

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** `Date: …\r\n` of now. */
  get text(): string {
    const second = Math.floor(this.#clock.wall() / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#line = `Date: ${new Date(second * 1000).toUTCString()}\r\n`
    }
    return this.#line
  }
}
