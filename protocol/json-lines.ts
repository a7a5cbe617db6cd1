/**
 * Access lines as JSON, in the form that pino gives all other lines. `JSON.stringify` takes half of pino's time for a flat object of text and
 * numbers: 2.5 instead of 3.9 µs for a request through exchange, pool and access log.
 */

import { hostname } from 'node:os'
import { type Logger, silent } from './log.ts'

/**
 * A logger of level info alone.
 *
 * @param name of the process, as in its other lines
 * @param write takes each line with its newline
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
