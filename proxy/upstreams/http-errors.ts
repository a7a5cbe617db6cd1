/**
 * The failures of an HTTP upstream as errors: their status for the client, and whether the request may be sent again.
 */

import type { Failure } from '../../pool/replay.ts'
import { statusOf } from '../../protocol/contract/error-codes.ts'
import { HttpError } from '../../protocol/contract/errors.ts'
import type { Phase } from '../../protocol/net/unreachable.ts'

type UpstreamCode = 'UPSTREAM_UNREACHABLE' | 'UPSTREAM_CONNECT_TIMEOUT' | 'UPSTREAM_PROTOCOL' | 'UPSTREAM_LOST'

/** 502 or 504. `ran: 'no'` only if no byte of the request can have been sent. */
export class UpstreamError extends HttpError implements Failure {
  readonly ran: 'no' | 'maybe'
  readonly responded: boolean = false
  /** The phase that failed. */
  readonly phase: Phase

  constructor(code: UpstreamCode, message: string, ran: 'no' | 'maybe', cause?: unknown, phase: Phase = 'first-byte') {
    super(statusOf(code), code, message, cause === undefined ? undefined : { cause })
    this.ran = ran
    this.phase = phase
  }
}

/** No response in time. Not a `Failure`: the request is not repeated, since the client has waited long enough. */
export class UpstreamTimeout extends HttpError {
  readonly phase: Phase

  constructor(message: string, phase: Phase) {
    super(statusOf('UPSTREAM_TIMEOUT'), 'UPSTREAM_TIMEOUT', message)
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
      ? new UpstreamError('UPSTREAM_CONNECT_TIMEOUT', `${name} did not accept a connection in time`, 'no', error, phase)
      : new UpstreamError('UPSTREAM_UNREACHABLE', `${name} cannot be reached`, 'no', error, phase)
  }
  if (error.code?.startsWith('HPE_')) {
    return new UpstreamError(
      'UPSTREAM_PROTOCOL',
      `the response of ${name} is not valid HTTP (${error.code}); does another kind of server listen there?`,
      'maybe',
      error,
    )
  }
  return new UpstreamError('UPSTREAM_LOST', `${name} closed the connection before its response began`, 'maybe', error)
}
