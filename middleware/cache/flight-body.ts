/** What a client is given of a flight: its chunks as they come, or all of it as an array; and the word, on every path, that it wants no more. */

import type { Body } from '../../protocol/contract/application.ts'
import type { Call } from './call.ts'
import type { Flight, Reader } from './flight.ts'

export class FlightBody implements AsyncIterable<Uint8Array> {
  readonly #flight: Flight
  readonly #reader: Reader
  readonly #call: Call

  constructor(flight: Flight, reader: Reader, call: Call) {
    this.#flight = flight
    this.#reader = reader
    this.#call = call
    const { signal } = call.environ.gantry
    signal.addEventListener('abort', this.#leave, { once: true })
    if (signal.aborted) this.#leave()
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: async () => {
        const value = await this.#reader.next()
        // Nothing is left for who has gone: without an error what he has would look whole to whoever stands between.
        const { signal } = this.#call.environ.gantry
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
    return leftover(this.#flight, this.#reader)
  }

  /** Also at once when the client goes, since a pending `next()` may be long in coming. */
  readonly #leave = (): void => {
    this.#call.environ.gantry.signal.removeEventListener('abort', this.#leave)
    this.#reader.leave(this.#call.abortReason)
  }
}

/** An array as a body that its flight has come to an end with. */
export function finishedBody(chunks: Uint8Array[], flight: Flight, reader: Reader): Body {
  const wait = leftover(flight, reader)
  return wait ? Object.assign(chunks, { close: () => wait }) : chunks
}

/**
 * What who began a flight has to wait for, for its slot not to be free before the application is done. Nothing where
 * others go on with it: their own requests hold slots.
 */
function leftover(flight: Flight, reader: Reader): Promise<void> | undefined {
  return reader.first && !flight.settled && !flight.wanted ? flight.whenSettled : undefined
}
