/**
 * The time that a request waits for another request's response: `waitLimit` in total, and no longer than its client is
 * connected.
 */

import type { CacheRequest } from './cache-request.ts'
import type { CacheSettings } from './options.ts'

export class WaitDeadline {
  isOver = false
  readonly whenOver: Promise<void>
  readonly #cancel: () => void

  constructor(request: CacheRequest, { clock, waitLimit }: CacheSettings) {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.whenOver = promise
    const { signal } = request.environ.gantry
    const expire = (): void => {
      this.isOver = true
      resolve()
    }
    // Earlier waits of the same request count.
    const timer = clock.after(Math.max(0, waitLimit - (clock.now() - request.startedAt)), expire)
    signal.addEventListener('abort', expire, { once: true })
    if (signal.aborted) expire()
    this.#cancel = () => {
      timer.cancel()
      signal.removeEventListener('abort', expire)
    }
  }

  cancel(): void {
    this.#cancel()
  }
}
