/**
 * Errors, with one class for each party that can be at fault. `code` is stable and may be compared; messages are for
 * people and may change. `instanceof` also works for errors of another copy of Gantry (`brand.ts`).
 */

import { brand } from './brand.ts'
import type { abortCodes } from './error-codes/abort-codes.ts'

/**
 * The peer broke its protocol. Code that reads a socket does not throw it: it answers the peer and closes the
 * connection.
 */
export class RemoteProtocolError extends Error {
  static {
    brand(RemoteProtocolError, 'RemoteProtocolError')
  }

  override readonly name: string = 'RemoteProtocolError'
  readonly code: string
  /** The HTTP status with which a gateway should respond. Default 400. */
  readonly status: number

  constructor(code: string, message: string, status: number = 400) {
    super(message)
    this.code = code
    this.status = status
  }
}

/** This process broke a protocol or the contract: a programming error in the application, middleware or Gantry. */
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

/** The request was aborted. `environ.gantry.signal` has it as its reason; pending reads and writes reject with it. */
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

/**
 * A failure with an HTTP status (413, 408, 502…). If an application throws it before the head was sent, the gateway
 * responds with that status.
 *
 * @example
 * ```ts
 * import { type Application, HttpError } from 'gantry'
 * import { call } from 'gantry/protocol'
 *
 * const application: Application = () => {
 *   throw new HttpError(403, 'FORBIDDEN', 'this user may not read the report')
 * }
 * const response = await call(application)
 * console.log(response.status) // 403
 * ```
 */
export class HttpError extends Error {
  static {
    brand(HttpError, 'HttpError')
  }

  override readonly name: string = 'HttpError'
  readonly status: number
  readonly code: string
  /** Header fields that the response must have (`Retry-After`, `Allow`). */
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
