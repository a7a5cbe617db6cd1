/**
 * Loads `MODULE[:EXPORT]` and returns an application that a container can serve, whichever interface it has.
 * `load-module.ts` explains what is wrong with a module; `recognise.ts` decides what an export is.
 */

import type { AsyncResource } from 'node:async_hooks'
import { readFileSync } from 'node:fs'
import { fromServer } from '../../interfaces/node/from-node.ts'
import {
  importModule,
  LoadError,
  type LocatedModule,
  locateModule,
  pickExport,
  unfit,
} from '../../process/modules/load-module.ts'
import type { Application } from '../../protocol/contract/application.ts'
import { textOfThrown } from '../../protocol/contract/thrown.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import type { ChildServers } from './child-servers.ts'
import type { HostedApplication, InterfaceName } from './hosted-application.ts'
import type { ListenTakeover } from './listen-takeover.ts'
import { expectedOf, isObject, recognise, UnsupportedExport } from './recognise.ts'

export { LoadError, type LoadErrorCode, parseSpecifier, syntaxErrorPlace } from '../../process/modules/load-module.ts'

interface LoadOptions {
  /** The directory from which relative paths are resolved. Default: the working directory. */
  readonly directory?: string | undefined
  /** The interface of the export. Default: recognised from the export; a plain function is a WSGI application. */
  readonly interface?: InterfaceName | undefined
}

interface LoadHostedOptions extends LoadOptions {
  /** The installed takeover of the server that the module starts. If given, the module is loaded as the main module. */
  readonly takeover?: ListenTakeover | undefined
  /** Finds a server that a child process of the module starts. It has been started. Used only with `takeover`. */
  readonly childServers?: ChildServers | undefined
  /** `process.argv` after the file, if the application has its own process. Default: `process.argv` is not changed. */
  readonly arguments?: readonly string[] | undefined
  readonly clock?: Clock | undefined
  readonly log?: Logger | undefined
}

/** How long a module may take to call `listen()`, ms: it may wait for its database, which waits for its disk. */
const LISTEN_WAIT = 60_000
/** The same for a module that exports an application and whose source does not seem to call `listen()`, ms. */
const EXPORT_LISTEN_WAIT = 1_000

const NAME = 'application'

/**
 * Loads a module and returns the application that it exports, as an `Application` whatever interface it has. Waits
 * until a framework's application is ready.
 *
 * @param specifier the module: a path (absolute or relative, with or without `./` and extension), a `file:` URL or a
 *   package name; after a colon, the name of the export. Default: the export `application`, else the default export.
 * @param options options, or the directory from which relative paths are resolved
 * @throws LoadError if the module cannot be loaded, has no such export, or the export cannot be served
 * @example
 * ```ts
 * import { loadApplication, makeServer } from 'gantry/container'
 *
 * const application = await loadApplication('./app.ts:application', { interface: 'wsgi' })
 * const server = await makeServer('127.0.0.1', 8080, application)
 * await server.serveForever()
 * ```
 */
export async function loadApplication(specifier: string, options: LoadOptions | string = {}): Promise<Application> {
  const { application } = await loadHostedApplication(
    specifier,
    typeof options === 'string' ? { directory: options } : options,
  )
  return application
}

/**
 * Like `loadApplication`, but returns everything that a container must know about the application.
 *
 * @throws LoadError if there is no application that can be served
 */
export async function loadHostedApplication(
  specifier: string,
  options: LoadHostedOptions = {},
): Promise<HostedApplication> {
  const module = locateModule(specifier, options.directory)
  // As with `node FILE ARGUMENT…`.
  if (options.arguments) process.argv.splice(1, Number.POSITIVE_INFINITY, module.file, ...options.arguments)
  if (options.takeover) return loadMainModule(module, options.takeover, options)
  const namespace = await importModule(module)
  const { name, value } = pickOrAdvise(namespace, module)
  const hosted = await hostedOf(value, name, module, options.interface)
  if (hosted.interface === 'node' && checksForMain(module.file)) {
    options.log?.warn(
      { module: module.shown },
      `${module.shown} checks whether it is the main module (require.main, import.meta.main), but it is imported here: use --interface node to run it as node does`,
    )
  }
  return hosted
}

