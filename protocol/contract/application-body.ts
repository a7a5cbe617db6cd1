/**
 * The body that an application returned. It is closed exactly once, whatever closes it (CLOSE_TWICE and CLOSE_MISSING
 * in docs/contract.md). The exchange iterates it and sends its chunks.
 */

import type { Body } from './application.ts'

const ignore = (): void => {}

export class ApplicationBody {
  /** The iterator in use. Unset it when it has ended, since an ended iterator needs no `return()`. */
  iterator: Iterator<Uint8Array> | AsyncIterator<Uint8Array> | undefined
  #body: Body | undefined
  #closed = false

  get closed(): boolean {
    return this.#closed
  }

  /** Whether the application has returned a body. */
  get given(): boolean {
    return this.#body !== undefined
  }

  give(body: Body): void {
    this.#body = body
  }

  /** Begins an iteration. A body that is iterable in both ways is iterated asynchronously. */
  iterate(): Iterator<Uint8Array> | AsyncIterator<Uint8Array> {
    const body = this.#body as Body
    this.iterator =
      (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]?.() ?? (body as Iterable<Uint8Array>)[Symbol.iterator]()
    return this.iterator
  }

  /**
   * Calls `return()` of an open iterator, then `close()` of the body. A second call does nothing.
   *
   * @param failed is called with each error that one of them throws or rejects with
   * @returns a promise if one of them is asynchronous
   */
  close(failed: (error: unknown) => void): Promise<void> | undefined {
    if (this.#closed) return undefined
    this.#closed = true
    const iterator = this.iterator
    this.iterator = undefined
    const returning = attempt(() => iterator?.return?.(), failed)
    const closing = attempt(() => this.#body?.close?.(), failed)
    if (!returning && !closing) return undefined
    return Promise.all([returning, closing]).then(ignore)
  }
}

/** Runs `action` and passes its error to `failed`. Returns a promise if `action` is asynchronous. */
function attempt(action: () => unknown, failed: (error: unknown) => void): Promise<unknown> | undefined {
  try {
    const result = action() as { then?: unknown } | undefined
    return typeof result?.then === 'function' ? Promise.resolve(result).catch(failed) : undefined
  } catch (error) {
    failed(error)
    return undefined
  }
}
