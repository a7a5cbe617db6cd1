/**
 * The body that a client gets from a shared fetch: its chunks as they arrive, or all of them as an array. On every path
 * it tells the fetch when the client needs no more.
 */

import type { Body } from '../../protocol/contract/application.ts'
import type { CacheRequest } from './cache-request.ts'
import type { FetchReader } from './fetch-reader.ts'
import type { SharedFetch } from './shared-fetch.ts'

export class SharedFetchBody implements AsyncIterable<Uint8Array> {
  readonly #fetch: SharedFetch
  readonly #reader: FetchReader
  readonly #request: CacheRequest

  constructor(fetch: SharedFetch, reader: FetchReader, request: CacheRequest) {
    this.#fetch = fetch
    this.#reader = reader
    this.#request = request
    const { signal } = request.environ.gantry
    signal.addEventListener('abort', this.#leave, { once: true })
    if (signal.aborted) this.#leave()
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: async () => {
        const value = await this.#reader.next()
        // After a disconnect the body must end with an error: middleware outside would take a silent end for a whole
        // body.
        const { signal } = this.#request.environ.gantry
        if (value === undefined && signal.aborted) throw signal.reason
        return value === undefined ? { done: true, value: undefined } : { done: false, value }
      },
      return: async () => {
        this.#leave()
        return { done: true, value: undefined }
      },
    }
  }

  close(): void | Promise<void> {
    this.#leave()
    return remainingWork(this.#fetch, this.#reader)
  }

  /** Also called at once when the client disconnects: a pending `next()` may take long to settle. */
  readonly #leave = (): void => {
    this.#request.environ.gantry.signal.removeEventListener('abort', this.#leave)
    this.#reader.leave(this.#request.abortReason)
  }
}

/** The chunks of a complete response as a body. Its `close()` waits for the application if necessary. */
export function completeBody(chunks: Uint8Array[], fetch: SharedFetch, reader: FetchReader): Body {
  const wait = remainingWork(fetch, reader)
  return wait ? Object.assign(chunks, { close: () => wait }) : chunks
}

/**
 * What the initiator of a fetch must wait for, so that its slot is not free before the application is done. Undefined
 * if other requests continue the fetch: those requests hold slots of their own.
 */
function remainingWork(fetch: SharedFetch, reader: FetchReader): Promise<void> | undefined {
  return reader.isInitiator && !fetch.settled && !fetch.isNeeded ? fetch.whenSettled : undefined
}
