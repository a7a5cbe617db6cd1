/**
 * Makes errors whose codes are in the table (`error-codes.ts`), with the status of the table. Applications and
 * middleware of users construct the classes of `errors.ts` with codes of their own.
 */

import { type HttpCode, type LocalCode, type OtherCode, type PeerCode, statusOf } from './error-codes.ts'
import { HttpError, LocalProtocolError, RemoteProtocolError } from './errors.ts'

/** An error that the client gets as a response. @param options `cause`, and header fields of the response */
export function httpError(
  code: HttpCode,
  message: string,
  options?: ConstructorParameters<typeof HttpError>[3],
): HttpError {
  return new HttpError(statusOf(code), code, message, options)
}

/** The peer of a connection broke its protocol. */
export function peerError(code: PeerCode, message: string): RemoteProtocolError {
  return new RemoteProtocolError(code, message, statusOf(code))
}

/** Code on this side made a mistake. */
export function localError(code: LocalCode, message: string): LocalProtocolError {
  return new LocalProtocolError(code, message)
}

/** An error without a class of its own, for a log line. */
export function codedError(
  code: OtherCode,
  message: string,
  options?: ErrorOptions,
): Error & { readonly code: OtherCode } {
  return Object.assign(new Error(message, options), { code })
}
