/** Matches PONGs to the PINGs of one link. Does not send PINGs, and does not judge a missing PONG. */

import type { Clock } from '../net/clock.ts'

/** PINGs that may wait: at one every few seconds, a minute's. A peer whose bytes come, and never a PONG, must not grow the list. */
const MOST = 16

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

  /** @param send sends a PING with these 8 bytes, which the PONG repeats @returns the round-trip time, milliseconds */
  make(send: (token: Uint8Array) => void): Promise<number> {
    if (this.#waiting.size >= MOST) {
      const [number, eldest] = this.#waiting.entries().next().value!
      this.#waiting.delete(number)
      eldest.reject(new Error('the peer has not answered this PING nor a later one'))
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
   * A PONG arrived. It also answers earlier PINGs: only the latest of several queued PINGs or PONGs is sent.
   *
   * @returns whether it answers a PING of ours
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

  /** The link is closed. */
  fail(error: Error): void {
    for (const ping of this.#waiting.values()) ping.reject(error)
    this.#waiting.clear()
  }
}
