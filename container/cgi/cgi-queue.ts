/** Limits how many CGI programs run at once and how many requests wait. Clients share the queue fairly. */

import { FairQueue } from '../../protocol/client/fair-queue.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import type { HttpError } from '../../protocol/contract/errors.ts'
import type { Clock } from '../../protocol/net/clock.ts'

interface CgiQueueOptions {
  readonly concurrency: number
  readonly queue: number
  /** How long a request waits at most, ms. */
  readonly timeout: number
  readonly clock: Clock
}

export class CgiQueue {
  readonly #options: CgiQueueOptions
  readonly #waiting: FairQueue<PromiseWithResolvers<void>>
  #running = 0

  constructor(options: CgiQueueOptions) {
    this.#options = options
    this.#waiting = new FairQueue(options.queue)
  }

  /**
   * Waits until a program may run. Call `release` once for each call that resolved.
   *
   * @param client whose share of the queue the request takes (`client-key.ts`)
   * @throws HttpError 503 if the queue is full or the wait takes too long
   * @throws the reason of the signal if it aborts
   */
  async acquire(client: string, signal: AbortSignal): Promise<void> {
    const { concurrency, queue, timeout, clock } = this.#options
    signal.throwIfAborted()
    if (this.#running < concurrency) {
      this.#running++
      this.#waiting.count(client)
      return
    }
    const waiting = Promise.withResolvers<void>()
    const dropped = this.#waiting.add(client, waiting)
    dropped?.reject(busy(`${concurrency} CGI programs run and ${queue} requests wait already`))
    const giveUp = (error: Error): void => {
      // At once: `release` must not choose a request that has given up.
      this.#waiting.delete(client, waiting)
      waiting.reject(error)
    }
    const timer = clock.after(timeout, () => giveUp(busy(`no CGI program ended within ${timeout} ms`)))
    const onAbort = (): void => giveUp(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      await waiting.promise
    } finally {
      timer.cancel()
      signal.removeEventListener('abort', onAbort)
    }
  }

  release(): void {
    const next = this.#waiting.take()
    if (next === undefined) this.#running--
    else next.resolve()
  }
}

function busy(message: string): HttpError {
  return httpError('CGI_BUSY', message, { headers: [['Retry-After', '1']] })
}
