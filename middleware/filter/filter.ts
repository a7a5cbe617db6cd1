/** What middleware says of a response whose content it changes: the types of `filter-response.ts`, which does it. */

import type { Application, Headers } from '../../protocol/contract/application.ts'

export type Awaitable<T> = T | Promise<T>

/** Changes a response's bytes on their way. One is made per response. */
export interface Filter {
  /** What of the output is ready now that `chunk` (never empty) has come; undefined or empty: nothing yet. At most one call at a time. */
  push(chunk: Uint8Array): Awaitable<Uint8Array | undefined>
  /** What is left at the end of the body. Not called after an abort or a failure: by it a tee knows that the body was whole. */
  end(): Awaitable<Uint8Array | undefined>
  /**
   * Frees what it holds. Called once, on every path, after `end()` too, and when nothing was ever pushed. After an abort it may come
   * while a push is pending; what that gives is dropped, and it need not settle.
   */
  close?(): void
}

/** Takes the whole body before anything is answered. How much that may be is for `push` to bound. */
export interface Hold {
  /**
   * An application that is returned is answered instead, at once, and the held one's body is closed (too large:
   * `statusPage(502)`).
   */
  push(chunk: Uint8Array): Awaitable<Application | undefined>
  /** What to answer, now that all was pushed. */
  end(): Awaitable<Application>
  /** As a filter's. */
  close?(): void
}

/** The head as it is to be sent, and what becomes of the body. */
export interface Changed {
  readonly status: string
  readonly headers: Headers
  /** Without one (and without the others) the body passes untouched: as the very object that the application gave. */
  readonly filter?: Filter | undefined
  /**
   * What to answer, in place of `filter`, when the body is all there as the application returns: an array of one chunk, or of at
   * most 64 KiB, with nothing written before. The head is decided only then.
   */
  readonly whole?: ((body: Uint8Array) => Awaitable<Application>) | undefined
  /** In place of `filter` and `whole`: nothing is answered before the end of the body. `status` and `headers` are then a HEAD's. */
  readonly hold?: Hold | undefined
}

/** The application's body is closed without being read on, and this application answers instead. */
export interface Replaced {
  readonly replace: Application
}

export type Filtered = Changed | Replaced

/** `headers` is a copy of the application's list; the middleware's to change. */
export type Decide = (status: string, headers: Headers) => Filtered
