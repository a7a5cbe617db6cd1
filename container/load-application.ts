/**
 * `MODULE[:EXPORT]` → something that a container serves, whichever interface it has. What is wrong with a module, `load-module.ts` says; what
 * an export is, `interfaces/recognise.ts`. It does not run the application.
 */

import type { Application } from '../protocol/application.ts'
import {
  importModule,
  LoadError,
  type LocatedModule,
  locateModule,
  pickExport,
  unfit,
} from '../protocol/load-module.ts'
import type { Hosted, InterfaceName } from './interfaces/interface.ts'
import { expectedOf, recognise, Unservable } from './interfaces/recognise.ts'

export { LoadError, type LoadErrorCode, parseSpecifier, syntaxErrorPlace } from '../protocol/load-module.ts'

export interface LoadOptions {
  /** Where paths begin. Default: the working directory. */
  readonly directory?: string | undefined
  /** What the export is. Default: what it says of itself; a plain function is WSGI's. */
  readonly interface?: InterfaceName | undefined
}

const NAME = 'application'

/**
 * Loads `specifier`: a path (absolute, or from the directory, with or without `./` and extension), a `file:` URL or a package's name;
 * after a colon the export's name, else `application`, else the default export. A framework's application is waited for until it is ready.
 *
 * @throws LoadError
 */
export async function loadApplication(specifier: string, options: LoadOptions | string = {}): Promise<Application> {
  const { application } = await loadHosted(specifier, typeof options === 'string' ? { directory: options } : options)
  return application
}

/**
 * As `loadApplication`, with what else a container needs to know of it.
 *
 * @throws LoadError
 */
export async function loadHosted(specifier: string, options: LoadOptions = {}): Promise<Hosted> {
  const module = locateModule(specifier, options.directory)
  const namespace = await importModule(module)
  const { name, value } = picked(namespace, module)
  return hostedOf(value, name, module, options.interface)
}

const LISTENS = 'if the module starts its server itself, give --interface node'

/** The export to serve. */
function picked(namespace: Record<string, unknown>, module: LocatedModule): { name: string; value: unknown } {
  try {
    return pickExport(namespace, module, NAME)
  } catch (error) {
    if (!(error instanceof LoadError) || module.name !== undefined) throw error
    throw new LoadError(error.code, `${error.message}; ${LISTENS}`)
  }
}

/** @throws LoadError for what cannot be served */
async function hostedOf(
  value: unknown,
  name: string,
  module: LocatedModule,
  wanted: InterfaceName | undefined,
): Promise<Hosted> {
  let hosted: Hosted | undefined
  try {
    hosted = await recognise(value, wanted)
  } catch (error) {
    const whose = `the export ${name} of ${module.shown}`
    if (error instanceof Unservable) throw new LoadError('NOT_A_FUNCTION', `${whose} ${error.message}`)
    const message = error instanceof Error ? error.message : String(error)
    throw new LoadError('THREW', `${whose} failed to start: ${message}`, { cause: error })
  }
  if (hosted) return hosted
  const { code, message } = unfit(value, name, module, { name: NAME, expected: expectedOf(wanted) })
  throw new LoadError(code, module.name === undefined && wanted !== 'node' ? `${message}; ${LISTENS}` : message)
}
