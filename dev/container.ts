/**
 * The container process of `gantry up --dev`: a container with `lint` around its application and with error pages,
 * which reports its imports and its failure to its parent. `dev/serve.ts` starts it with a name for error pages, the
 * log's format and a container's command line.
 */

import { readFileSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { loadForContainer } from '../container/application/loaded-application.ts'
import { containerOptions } from '../container/options.ts'
import { serveContainer } from '../container/serve.ts'
import { LoadError, syntaxErrorPlace } from '../process/modules/load-module.ts'
import { type RunningServer, run } from '../process/run.ts'
import type { Application } from '../protocol/contract/application.ts'
import { lint } from '../protocol/contract/lint.ts'
import { parseOptions } from '../protocol/options/options.ts'
import { followImports, type ImportTrail } from './imports.ts'
import { type FailedMessage, failureOf, type ImportsMessage } from './messages.ts'
import { prettyLog } from './pretty.ts'
import { showRequestErrors } from './request-errors.ts'

const [shown = '', format, ...argv] = process.argv.slice(2)
const { values } = parseOptions(containerOptions, argv, process.env)

function sendToParent(message: ImportsMessage | FailedMessage, done: () => void = () => {}): void {
  if (process.connected) process.send?.(message, undefined, undefined, done)
  else done()
}

/** `file:line` of the cause of a failed load, if the error does not contain it. */
function placeOf(error: unknown, trail: ImportTrail): string | undefined {
  if (!(error instanceof LoadError)) return undefined
  if (error.place !== undefined) return error.place
  if (error.code === 'SYNTAX' && trail.last !== undefined) return syntaxErrorPlace(trail.last)
  if (error.code !== 'NO_IMPORT' || trail.broken?.from === undefined) return undefined
  const { specifier, from } = trail.broken
  const lines = readFileSync(from, 'utf8').split('\n')
  const line = lines.findIndex((text) => text.includes(`'${specifier}'`) || text.includes(`"${specifier}"`))
  return line === -1 ? undefined : `${from}:${line + 1}`
}

const trail = followImports((imported, missing) => sendToParent({ gantry: 'imports', imported, missing }))

/** Ends this process. The parent shows the error in the terminal and in the browser. */
function fail(error: unknown): Promise<never> {
  const place = placeOf(error, trail)
  // The thrown error is more useful than the error that says that the module threw.
  const thrown = error instanceof LoadError && error.code === 'THREW' ? error.cause : error
  const failure = failureOf(thrown, place)
  // Without a known place, Gantry's own stack would be misleading.
  const shownFailure = thrown instanceof LoadError && place === undefined ? { ...failure, stack: undefined } : failure
  return new Promise(() => sendToParent({ gantry: 'failed', failure: shownFailure }, () => process.exit(1)))
}

await run(
  'container',
  {
    ...values,
    accessLog: 'off',
    // If the channel is full the message is lost; the process ends in any case.
    reportUncaught: (error) => sendToParent({ gantry: 'failed', failure: failureOf(error) }),
    ...(format === 'pretty' ? { format: prettyLog() } : {}),
  },
  async (environment): Promise<RunningServer> => {
    const { log } = environment
    // A top-level await that never settles is detected when the event loop is empty, so the channel to the parent must
    // not keep the process alive.
    process.channel?.unref()
    const errors = showRequestErrors({ log, shown })
    try {
      const loaded = await loadForContainer(values, environment)
      // Check the contract only of applications that are written for it: a framework may respond without a
      // Content-Type.
      const check = loaded.hosted.interface === 'wsgi' ? lint : (application: Application): Application => application
      // Check both sides of the application, and both sides of its middleware.
      if (values.middleware.length > 0) loaded.wrap(check)
      const outer = (whole: Application): Application => errors(check(whole))
      const running = await serveContainer(values, { ...environment, loaded, middleware: outer })
      // Node writes its compile cache at the end of a process, but this process may be killed. Write it after the
      // process has reported that it serves.
      setImmediate(flushCompileCache)
      return running
    } catch (error) {
      return await fail(error)
    }
  },
)
