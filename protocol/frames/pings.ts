/** Matches PONGs to the PINGs of one link. Does not send PINGs, and does not judge a missing PONG. */

import type { Clock } from '../net/clock.ts'

/**
 * The most PINGs without an answer: about a minute of PINGs. A peer that sends bytes but no PONG must not grow the
 * list.
 */
const WAITING_MAX = 16

interface Ping {
  readonly at: number
  resolve(milliseconds: number): void
  reject(error: Error): void
}

export class Pings {
  readonly #clock: Clock
  readonly #waiting: Map<number, Ping> = new Map()
  #last = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Sends one PING.
   *
   * @param send sends a PING with these 8 bytes, which the PONG repeats
   * @returns the round-trip time, milliseconds; rejects if the link closes or too many later PINGs have no answer
   */
  make(send: (token: Uint8Array) => void): Promise<number> {
    if (this.#waiting.size >= WAITING_MAX) {
      const [number, oldest] = this.#waiting.entries().next().value!
      this.#waiting.delete(number)
      oldest.reject(new Error('the peer has answered neither this PING nor a later PING'))
    }
    this.#last = (this.#last + 1) >>> 0
    const token = Buffer.alloc(8)
    token.writeUInt32BE(this.#last, 4)
    return new Promise((resolve, reject) => {
      this.#waiting.set(this.#last, { at: this.#clock.now(), resolve, reject })
      send(token)
    })
  }

  /**
   * A PONG has arrived. It also answers all earlier PINGs: of several queued PINGs or PONGs only the latest is sent.
   *
   * @returns whether the PONG answers a PING of ours
   */
  answered(token: Uint8Array): boolean {
    const view = Buffer.from(token.buffer, token.byteOffset, token.length)
    const answered = view.readUInt32BE(0) === 0 ? view.readUInt32BE(4) : -1
    if (!this.#waiting.has(answered)) return false
    for (const [number, ping] of this.#waiting) {
      this.#waiting.delete(number)
      ping.resolve(this.#clock.now() - ping.at)
      if (number === answered) break
    }
    return true
  }

  /** The link is closed: rejects all waiting PINGs. */
  fail(error: Error): void {
    for (const ping of this.#waiting.values()) ping.reject(error)
    this.#waiting.clear()
  }
}
