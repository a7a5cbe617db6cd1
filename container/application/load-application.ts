/**
 * `MODULE[:EXPORT]` → something that a container serves, whichever interface it has. What is wrong with a module, `load-module.ts` says; what
 * an export is, `recognise.ts`. It does not run the application.
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
import { expectedOf, recognise, UnsupportedExport } from './recognise.ts'

export { LoadError, type LoadErrorCode, parseSpecifier, syntaxErrorPlace } from '../../process/modules/load-module.ts'

export interface LoadOptions {
  /** Where paths begin. Default: the working directory. */
  readonly directory?: string | undefined
  /** What the export is. Default: what it says of itself; a plain function is WSGI's. */
  readonly interface?: InterfaceName | undefined
}

interface LoadHostedOptions extends LoadOptions {
  /** The installed takeover of the server that the module starts. With it the module is loaded as the main module. */
  readonly takeover?: ListenTakeover | undefined
  /** Finds the server that a child process of the module starts; started. Only with `takeover`. */
  readonly childServers?: ChildServers | undefined
  /**
   * `process.argv` after the file, if the application has a process of its own. Default: `process.argv` is not changed.
   */
  readonly arguments?: readonly string[] | undefined
  readonly clock?: Clock | undefined
  readonly log?: Logger | undefined
}

/** How long a module may take until it calls `listen()`, ms: it may wait for its database, which waits for its disk. */
const LISTEN_WAIT = 60_000
/** The same for a module that exports an application and whose source does not seem to call `listen()`, ms. */
const EXPORT_LISTEN_WAIT = 1_000

const NAME = 'application'

/**
 * Loads `specifier`: a path (absolute, or from the directory, with or without `./` and extension), a `file:` URL or a package's name;
 * after a colon the export's name, else `application`, else the default export. A framework's application is waited for until it is ready.
 *
 * @throws LoadError
 */
export async function loadApplication(specifier: string, options: LoadOptions | string = {}): Promise<Application> {
  const { application } = await loadHostedApplication(
    specifier,
    typeof options === 'string' ? { directory: options } : options,
  )
  return application
}

/**
 * As `loadApplication`, with what else a container needs to know of it.
 *
 * @throws LoadError
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
 * A module of Node's interface, which may start its server by itself while it is loaded, or some time later. An export that was named is
 * served in any case; else the server that listens; else what is exported.
 *
 * @throws ChildListensError if a child process of the module listens in its place
 */
async function loadMainModule(
  module: LocatedModule,
  takeover: ListenTakeover,
  { clock = systemClock, childServers }: LoadHostedOptions,
): Promise<HostedApplication> {
  // As with `node FILE`: many modules start their server only as the main module.
  const imported = importModule(module, 'main')
  // It may await at its top that it listens, which it does when it is served.
  const elsewhere = module.name === undefined && childServers ? childServers.found : new Promise<never>(() => {})
  // It goes on, served elsewhere.
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
  // What CommonJS exports when it exports nothing.
  const nothing = isObject(exported) && Object.keys(exported).length === 0
  const isExported = exported !== undefined && !nothing
  // The application's own server, on another port than PORT: a server that is bound already cannot be served otherwise.
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

/** The export that is served if none is named. */
function exportOf(namespace: Record<string, unknown> | undefined): string {
  return Object.keys(namespace ?? {}).includes(NAME) ? NAME : 'default'
}

/** The expressions by which modules check whether they are the main module. */
const MAIN_CHECK = /\brequire\.main\b|\bimport\.meta\.main\b|\bprocess\.argv\[1\]/

/** Whether the module checks whether it is the main module. */
function checksForMain(file: string): boolean {
  return MAIN_CHECK.test(readFileSync(file, 'utf8'))
}

/**
 * Whether a module that exports an application will also listen, perhaps after connecting to its database: if it were
 * served earlier, it would answer without a database.
 */
function seemsToListen(file: string): boolean {
  const text = readFileSync(file, 'utf8')
  return MAIN_CHECK.test(text) || /\.listen\s*\(/.test(text)
}

/** The server that listens, and later the server that replaces it. */
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

const LISTEN_ADVICE = 'if the module starts its server itself, give --interface node'

/** The export to serve. */
function pickOrAdvise(namespace: Record<string, unknown>, module: LocatedModule): { name: string; value: unknown } {
  try {
    return pickExport(namespace, module, NAME)
  } catch (error) {
    if (!(error instanceof LoadError) || module.name !== undefined) throw error
    throw new LoadError(error.code, `${error.message}; ${LISTEN_ADVICE}`)
  }
}

/** @throws LoadError for what cannot be served */
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

/** What `promise` comes to within `milliseconds`, and before the process has nothing left to do. */
async function within<T>(promise: Promise<T>, milliseconds: number, clock: Clock): Promise<T | 'timeout' | 'idle'> {
  const { promise: without, resolve } = Promise.withResolvers<'timeout' | 'idle'>()
  const idle = (): void => resolve('idle')
  const timer = clock.after(milliseconds, () => resolve('timeout'))
  // The channel to a parent keeps a process, and its own timers may not.
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

/** A module that throws right after it called `listen()` failed to load. */
function nextIteration(): Promise<undefined> {
  return new Promise((resolve) => setImmediate(() => resolve(undefined)))
}

/** Later it ends the process, as it would `node`: with what the module threw, which the application's own handlers know. */
function throwUncaught(error: unknown): void {
  process.nextTick(() => {
    throw error instanceof LoadError && error.code === 'THREW' ? error.cause : error
  })
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
