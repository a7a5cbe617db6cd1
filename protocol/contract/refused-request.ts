/** Describes a request that the gateway refused before an application saw it, for the access log. */

/** The values of the access line of a refused request. */
export interface RefusedRequest {
  readonly requestId: string
  readonly remote: string
  /** The request line as the client sent it (latin1), up to `LINE_SHOWN` bytes; '' if it is not known. */
  readonly line: string
  /** 0: the connection was closed without an answer. */
  readonly status: number
  /** The reason, as in the log line about the refusal. */
  readonly code: string
  /** The size of the response body. */
  readonly bytes: number
  /** Time spent waiting for its head; undefined if the head arrived at once. */
  readonly milliseconds: number | undefined
}

/**
 * Bytes of a refused request line that are logged: enough to find the request, and a fraction of the head limit (64
 * KiB).
 */
export const LINE_SHOWN = 1024