/**
 * Loads a module with Node's interface. The module may start a server itself, during loading or later. A named export
 * is served in any case; otherwise the server that listens; otherwise the export.
 *
 * @throws ChildListensError if a child process of the module listens instead
 */
async function loadMainModule(
  module: LocatedModule,
  takeover: ListenTakeover,
  { clock = systemClock, childServers }: LoadHostedOptions,
): Promise<HostedApplication> {
  // As with `node FILE`: many modules start their server only if they are the main module.
  const imported = importModule(module, 'main')
  // The module may await 'listening' at its top level, which is emitted only when the application is served.
  const elsewhere = module.name === undefined && childServers ? childServers.found : new Promise<never>(() => {})
  // A child process serves the application, and the module continues to run.
  elsewhere.catch(() => imported.catch(throwUncaught))
  const namespace = await Promise.race([imported, takeover.serverFound.then(nextIteration), elsewhere])
  if (!namespace) imported.catch(throwUncaught)
  if (module.name !== undefined) {
    const { name, value } = pickExport(namespace ?? (await imported), module, NAME)
    return hostedOf(value, name, module, 'node')
  }
  if (takeover.served) {
    // The module's top level may still await something.
    imported.then(
      (all) => takeover.warnAboutExport(all[exportOf(all)], `${module.shown}:${exportOf(all)}`),
      () => {},
    )
    return takenOver(takeover)
  }
  const found = exportOf(namespace)
  const exported = namespace?.[found]
  // A CommonJS module without exports exports an empty object.
  const nothing = isObject(exported) && Object.keys(exported).length === 0
  const isExported = exported !== undefined && !nothing
  // The application's own server, on another port than PORT: a server that already listens can be served only by taking
  // it over.
  if (isExported && takeover.substitute(exported)) return takenOver(takeover)
  let unservable: LoadError | undefined
  const hosted = isExported
    ? await hostedOf(exported, found, module, 'node').catch((error: LoadError) => {
        // `module.exports = { app, database }`, for tests: the module may still listen.
        if (error.code !== 'NOT_A_FUNCTION') throw error
        unservable = error
        return undefined
      })
    : undefined
  const isNamed = takeover.wanted?.from === '--app-port'
  const isOptional = hosted !== undefined && !isNamed
  if (!isOptional) takeover.moduleLoaded(clock)
  const listenWait = seemsToListen(module.file) ? LISTEN_WAIT : EXPORT_LISTEN_WAIT
  const wait = isOptional ? (takeover.exportWait(exported) ?? listenWait) : LISTEN_WAIT
  const listens = isOptional ? takeover.serverFound : Promise.race([takeover.serverFound, elsewhere])
  const server = await within(listens, wait, clock)
  if (typeof server === 'object' || takeover.substitute(hosted && exported)) return takenOver(takeover)
  if (isOptional) return hosted
  const waited = server === 'timeout' ? `within ${wait / 1000} s` : 'before the event loop was empty'
  const what = hosted ? '' : 'exports nothing to serve, and '
  const why = unservable ? ` (${unservable.message})` : ''
  const where = isNamed ? ` on --app-port ${takeover.wanted?.value}` : ''
  const advice = childServers?.advice ?? ''
  const instead = takeover.others.length === 0 ? '' : `; it listens on ${takeover.others.join(', ')}`
  throw new LoadError(
    'NEVER_LISTENED',
    `${module.shown} ${what}did not call listen() of an http.Server${where} ${waited}${instead}${why}; servers of other modules than node:http are not taken over${advice}`,
  )
}

/** The name of the export that is served if no export is named. */
function exportOf(namespace: Record<string, unknown> | undefined): string {
  return Object.keys(namespace ?? {}).includes(NAME) ? NAME : 'default'
}

