/**
 * A logger that writes plain lines to standard error, for small servers and CGI programs: text of `wsgi.errors`
 * unchanged, and failures with their stacks. Each line is written at once, without batching.
 */

import { textOfThrown } from '../contract/thrown.ts'
import { LogOutput } from './log-output.ts'
import type { Logger } from './logger.ts'
import { printable, printableStack } from './printable.ts'

/** The limit of the buffer, code units. There are few messages; after a stall the reader gets at most 5,000 lines. */
const PENDING = 1024 * 1024

let output: LogOutput | undefined

/** Writes a line, including its newline, to standard error. It never blocks and never throws. */
export function writeToStderr(text: string): void {
  standardError().write(text)
}

/**
 * The output of standard error, one per process. The first call adds a listener of the process's 'exit', in library use
 * too: it writes what a slow reader has not taken yet.
 */
export function standardError(): LogOutput {
  if (output === undefined) {
    const made = new LogOutput(2, {
      immediate: true,
      shared: true,
      limit: PENDING,
      lost: (count) =>
        `gantry: ${count} lines were lost: standard error could not be written, or its reader did not read it`,
    })
    process.on('exit', () => made.flushSync())
    output = made
  }
  return output
}

let guarded = false

/**
 * Keeps a server process running if standard output or error fails (a reader that closed the pipe, a full disk, a
 * closed terminal). Without an error listener even a warning of Node (`process.emitWarning`) ends a process whose
 * standard error is closed.
 *
 * Node makes a pipe non-blocking on the first access to `process.stdout`, and then `fs.writeSync(1, text)` of an
 * application could fail (EAGAIN). So this function does not access the streams: the listener is added on first access.
 */
export function guardStandardStreams(): void {
  if (guarded) return
  guarded = true
  for (const name of ['stdout', 'stderr'] as const) {
    const original = Object.getOwnPropertyDescriptor(process, name)
    if (original?.get === undefined || !original.configurable) {
      process[name].on('error', nothing)
      continue
    }
    const get = (): NodeJS.WriteStream => {
      Object.defineProperty(process, name, original)
      return process[name].on('error', nothing)
    }
    Object.defineProperty(process, name, { ...original, get })
  }
}

const nothing = (): void => {}

/** Returns a logger that writes warnings and errors, and drops all other lines. */
export function stderrLog(write: (text: string) => void = writeToStderr): Logger {
  const line = (fields: object, message: string): void => write(textOf(fields as Fields, message))
  return { debug: nothing, info: nothing, warn: line, error: line }
}

interface Fields {
  readonly requestId?: string
  readonly source?: string
  readonly code?: string
  readonly cause?: string
  readonly err?: unknown
}

function textOf({ requestId, source, code, cause, err }: Fields, message: string): string {
  // Text of the application is not decorated (in wsgiref wsgi.errors is sys.stderr itself).
  if (source === 'wsgi.errors') return `${message}\n`
  const about = [code, cause, requestId && `request ${requestId}`].filter((part) => part).join(', ')
  const stack = err === undefined ? '' : `: ${printableStack(textOfThrown(err))}`
  return `gantry: ${printable(`${message}${about && ` (${about})`}`)}${stack}\n`
}
