/** Writes that wait for a filter: one after another, and no more than a gateway would take. What a write does it does not know. */

import { localError } from '../../protocol/contract/coded-errors.ts'
import { WRITE_OVERRUN } from '../../protocol/contract/exchange.ts'

export class FilteredWrites {
  /** The last of them; undefined when none waits. */
  pending: Promise<void> | undefined
  #bytes = 0

  /**
   * @param size bytes that it holds
   * @param turn what is done when those before are through; not when one of them failed
   * @throws LocalProtocolError when too much waits, as exchange.ts has it
   */
  add(size: number, turn: () => Promise<void>): Promise<void> {
    const before = this.pending
    if (before && (this.#bytes += size) > WRITE_OVERRUN) {
      throw localError(
        'WRITE_OVERRUN',
        `write() was called with ${this.#bytes} bytes while another write was pending; await the promise that it returns`,
      )
    }
    const done = (before ? before.then(turn) : turn()).then(() => {
      if (this.pending !== done) return
      this.pending = undefined
      this.#bytes = 0
    })
    this.pending = done
    return done
  }
}
