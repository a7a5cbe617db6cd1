/** The types in which middleware says how it changes a response: `filter-response.ts` applies them. */

import type { Application, Headers } from '../../protocol/contract/application.ts'

export type Awaitable<T> = T | Promise<T>

/** Changes the bytes of one response. */
export interface Filter {
  /**
   * Takes a chunk (never empty) and returns the output that is ready; undefined or empty if there is none yet. The next
   * call follows when this one has settled.
   */
  push(chunk: Uint8Array): Awaitable<Uint8Array | undefined>
  /**
   * Returns the rest of the output. Not called after an abort or a failure: a filter that only observes the body learns
   * by this call that the body was complete.
   */
  end(): Awaitable<Uint8Array | undefined>
  /**
   * Frees what the filter holds. Called once on every path: after `end()`, and also if nothing was pushed. After an
   * abort it may be called during a push; the output of that push is dropped, and the push need not settle.
   */
  close?(): void
}

/** Takes the whole body before the response begins. `push` must limit the size of the body. */
export interface Hold {
  /**
   * Takes a chunk. If it returns an application, that application answers at once, and the original body is closed
   * (if the body is too large: `statusPage(502)`).
   */
  push(chunk: Uint8Array): Awaitable<Application | undefined>
  /** Called after the last chunk. Returns the application that answers. */
  end(): Awaitable<Application>
  /** As `close` of a filter. */
  close?(): void
}

/**
 * The head to send, and how the body changes. Without `filter`, `whole` and `hold` the body object is passed on
 * unchanged.
 */
export interface ChangedResponse {
  readonly status: string
  readonly headers: Headers
  readonly filter?: Filter | undefined
  /**
   * Used instead of `filter` if the body is complete when the application returns: an array of one chunk, or of at most
   * 64 KiB, and no earlier write. Returns the application that answers; the head is decided only then.
   */
  readonly whole?: ((body: Uint8Array) => Awaitable<Application>) | undefined
  /**
   * Used instead of `filter` and `whole`: nothing is sent before the end of the body. `status` and `headers` then
   * answer HEAD.
   */
  readonly hold?: Hold | undefined
}

/** The application's body is closed unread, and `replace` answers instead. */
export interface ReplacedResponse {
  readonly replace: Application
}

export type FilterDecision = ChangedResponse | ReplacedResponse

/** Decides about one head. `headers` is a copy of the application's list: the middleware may change it. */
export type Decide = (status: string, headers: Headers) => FilterDecision
