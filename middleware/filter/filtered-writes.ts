/**
 * Queues writes while a filter is busy: they run one after another, and the queue holds no more than a gateway would
 * accept.
 */

import { localError } from '../../protocol/contract/coded-errors.ts'
import { WRITE_OVERRUN } from '../../protocol/contract/exchange.ts'

export class FilteredWrites {
  /** The last queued write; undefined if none is queued. */
  pending: Promise<void> | undefined
  #bytes = 0

  /**
   * @param size bytes of the write
   * @param run called when all earlier writes are done; not called if one of them failed
   * @throws LocalProtocolError if too many bytes wait, as in exchange.ts
   */
  add(size: number, run: () => Promise<void>): Promise<void> {
    const before = this.pending
    if (before && (this.#bytes += size) > WRITE_OVERRUN) {
      throw localError(
        'WRITE_OVERRUN',
        `write() was called with ${this.#bytes} bytes while another write was pending; await the promise that it returns`,
      )
    }
    const done = (before ? before.then(run) : run()).then(() => {
      if (this.pending !== done) return
      this.pending = undefined
      this.#bytes = 0
    })
    this.pending = done
    return done
  }
}
