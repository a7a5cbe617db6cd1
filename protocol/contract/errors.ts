/**
 * Errors by blame. A class says whose fault it is, `code` is stable and may be matched on, `status` is the HTTP status
 * a gateway should answer with when it still can. Messages are for people and are never matched on.
 *
 * `instanceof` holds for errors of another copy of Gantry too (`brand.ts`).
 */

import { brand } from './brand.ts'
import type { abortCodes } from './error-codes/abort-codes.ts'

/** The peer broke its protocol. Never thrown out of a socket's reader: it is answered and the connection ended. */
export class RemoteProtocolError extends Error {
  static {
    brand(RemoteProtocolError, 'RemoteProtocolError')
  }

  override readonly name: string = 'RemoteProtocolError'
  readonly code: string
  /** Suggested HTTP status, 400 unless told. */
  readonly status: number

  constructor(code: string, message: string, status: number = 400) {
    super(message)
    this.code = code
    this.status = status
  }
}

/** We broke it: a programming error on this side of a wire. */
export class LocalProtocolError extends Error {
  static {
    brand(LocalProtocolError, 'LocalProtocolError')
  }

  override readonly name: string = 'LocalProtocolError'
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** Why an exchange ended early; `docs/errors.md` explains each code. */
export type AbortCode = keyof typeof abortCodes

/** The request was aborted: the reason of `environ.gantry.signal`, and what pending reads and writes reject with. */
export class AbortError extends Error {
  static {
    brand(AbortError, 'AbortError')
  }

  override readonly name: string = 'AbortError'
  readonly code: AbortCode

  constructor(code: AbortCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** A failure with an HTTP status of its own that the gateway may show if no head was sent (413, 408, 502…). */
export class HttpError extends Error {
  static {
    brand(HttpError, 'HttpError')
  }

  override readonly name: string = 'HttpError'
  readonly status: number
  readonly code: string
  /** Fields the answer must carry (`Retry-After`, `Allow`). */
  readonly headers: ReadonlyArray<readonly [string, string]>

  constructor(
    status: number,
    code: string,
    message: string,
    options?: ErrorOptions & { headers?: ReadonlyArray<readonly [string, string]> },
  ) {
    super(message, options)
    this.status = status
    this.code = code
    this.headers = options?.headers ?? []
  }
}
