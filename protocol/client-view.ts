/**
 * What a gateway tells of the client of one request: whether the request waits for the client, how many bytes have
 * passed, and how to end it. Decides nothing: `slow-watch.ts` looks at it.
 */

import type { AbortError } from './errors.ts'

/**
 * What the request waits for: bytes of its body that the application wants (`upload`), or room for a response that is
 * there (`download`). `nothing`: the client is not behind; the application is, or both are idle.
 */
export type Behind = 'nothing' | 'upload' | 'download'

export interface ClientView {
  readonly behind: Behind
  /** Bytes that the client has delivered so far on its connection. */
  readonly delivered: number
  /** Bytes that the operating system has accepted for the client so far on its connection. */
  readonly accepted: number
  /** Whether more of the request's body has still to come. */
  readonly arriving: boolean
  /** Bytes of the body that wait to be read, with what it costs to keep them. */
  readonly held: number
  /** Calls back each time that more of the body has come, or its end; undefined: not any more. */
  onArrival(callback: (() => void) | undefined): void
  /** Ends the request: 408 if its response has not begun, else the connection is reset. The reason is logged. */
  endSlow(reason: AbortError): void
}