/** The expressions by which modules check whether they are the main module. */
const MAIN_CHECK = /\brequire\.main\b|\bimport\.meta\.main\b|\bprocess\.argv\[1\]/

/** Whether the source of the module checks that it is the main module. */
function checksForMain(file: string): boolean {
  return MAIN_CHECK.test(readFileSync(file, 'utf8'))
}

/**
 * Whether a module that exports an application will also listen, perhaps after connecting to its database. If the
 * application were served earlier, it would handle requests without a database.
 */
function seemsToListen(file: string): boolean {
  const text = readFileSync(file, 'utf8')
  return MAIN_CHECK.test(text) || /\.listen\s*\(/.test(text)
}

/** The application of the server that listens, or later of the server that replaces it. */
function takenOver(takeover: ListenTakeover): HostedApplication {
  let { server } = takeover.served!
  const scope = (): AsyncResource | undefined => takeover.served?.scope
  let application = fromServer(server, { scope })
  return {
    what: 'a server that listens',
    interface: 'node',
    application: (environ, startResponse) => {
      const now = takeover.served!.server
      if (now !== server) {
        server = now
        application = fromServer(server, { scope })
      }
      return application(environ, startResponse)
    },
    server,
  }
}

const LISTEN_ADVICE = 'if the module starts its server itself, use --interface node'

/** Returns the export to serve; an error also suggests `--interface node`. */
function pickOrAdvise(namespace: Record<string, unknown>, module: LocatedModule): { name: string; value: unknown } {
  try {
    return pickExport(namespace, module, NAME)
  } catch (error) {
    if (!(error instanceof LoadError) || module.name !== undefined) throw error
    throw new LoadError(error.code, `${error.message}; ${LISTEN_ADVICE}`)
  }
}

/** @throws LoadError if the export cannot be served */
async function hostedOf(
  value: unknown,
  name: string,
  module: LocatedModule,
  wanted: InterfaceName | undefined,
): Promise<HostedApplication> {
  let hosted: HostedApplication | undefined
  try {
    hosted = await recognise(value, wanted)
  } catch (error) {
    const whose = `the export ${name} of ${module.shown}`
    if (error instanceof UnsupportedExport) throw new LoadError('NOT_A_FUNCTION', `${whose} ${error.message}`)
    const message = error instanceof Error ? error.message : textOfThrown(error)
    throw new LoadError('THREW', `${whose} failed to start: ${message}`, { cause: error })
  }
  if (hosted) return hosted
  const { code, message } = unfit(value, name, module, { name: NAME, expected: expectedOf(wanted) })
  throw new LoadError(code, module.name === undefined && wanted !== 'node' ? `${message}; ${LISTEN_ADVICE}` : message)
}

/**
 * Returns the result of `promise`, 'timeout' after `milliseconds`, or 'idle' when the process has nothing left to do.
 */
async function within<T>(promise: Promise<T>, milliseconds: number, clock: Clock): Promise<T | 'timeout' | 'idle'> {
  const { promise: without, resolve } = Promise.withResolvers<'timeout' | 'idle'>()
  const idle = (): void => resolve('idle')
  const timer = clock.after(milliseconds, () => resolve('timeout'))
  // The channel to a parent keeps the process alive. The application's own timers may not.
  process.channel?.unref()
  process.once('beforeExit', idle)
  try {
    return await Promise.race([promise, without])
  } finally {
    timer.cancel()
    process.off('beforeExit', idle)
    process.channel?.ref()
  }
}

/** A module that throws right after it called `listen()` has failed to load. */
function nextIteration(): Promise<undefined> {
  return new Promise((resolve) => setImmediate(() => resolve(undefined)))
}

/**
 * An error after loading ends the process, as with `node`. The application's own handlers get what the module threw.
 */
function throwUncaught(error: unknown): void {
  process.nextTick(() => {
    throw error instanceof LoadError && error.code === 'THREW' ? error.cause : error
  })
}
