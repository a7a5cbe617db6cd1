/**
 * `wsgi.input` at second hand: bytes are taken from one input as they are read here, so that middleware can count them, or end the reading
 * of its application alone. It holds one chunk at the most, and asks for nothing before it is read itself.
 */

import type { Input } from '../../protocol/contract/application.ts'
import { type InputSource, RequestInput } from '../../protocol/contract/input.ts'

/**
 * @param took told how many bytes came each time; an error that it gives is what the reads fail with from then on
 * @returns an input that is its maker's to fail (`fail`)
 */
export function relayedInput(from: Input, took: (bytes: number) => Error | undefined = nothing): RequestInput {
  return new Relay(from, took).input
}

const nothing = (): undefined => undefined

class Relay implements InputSource {
  readonly input: RequestInput
  readonly #from: Input
  readonly #took: (bytes: number) => Error | undefined
  #reading = false
  #wanted = false

  constructor(from: Input, took: (bytes: number) => Error | undefined) {
    this.#from = from
    this.#took = took
    this.input = new RequestInput(this)
  }

  wanted(): void {
    this.#wanted = true
    this.#pump()
  }

  consumed(): void {
    if (this.#wanted) this.#pump()
  }

  #pump(): void {
    if (this.#reading || this.input.ended || this.input.buffered > 0) return
    this.#reading = true
    this.#from
      .read1()
      .then((chunk) => this.#arrived(chunk))
      .catch((error: unknown) => this.input.fail(error instanceof Error ? error : new Error(String(error))))
  }

  async #arrived(chunk: Uint8Array): Promise<void> {
    if (chunk.length === 0) {
      this.input.end((await this.#from.trailers).flat())
      return
    }
    const error = this.#took(chunk.length)
    if (error) {
      this.input.fail(error)
      return
    }
    this.#reading = false
    this.input.push(chunk)
  }
}
