/**
 * What a listener throws, or its promise rejects with, once its exchange cannot be told any more: the response was written to its end, or
 * nobody is there to get one. In a process of its own an uncaught exception would log it and end the process.
 */

import type { Environ } from '../application.ts'
import { AbortError } from '../errors.ts'

/** Codes of the errors by which streams and signals tell a listener that its connection closed. That it passes them on is no failure of its own. */
const CLOSED: ReadonlySet<unknown> = new Set([
  'ECONNRESET',
  'ABORT_ERR',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_WRITE_AFTER_END',
])

/** Logs `error` to `wsgi.errors`, which adds the request's id. */
export function logFailure(environ: Environ, error: unknown): void {
  if (error instanceof AbortError || CLOSED.has((error as NodeJS.ErrnoException | undefined)?.code)) return
  const text = error instanceof Error ? (error.stack ?? String(error)) : String(error)
  environ['wsgi.errors'].write(`the listener failed after its response was written or aborted: ${text}\n`)
}
