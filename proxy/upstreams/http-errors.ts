/** What an HTTP upstream's failures are to a client, and to whoever might send the request again. */

import { HttpError } from '../../protocol/errors.ts'
import type { Failure } from '../replay.ts'

/** 502 or 504. `ran: 'no'` only where no byte of the request can have left. */
export class UpstreamError extends HttpError implements Failure {
  readonly ran: 'no' | 'maybe'
  readonly responded: boolean = false

  constructor(status: 502 | 504, code: string, message: string, ran: 'no' | 'maybe', cause?: unknown) {
    super(status, code, message, cause === undefined ? undefined : { cause })
    this.ran = ran
  }
}

/**
 * Node's error as one of ours.
 *
 * @param connected whether the request had a working connection (for https: whose handshake was done)
 */
export function upstreamError(error: NodeJS.ErrnoException, name: string, connected: boolean): UpstreamError {
  if (!connected) {
    return error.code === 'ECONNECT_TIMEOUT' || error.code === 'ETIMEDOUT'
      ? new UpstreamError(504, 'UPSTREAM_UNREACHABLE', `${name} did not accept a connection in time`, 'no', error)
      : new UpstreamError(502, 'UPSTREAM_UNREACHABLE', `${name} cannot be reached`, 'no', error)
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
