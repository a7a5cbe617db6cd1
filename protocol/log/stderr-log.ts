/**
 * A logger of plain lines on standard error, where who runs a small server or a CGI program looks: what an application wrote to
 * `wsgi.errors` unchanged, failures with their stacks. It does not batch: each line is written at once, or when the
 * reader takes it.
 */

import { textOfThrown } from '../contract/thrown.ts'
import { LogOutput } from './log-output.ts'
import type { Logger } from './logger.ts'
import { printable, printableStack } from './printable.ts'

/** For messages to a person, which are few: after a stall a reader has at most some 5,000 lines to read. */
const PENDING = 1024 * 1024

let output: LogOutput | undefined

/** Writes a line, with its newline, to standard error. Never blocks and never throws, whatever the reader does. */
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
 * For server processes: standard output and error may fail (a reader that closed the pipe, a full disk, a closed
 * terminal) without ending the process. Without an error listener even one of Node's own warnings
 * (`process.emitWarning`) ends a process whose standard error is closed.
 *
 * Node makes a pipe non-blocking when `process.stdout` is first read, and then `fs.writeSync(1, text)` of an
 * application could fail (EAGAIN). So the listener is added at the first read, and nothing is read here.
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

/** Warnings and errors; the rest is not written. */
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
  // An application's own words need no frame (wsgiref's wsgi.errors is sys.stderr itself).
  if (source === 'wsgi.errors') return `${message}\n`
  const about = [code, cause, requestId && `request ${requestId}`].filter((part) => part).join(', ')
  const stack = err === undefined ? '' : `: ${printableStack(textOfThrown(err))}`
  return `gantry: ${printable(`${message}${about && ` (${about})`}`)}${stack}\n`
}
