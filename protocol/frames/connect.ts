/**
 * A remote container as an Application: one link, dialled when it is needed and again after it was lost.
 * Does not know pools, discovery or more than one address.
 */

import type { Application } from '../application.ts'
import type { Clock } from '../clock.ts'
import type { HttpError } from '../errors.ts'
import type { Logger } from '../log.ts'

export interface ConnectOptions {
  token?: string | undefined
  clock?: Clock | undefined
  log?: Logger | undefined
  /** Milliseconds to connect and be ready. Default 5000. */
  timeout?: number | undefined
}

/**
 * The application that runs at `address` (`unix:/path`, `tcp:host:port`).
 *
 * @throws {HttpError} from a call: 503 when it cannot be reached or has no free slot, 502 when it was lost on the way.
 */
export function connect(address: string, options?: ConnectOptions): Application & { close(): Promise<void> } {
  void address
  void options
  throw new Error('frames are not spoken yet')
}

export type { HttpError }
