/** For which request a middleware does work that is limited and queued: `FairQueue` shares the queue by client. */

import { clientKey } from '../protocol/client/client-key.ts'
import type { Environ } from '../protocol/contract/application.ts'

/** The client that causes the work, and until when the work is wanted. */
export interface Requester {
  /** Whose share of the queue the work takes (`client-key.ts`). */
  readonly client: string
  /** Removes the work from the queue, if it has not begun. */
  readonly signal: AbortSignal
}

/** The requester of a request. @param signal default: the request's own */
export function requesterOf(environ: Environ, signal: AbortSignal = environ.gantry.signal): Requester {
  return { client: clientKey(environ.REMOTE_ADDR), signal }
}
