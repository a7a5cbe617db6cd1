/**
 * The filter that a response has now, and the first failure of the response. `filter-response.ts` decides when to push.
 */

import type { Application } from '../../protocol/contract/application.ts'
import type { Awaitable, Filter, Hold } from './filter.ts'
import { EMPTY, isPromise } from './filtered-bodies.ts'

export class ActiveFilter {
  /** Undefined if the body is not changed, and after `close()`. */
  filter: Filter | Hold | undefined
  /** The application that answers instead, once the decision or a hold has returned one. */
  replacement: Application | undefined
  #failure: { error: unknown } | undefined
  #interrupt: (() => void) | undefined
  readonly #onCloseError: (error: unknown) => void

  constructor(onCloseError: (error: unknown) => void) {
    this.#onCloseError = onCloseError
  }

  /** Returns the output for a chunk. A failure here fails the response, even if the application catches it. */
  push(chunk: Uint8Array): Awaitable<Uint8Array> {
    const { filter } = this
    if (!filter) return chunk
    if (this.replacement) return EMPTY
    try {
      const output = filter.push(chunk)
      if (!isPromise(output)) return this.#outputOf(output)
      return output.then(
        (settled) => this.#outputOf(settled),
        (error: unknown) => {
          this.fail(error)
          throw error
        },
      )
    } catch (error) {
      this.fail(error)
      throw error
    }
  }

  #outputOf(output: Uint8Array | Application | undefined): Uint8Array {
    if (typeof output !== 'function') return output ?? EMPTY
    this.replacement = output
    return EMPTY
  }

  /** A promise that settles as `pending` does, and resolves to undefined as soon as the response fails or is closed. */
  interruptible<T>(pending: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      // Not assigned as a literal: V8 would treat it as a method of an old object, and keep the request in memory until
      // a full collection.
      const interrupt = (): void => resolve(undefined)
      this.#interrupt = interrupt
      pending.then(resolve, reject)
    })
  }

  interrupt(): void {
    this.#interrupt?.()
  }

  /** Records the first failure: the response can no longer be complete, and each later `check()` throws the failure. */
  fail(error: unknown): void {
    this.#failure ??= { error }
    this.#interrupt?.()
  }

  /** @throws the first failure, if there was one */
  check(): void {
    if (this.#failure) throw this.#failure.error
  }

  close(): void {
    const { filter } = this
    this.filter = undefined
    try {
      filter?.close?.()
    } catch (error) {
      this.#onCloseError(error)
    }
  }
}
