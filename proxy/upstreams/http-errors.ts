/**
 * The failures of an HTTP upstream as errors: their status for the client, and whether the request may be sent again.
 */

import type { Failure } from '../../pool/replay.ts'
import { HttpError } from '../../protocol/contract/errors.ts'
import type { Phase } from '../../protocol/net/unreachable.ts'

const UNREACHABLE = 'UPSTREAM_UNREACHABLE'

/** 502 or 504. `ran: 'no'` only if no byte of the request can have been sent. */
export class UpstreamError extends HttpError implements Failure {
  readonly ran: 'no' | 'maybe'
  readonly responded: boolean = false
  /** The phase that failed. */
  readonly phase: Phase

  constructor(
    status: 502 | 504,
    code: string,
    message: string,
    ran: 'no' | 'maybe',
    cause?: unknown,
    phase: Phase = 'first-byte',
  ) {
    super(status, code, message, cause === undefined ? undefined : { cause })
    this.ran = ran
    this.phase = phase
  }
}

/** No response in time. Not a `Failure`: the request is not repeated, since the client has waited long enough. */
export class UpstreamTimeout extends HttpError {
  readonly phase: Phase

  constructor(message: string, phase: Phase) {
    super(504, 'UPSTREAM_TIMEOUT', message)
    this.phase = phase
  }
}

/**
 * Node's error as one of ours.
 *
 * @param phase the phase that failed: in `first-byte` the request may have run
 */
export function upstreamError(error: NodeJS.ErrnoException, name: string, phase: Phase): UpstreamError {
  if (phase !== 'first-byte') {
    return error.code === 'ECONNECT_TIMEOUT' || error.code === 'ETIMEDOUT'
      ? new UpstreamError(504, UNREACHABLE, `${name} did not accept a connection in time`, 'no', error, phase)
      : new UpstreamError(502, UNREACHABLE, `${name} cannot be reached`, 'no', error, phase)
  }
  if (error.code?.startsWith('HPE_')) {
    return new UpstreamError(
      502,
      'UPSTREAM_PROTOCOL',
      `${name} answered with something that is not HTTP`,
      'maybe',
      error,
    )
  }
  return new UpstreamError(502, 'UPSTREAM_LOST', `${name} closed the connection without an answer`, 'maybe', error)
}
