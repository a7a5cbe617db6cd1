/**
 * A `wsgi.input` that reads from another one, so that middleware can count the bytes of a request body, or fail the
 * reads of its application alone. It buffers at most one chunk, and reads nothing before the application reads.
 */

import type { Input } from '../../protocol/contract/application.ts'
import { type InputSource, RequestInput } from '../../protocol/contract/input.ts'

/**
 * @param onBytes called with the number of bytes in each chunk; if it returns an error, all later reads fail with that
 *   error
 * @returns an input that the caller can fail (`fail`)
 */
export function wrapInput(from: Input, onBytes: (bytes: number) => Error | undefined = acceptAll): RequestInput {
  return new WrappedSource(from, onBytes).input
}

const acceptAll = (): undefined => undefined

class WrappedSource implements InputSource {
  readonly input: RequestInput
  readonly #from: Input
  readonly #onBytes: (bytes: number) => Error | undefined
  #isReading = false
  #isWanted = false

  constructor(from: Input, onBytes: (bytes: number) => Error | undefined) {
    this.#from = from
    this.#onBytes = onBytes
    this.input = new RequestInput(this)
  }

  wanted(): void {
    this.#isWanted = true
    this.#read()
  }

  consumed(): void {
    if (this.#isWanted) this.#read()
  }

  #read(): void {
    if (this.#isReading || this.input.ended || this.input.buffered > 0) return
    this.#isReading = true
    this.#from
      .read1()
      .then((chunk) => this.#push(chunk))
      .catch((error: unknown) => this.input.fail(error instanceof Error ? error : new Error(String(error))))
  }

  async #push(chunk: Uint8Array): Promise<void> {
    if (chunk.length === 0) {
      this.input.end((await this.#from.trailers).flat())
      return
    }
    const error = this.#onBytes(chunk.length)
    if (error) {
      this.input.fail(error)
      return
    }
    this.#isReading = false
    this.input.push(chunk)
  }
}
