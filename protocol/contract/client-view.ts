/**
 * The client of one request as its gateway sees it: whether the request waits for the client, how many bytes have
 * passed, and how to end it. `slow-watch.ts` and `body-wait.ts` decide by it.
 */

import type { AbortError } from './errors.ts'

/**
 * What the request waits for: bytes of its body that the application wants to read (`upload`), or room for response
 * bytes that are ready (`download`). `nothing`: the request does not wait for its client.
 */
export type WaitsFor = 'nothing' | 'upload' | 'download'

/** The client of one request. */
export interface ClientView {
  readonly waitsFor: WaitsFor
  /** Bytes that the client has delivered so far on its connection. */
  readonly delivered: number
  /** Bytes that the operating system has accepted for the client so far on its connection. */
  readonly accepted: number
  /** Whether a part of the request's body has not arrived yet. */
  readonly arriving: boolean
  /** Bytes of the body that have arrived and were not read yet, with the memory overhead of their chunks. */
  readonly held: number
  /** Calls back each time that more of the body or its end has arrived; undefined stops that. */
  onArrival(callback: (() => void) | undefined): void
  /** Ends the request: 408 if its response has not begun, else the connection is reset. The reason is logged. */
  abortSlow(reason: AbortError): void
}
