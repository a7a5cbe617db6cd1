/**
 * Logs an error that a listener throws or rejects with after its response was complete or aborted. On plain Node that
 * is an uncaught exception, which ends the process with all its requests; here the other requests continue.
 */

import type { Environ } from '../../protocol/contract/application.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import { textOfThrown } from '../../protocol/contract/thrown.ts'

/**
 * Codes of the errors that streams and signals give a listener because its connection closed: rethrowing them is not a
 * failure of the listener.
 */
const CLOSED: ReadonlySet<unknown> = new Set([
  'ECONNRESET',
  'ABORT_ERR',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_WRITE_AFTER_END',
])

/** Logs `error` to `wsgi.errors`, which adds the request's id. */
export function logLateFailure(environ: Environ, error: unknown): void {
  if (error instanceof AbortError || CLOSED.has((error as NodeJS.ErrnoException | undefined)?.code)) return
  environ['wsgi.errors'].write(
    `the listener failed after its response was written or aborted: ${textOfThrown(error)}\n`,
  )
}
