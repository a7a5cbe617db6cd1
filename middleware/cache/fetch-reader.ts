/** One request that reads the response of a shared fetch. `shared-fetch.ts` owns the bytes. */

import type { AbortError } from '../../protocol/contract/errors.ts'

/** The part of a shared fetch that a reader needs. */
interface Source {
  next(reader: FetchReader): Promise<Uint8Array | undefined>
  leave(reader: FetchReader, reason: AbortError | undefined): void
}

/** A request that waits for a shared fetch and reads its body at its own pace. */
export class FetchReader {
  /** Bytes read of the collected body. */
  position = 0
  readonly isInitiator: boolean
  /** The reader belongs to a body that a client reads: closing the body makes the reader leave. */
  belongsToBody = false
  hasLeft = false
  readonly #fetch: Source

  constructor(fetch: Source, isInitiator: boolean) {
    this.#fetch = fetch
    this.isInitiator = isInitiator
  }

  next(): Promise<Uint8Array | undefined> {
    return this.#fetch.next(this)
  }

  leave(reason?: AbortError): void {
    this.#fetch.leave(this, reason)
  }
}
