/** The log of the cache: the `log` option, or lines on `wsgi.errors` of the request. */

import type { Environ } from '../../protocol/contract/application.ts'
import type { Logger } from '../../protocol/log/logger.ts'

/** @param log the `log` option of the cache */
export function cacheLog(log: Logger | undefined, environ: Environ): Logger {
  if (log) return log
  const errors = environ['wsgi.errors']
  const line = (fields: object, message: string): void => {
    const { err, code } = fields as { err?: unknown; code?: unknown }
    const detail = err instanceof Error ? (err.stack ?? err.message) : (err ?? code)
    errors.write(detail === undefined ? `${message}\n` : `${message}: ${String(detail)}\n`)
  }
  return { debug() {}, info() {}, warn: line, error: line }
}
