/**
 * An application's body while it is open: closed once, whoever closes it and why
 * (CLOSE_TWICE and CLOSE_MISSING in docs/contract.md). It neither iterates nor sends.
 */

import type { Body } from './application.ts'

const ignore = (): void => {}

export class OpenBody {
  /** Set while it is iterated; an iterator that is over is unset first, since it needs no `return()`. */
  iterator: Iterator<Uint8Array> | AsyncIterator<Uint8Array> | undefined
  #body: Body | undefined
  #closed = false

  get closed(): boolean {
    return this.#closed
  }

  /** Whether the application has given one. */
  get given(): boolean {
    return this.#body !== undefined
  }

  give(body: Body): void {
    this.#body = body
  }

  /** Its iterator: the asynchronous one where it has both, which is the truer. */
  iterate(): Iterator<Uint8Array> | AsyncIterator<Uint8Array> {
    const body = this.#body as Body
    this.iterator =
      (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]?.() ?? (body as Iterable<Uint8Array>)[Symbol.iterator]()
    return this.iterator
  }

  /**
   * Runs `return()` of an iterator that was left open, then `close()`. A second call does nothing.
   *
   * @param failed told of each that throws or rejects
   * @returns undefined when nothing is left to wait for
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

/** What `action` leaves to wait for, its failure told already. */
function attempt(action: () => unknown, failed: (error: unknown) => void): Promise<unknown> | undefined {
  try {
    const result = action() as { then?: unknown } | undefined
    return typeof result?.then === 'function' ? Promise.resolve(result).catch(failed) : undefined
  } catch (error) {
    failed(error)
    return undefined
  }
}
