/** The error of a call that failed: what happened, and whether the application can have run. */

/**
 * - `REFUSED`: the peer had no free slot. The application did not run.
 * - `GOAWAY`: the peer drains and did not accept the request. The application did not run.
 * - `NOT_READY`: the link was not ready when the call was made. Nothing was sent.
 * - `TOO_LARGE`: the head or the trailers are longer than the peer accepts (respond with status 431). A head that is
 *   too long is not sent (`ran` is `no`). Trailers follow the body, so the application can have run (`maybe`).
 * - `LOST`: the link was lost, or this side closed it.
 * - `RESET`: the peer aborted the request (its application failed after the head, a deadline, a drain timeout).
 * - `PROTOCOL`: the peer's response is invalid.
 * - `ABORTED`: this side aborted the request; `cause` is the reason. Only upstreams other than frames use this code.
 *
 * A call that this side aborted (its client has disconnected, a deadline passed) fails with the reason of the abort
 * instead.
 */
export type CallErrorCode = 'REFUSED' | 'GOAWAY' | 'NOT_READY' | 'TOO_LARGE' | 'LOST' | 'RESET' | 'PROTOCOL' | 'ABORTED'

/** A call that failed. */
export class CallError extends Error {
  override readonly name: string = 'CallError'
  readonly code: CallErrorCode
  /** `no`: the application never ran, so the request may be retried whatever its method (SPEC.md, *Replay*). */
  readonly ran: 'no' | 'maybe'
  /** Whether the response head had arrived. */
  readonly responded: boolean
  /** The peer ended the request itself, on a live link: a retry would end in the same way. */
  readonly final: boolean

  constructor(
    code: CallErrorCode,
    message: string,
    ran: 'no' | 'maybe',
    responded: boolean,
    { final = false, ...options }: ErrorOptions & { readonly final?: boolean } = {},
  ) {
    super(message, options)
    this.code = code
    this.ran = ran
    this.responded = responded
    this.final = final
  }
}
