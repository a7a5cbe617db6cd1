/**
 * A logger of plain lines on standard error, where who runs a small server or a CGI program looks: what an application wrote to
 * `wsgi.errors` as it is, failures with their stacks. It does not gather: each line is written at once, or when its reader takes it.
 */

import type { Logger } from './log.ts'
import { LogOutput } from './log-output.ts'
import { textOfThrown } from './thrown.ts'

/** For a person's lines, of which few come: a reader that has stalled has some 5,000 to read when it goes on. */
const PENDING = 1024 * 1024

let output: LogOutput | undefined

/** Writes a line, with its newline, to standard error. Neither a reader that has stalled nor one that has gone is felt here. */
export function writeToStderr(text: string): void {
  standardError().write(text)
}

/** Standard error's output, of which a process has one. What waits is written when the process ends. */
export function standardError(): LogOutput {
  if (output === undefined) {
    const made = new LogOutput(2, {
      immediate: true,
      shared: true,
      limit: PENDING,
      lost: (count) => `gantry: ${count} lines were lost: nobody read standard error, or it could not be written`,
    })
    process.on('exit', () => made.flushSync())
    output = made
  }
  return output
}

let guarded = false

/**
 * For processes that serve: standard output and error may fail (a reader that has gone, a full disk, a closed terminal) without ending the
 * process. Without a listener even a warning of Node's own (`process.emitWarning`) ends one whose standard error is closed.
 *
 * Node makes a stream's pipe non-blocking when it is first asked for the stream, which `fs.writeSync(1, text)` of an application would feel
 * (EAGAIN). So the listener is added then, and nothing is asked for here.
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
  const stack = err === undefined ? '' : `: ${textOfThrown(err)}`
  return `gantry: ${message}${about && ` (${about})`}${stack}\n`
}
