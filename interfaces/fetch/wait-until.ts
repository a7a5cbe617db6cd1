/**
 * The third argument of a fetch handler, with `waitUntil`: which steps wait for its promises, and how their failures
 * are logged.
 */

import type { Body, Environ } from '../../protocol/contract/application.ts'
import { textOfThrown } from '../../protocol/contract/thrown.ts'

/** Hono's `c.executionCtx`, and the third argument of a Worker's `fetch`. */
export interface FetchContext {
  /** The request counts as running until `promise` has settled, so a drain waits for it. A rejection is logged. */
  waitUntil(promise: Promise<unknown>): void
  /** Has no effect: there is no origin server to pass the request to. */
  passThroughOnException(): void
}

export class WaitUntil implements FetchContext {
  readonly #environ: Environ
  #promises: Promise<void>[] | undefined

  constructor(environ: Environ) {
    this.#environ = environ
  }

  waitUntil(promise: Promise<unknown>): void {
    this.#promises ??= []
    const log = (error: unknown): void => {
      this.#environ['wsgi.errors'].write(`a promise given to waitUntil() was rejected: ${textOfThrown(error)}\n`)
    }
    this.#promises.push(Promise.resolve(promise).then(ignore, log))
  }

  passThroughOnException(): void {}

  /** Returns `chunks` as a body whose `close()` waits for the promises. */
  afterWhole(chunks: Uint8Array[]): Body {
    return this.#promises ? Object.assign(chunks, { close: () => this.#settled() }) : chunks
  }

  /** Returns `body` with a `close()` that also waits for the promises, including those added meanwhile. */
  afterStream(body: AsyncIterable<Uint8Array> & { close(): void | Promise<void> }): Body {
    const close = async (): Promise<void> => {
      try {
        await body.close()
      } finally {
        await this.#settled()
      }
    }
    return { [Symbol.asyncIterator]: () => body[Symbol.asyncIterator](), close }
  }

  /**
   * Throws `error`. If there are promises, returns a body instead that fails at its first step and waits for the
   * promises in `close()`, so that the response need not wait for them.
   */
  afterFailure(error: unknown): Body {
    if (!this.#promises) throw error
    return {
      // biome-ignore lint/correctness/useYield: it fails before it gives anything
      async *[Symbol.asyncIterator]() {
        throw error
      },
      close: () => this.#settled(),
    }
  }

  async #settled(): Promise<void> {
    for (let at = 0; at < (this.#promises?.length ?? 0); at++) await this.#promises![at]
  }
}

function ignore(): void {}
