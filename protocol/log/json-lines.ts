/**
 * Writes access lines as JSON in the format of pino. For a flat object `JSON.stringify` is faster: a request through
 * exchange, pool and access log takes 2.5 µs instead of 3.9 µs with pino.
 */

import { hostname } from 'node:os'
import { type Logger, silent } from './logger.ts'

/**
 * Returns a logger that writes lines of level info and drops all others.
 *
 * @param name the name of the process, as in its other lines
 * @param write is called with each line, including its newline
 */
export function jsonLines(name: string, write: (line: string) => void): Logger {
  const processFields = JSON.stringify({ pid: process.pid, hostname: hostname(), name }).slice(1, -1)
  return {
    ...silent,
    info: (fields, message) => {
      const own = JSON.stringify({ ...fields, msg: message }).slice(1)
      write(`{"level":"info","time":${Date.now()},${processFields},${own}\n`)
    },
  }
}
