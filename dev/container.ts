/**
 * The container's process of `gantry up --dev`: an ordinary container whose application is under lint, whose errors are shown, and that
 * tells its parent what it imports and what it fails of. Run by `dev/serve.ts` alone, with the name of what it is to serve and a container's
 * command line.
 */

import { readFileSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { loadForContainer } from '../container/application/loaded-application.ts'
import { containerOptions } from '../container/options.ts'
import { serveContainer } from '../container/serve.ts'
import { LoadError, syntaxErrorPlace } from '../process/modules/load-module.ts'
import { type Running, run } from '../process/run.ts'
import type { Application } from '../protocol/contract/application.ts'
import { lint } from '../protocol/contract/lint.ts'
import { parseOptions } from '../protocol/options/options.ts'
import { followImports, type ImportTrail } from './imports.ts'
import { type FailedMessage, failureOf, type ImportsMessage } from './messages.ts'
import { prettyLog } from './pretty.ts'
import { showRequestErrors } from './request-errors.ts'

const [shown = '', format, ...argv] = process.argv.slice(2)
const { values } = parseOptions(containerOptions, argv, process.env)

function tell(message: ImportsMessage | FailedMessage, done: () => void = () => {}): void {
  if (process.connected) process.send?.(message, undefined, undefined, done)
  else done()
}

/** `file:line` of what a load failed of, where its error does not say it. */
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

const trail = followImports((imported, missing) => tell({ gantry: 'imports', imported, missing }))

/** Ends this process; what it ends of is told in a terminal, and in the browser, by its parent. */
function fail(error: unknown): Promise<never> {
  const place = placeOf(error, trail)
  // What it threw is of more use than that it threw.
  const thrown = error instanceof LoadError && error.code === 'THREW' ? error.cause : error
  const failure = failureOf(thrown, place)
  // Where no place is known, that of our own throwing it would only lead astray.
  const told = thrown instanceof LoadError && place === undefined ? { ...failure, stack: undefined } : failure
  return new Promise(() => tell({ gantry: 'failed', failure: told }, () => process.exit(1)))
}

await run(
  'container',
  {
    ...values,
    accessLog: 'off',
    // A channel that is full would keep the message; the process ends all the same.
    reportUncaught: (error) => tell({ gantry: 'failed', failure: failureOf(error) }),
    ...(format === 'pretty' ? { format: prettyLog() } : {}),
  },
  async (environment): Promise<Running> => {
    const { log } = environment
    // Whoever waits at its top level for what never comes is found out by a process that has nothing left to do: the channel to the
    // parent is to keep none alive.
    process.channel?.unref()
    const errors = showRequestErrors({ log, shown })
    try {
      const loaded = await loadForContainer(values, environment)
      // Only who wrote to the contract is held to it: a framework may well answer without a Content-Type.
      const check = loaded.hosted.interface === 'wsgi' ? lint : (application: Application): Application => application
      // Both sides of the application, and of what is put around it.
      if (values.middleware.length > 0) loaded.wrap(check)
      const outer = (whole: Application): Application => errors(check(whole))
      const running = await serveContainer(values, { ...environment, loaded, middleware: outer })
      // By itself Node writes at the end of a process, which for this one may be sudden. Not before it is said that this one serves.
      setImmediate(flushCompileCache)
      return running
    } catch (error) {
      return await fail(error)
    }
  },
)
