/** Who may run now, and who waits: a bounded number of each, first come, first served. */

import type { Clock } from '../protocol/clock.ts'
import { HttpError } from '../protocol/errors.ts'

export interface TurnsOptions {
  readonly concurrency: number
  readonly queue: number
  /** Ms that one waits. */
  readonly timeout: number
  readonly clock: Clock
}

export class Turns {
  readonly #options: TurnsOptions
  readonly #waiting: Set<() => void> = new Set()
  #running = 0

  constructor(options: TurnsOptions) {
    this.#options = options
  }

  /**
   * Waits for a turn; `end` must be called once for each that was given.
   *
   * @throws HttpError 503 when too many wait already, or it took too long; what the signal was aborted with
   */
  async begin(signal: AbortSignal): Promise<void> {
    const { concurrency, queue, timeout, clock } = this.#options
    signal.throwIfAborted()
    if (this.#running < concurrency) {
      this.#running++
      return
    }
    if (this.#waiting.size >= queue) throw busy(`${concurrency} CGI programs run and ${queue} requests wait already`)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.add(resolve)
    const leave = (error: Error): void => {
      // At once: a turn must not be given to one that has left.
      this.#waiting.delete(resolve)
      reject(error)
    }
    const timer = clock.after(timeout, () => leave(busy(`no CGI program ended within ${timeout} ms`)))
    const onAbort = (): void => leave(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      await promise
    } finally {
      timer.cancel()
      signal.removeEventListener('abort', onAbort)
    }
  }

  end(): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#running--
      return
    }
    this.#waiting.delete(next)
    next()
  }
}

function busy(message: string): HttpError {
  return new HttpError(503, 'CGI_BUSY', message, { headers: [['Retry-After', '1']] })
}
