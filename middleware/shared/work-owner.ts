/**
 * The request for which a middleware queues limited work (a password hash, a transformation); `FairQueue` shares by
 * client.
 */

import { clientKey } from '../../protocol/client/client-key.ts'
import type { Environ } from '../../protocol/contract/application.ts'

export interface WorkOwner {
  /** The client whose share of the queue the work takes (`client-key.ts`). */
  readonly client: string
  /** Removes the work from the queue if it has not started. */
  readonly signal: AbortSignal
}

/** The owner of work for a request. @param signal default: the signal of the request */
export function workOwnerOf(environ: Environ, signal: AbortSignal = environ.gantry.signal): WorkOwner {
  return { client: clientKey(environ.REMOTE_ADDR), signal }
}
