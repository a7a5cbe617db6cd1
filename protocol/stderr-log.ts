/**
 * A logger of plain lines on standard error, where who runs a small server or a CGI program looks: what an application wrote to
 * `wsgi.errors` as it is, failures with their stacks. It does not gather: each line is out before the process can end.
 */

import { writeSync } from 'node:fs'
import type { Logger } from './log.ts'

const RETRY_MILLISECONDS = 10
/** A reader that takes nothing for half a second has its line dropped: it must not hold the request up. */
const RETRIES = 50

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
  const stack = err === undefined ? '' : `: ${err instanceof Error ? (err.stack ?? err.message) : String(err)}`
  return `gantry: ${message}${about && ` (${about})`}${stack}\n`
}

function writeToStderr(text: string): void {
  let bytes = Buffer.from(text)
  for (let retries = 0; bytes.length > 0 && retries < RETRIES; ) {
    try {
      bytes = bytes.subarray(writeSync(2, bytes))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MILLISECONDS)
      retries++
    }
  }
}
