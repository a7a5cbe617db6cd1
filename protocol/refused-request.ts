/** A request that a gateway answered itself, before an application: for the access log. */

export interface RefusedRequest {
  readonly requestId: string
  readonly remote: string
  /** The request line as the client sent it (latin1), up to `LINE_SHOWN` bytes of it; '' if nothing is known. */
  readonly line: string
  /** 0: the connection was closed without an answer. */
  readonly status: number
  /** Why, as in the log's other line about it. */
  readonly code: string
  /** Of the answer's body. */
  readonly bytes: number
  /** Since its head was waited for; undefined when the head came at once. */
  readonly milliseconds: number | undefined
}

/** Bytes of a refused request line that are logged: enough to find the request, and too few to fill a log with (the head limit is 64 KiB). */
export const LINE_SHOWN = 1024
