/**
 * Loads an export by `MODULE[:EXPORT]`. Finds the module as Node would from the working directory, imports it, and
 * explains in one sentence a missing module or export, or a wrong type. The caller decides what the export is used for.
 */

import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isAbsolute, join, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { brand } from '../../protocol/contract/brand.ts'
import type { moduleCodes } from '../../protocol/contract/error-codes/start-codes.ts'
import { messageOf } from '../../protocol/contract/thrown.ts'
import { brokenModule } from './broken-module.ts'
import { importMain } from './import-main.ts'

/** Why a module cannot be served; `docs/errors.md` explains each code. */
export type LoadErrorCode = keyof typeof moduleCodes

/**
 * A module or its export could not be loaded. The message, one or two lines, is for the person who starts the process.
 */
export class LoadError extends Error {
  static {
    brand(LoadError, 'LoadError')
  }

  override readonly name: string = 'LoadError'
  readonly code: LoadErrorCode
  /** `file:line` of the mistake, if it is known. */
  readonly place: string | undefined

  constructor(code: LoadErrorCode, message: string, options?: ErrorOptions & { place?: string | undefined }) {
    super(message, options)
    this.code = code
    this.place = options?.place
  }
}

/** Extensions that a module's name may omit. */
export const EXTENSIONS: readonly string[] = ['.ts', '.js', '.mjs', '.mts', '.cjs']

/** Splits `MODULE[:EXPORT]`. A colon elsewhere in a path, or after a Windows drive, does not begin an export's name. */
export function parseSpecifier(text: string): { module: string; name: string | undefined } {
  const match = /^(.+):([\p{ID_Start}$_][\p{ID_Continue}$]*)$/u.exec(text)
  return match ? { module: match[1]!, name: match[2]! } : { module: text, name: undefined }
}

/** Describes the export that a caller needs. */
interface WantedExport {
  /**
   * The export to take if the specifier names none; without such an export, the default export. Also its name in
   * messages.
   */
  readonly name: string
  /** The expected type, for messages: `a function of (environ, startResponse)`. */
  readonly expected: string
}

/** A module that was found, but not imported yet. */
export interface LocatedModule {
  readonly file: string
  /** The file as messages show it: relative to the directory if it is inside. */
  readonly shown: string
  /** The export that the specifier names. */
  readonly name: string | undefined
}

/**
 * Finds `specifier`: a path (absolute, or from `directory`, with or without `./` and extension), a folder with an entry
 * as `node FOLDER` finds it (the `main` of its package.json, else its index file), a `file:` URL or a package's name;
 * after a colon the export's name.
 *
 * @throws LoadError if there is no such module
 */
export function locateModule(specifier: string, directory: string = process.cwd()): LocatedModule {
  const { module, name } = parseSpecifier(specifier)
  const file = locate(module, directory)
  return { file, shown: file.startsWith(join(directory, '/')) ? relative(directory, file) : file, name }
}

/**
 * Imports a module.
 *
 * @param as `main`: as the main module of this process
 * @returns its exports
 * @throws LoadError if the import fails
 */
export async function importModule(
  { file, shown }: LocatedModule,
  as: 'import' | 'main' = 'import',
): Promise<Record<string, unknown>> {
  const load = as === 'main' ? importMain : (url: string): Promise<unknown> => import(url)
  try {
    return (await importSettled(load(pathToFileURL(file).href), shown)) as Record<string, unknown>
  } catch (error) {
    throw error instanceof LoadError ? error : explain(error, shown, file)
  }
}

/**
 * Loads `specifier` and returns a function that it exports: the named one, else `wanted.name`, else the default export.
 *
 * @throws LoadError if the module or export cannot be loaded, or is not a function
 */
export async function loadFunction(
  specifier: string,
  wanted: WantedExport,
  directory: string = process.cwd(),
): Promise<(...args: never[]) => unknown> {
  const module = locateModule(specifier, directory)
  const { name, value } = pickExport(await importModule(module), module, wanted.name)
  if (typeof value !== 'function') throw unfit(value, name, module, wanted)
  return value as (...args: never[]) => unknown
}

/**
 * Waits for an import. If the event loop is empty, a top-level `await` never settles: Node would end the process, and
 * would name this file as the place that waits.
 */
async function importSettled(imported: Promise<unknown>, shown: string): Promise<unknown> {
  const never = Promise.withResolvers<never>()
  const onIdle = (): void => {
    never.reject(
      new LoadError(
        'WAITS',
        `${shown} never finishes loading: a top-level await in it, or in a module that it imports, never settles`,
      ),
    )
  }
  process.once('beforeExit', onIdle)
  try {
    return await Promise.race([imported, never.promise])
  } finally {
    process.off('beforeExit', onIdle)
  }
}

function locate(module: string, directory: string): string {
  if (module.startsWith('file:')) return locate(fileURLToPath(module), directory)
  const path = resolve(directory, module)
  // A trailing slash means a folder: `build/` is never build.js.
  const files = module.endsWith('/') ? [] : [path, ...EXTENSIONS.map((extension) => path + extension)]
  const found = files.find(isFile) ?? entryOf(path)
  if (found !== undefined) return found
  const isPath =
    isAbsolute(module) || /^\.|\/$/.test(module) || EXTENSIONS.some((extension) => module.endsWith(extension))
  if (isPath) throw new LoadError('NO_MODULE', isFolder(path) ? noEntry(path) : `there is no file ${path}`)
  try {
    return createRequire(join(directory, 'resolve.js')).resolve(module)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_PACKAGE_PATH_NOT_EXPORTED') {
      throw new LoadError(
        'NO_MODULE',
        `${module} cannot be loaded by its name: ${messageOf(error)}; use the path of its file`,
      )
    }
    throw new LoadError(
      'NO_MODULE',
      isFolder(path)
        ? noEntry(path)
        : `there is no file ${path} (nor with ${EXTENSIONS.join(', ')}) and no package ${module}`,
    )
  }
}

/**
 * The entry that `node FOLDER` runs: Node resolves a folder by the `main` of its package.json, not by `exports`. The
 * index file may also have any of the extensions supported here.
 */
function entryOf(folder: string): string | undefined {
  if (!isFolder(folder)) return undefined
  try {
    const entry = createRequire(join(folder, 'resolve.js')).resolve(`${folder}/`)
    // Node also finds index.json and index.node, which are not applications.
    if (!/\.(?:json|node)$/.test(entry)) return entry
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') {
      throw new LoadError('NO_MODULE', `the folder ${folder} has no entry: ${messageOf(error)}`)
    }
  }
  return EXTENSIONS.map((extension) => join(folder, `index${extension}`)).find(isFile)
}

function noEntry(folder: string): string {
  return `there is no file ${join(folder, 'index.js')} (nor with ${EXTENSIONS.join(', ')}), and no package.json there whose main is a file`
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false
}

/**
 * The named export of a module, else `usual`, else the default export.
 *
 * @throws LoadError if the module has no such export
 */
export function pickExport(
  namespace: Record<string, unknown>,
  { shown, name }: LocatedModule,
  usual: string,
): { readonly name: string; readonly value: unknown } {
  const wanted = name ?? (usual in namespace ? usual : 'default')
  // Only own keys: a specifier may name `toString`.
  if (!Object.keys(namespace).includes(wanted)) {
    const names = Object.keys(namespace).filter((one) => one !== 'module.exports')
    const have = names.length === 0 ? 'it exports nothing' : `it exports ${names.join(', ')}`
    const lacks = name === undefined ? `exports neither ${usual} nor a default` : `has no export ${name}`
    throw new LoadError('NO_EXPORT', `${shown} ${lacks}; ${have}`)
  }
  return { name: wanted, value: namespace[wanted] }
}

/** The error for an export of the wrong type. */
export function unfit(
  value: unknown,
  name: string,
  { shown }: LocatedModule,
  { name: usual, expected }: WantedExport,
): LoadError {
  return new LoadError(
    'NOT_A_FUNCTION',
    `the export ${name} of ${shown} is not a valid ${usual}: expected ${expected}, got ${nameOfKind(value)}`,
  )
}

function nameOfKind(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  return typeof value
}

/** Explains an error of an import by its code: in which file it is, and what to do. */
function explain(error: unknown, shown: string, file: string): LoadError {
  const place = placeOf(error instanceof Error ? error.stack : undefined)
  const message = messageOf(error)
  const fail = (code: LoadErrorCode, text: string): LoadError => new LoadError(code, text, { place })
  switch ((error as NodeJS.ErrnoException | undefined)?.code) {
    case 'ERR_MODULE_NOT_FOUND':
    case 'MODULE_NOT_FOUND':
    case 'ERR_UNSUPPORTED_DIR_IMPORT':
    case 'ERR_PACKAGE_PATH_NOT_EXPORTED':
      return fail('NO_IMPORT', `${shown} cannot be loaded: ${message.split('\n')[0]}${requiredBy(error)}`)
    case 'ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING':
      return fail(
        'TYPES',
        `${shown} cannot be loaded: Node does not strip types under node_modules; use a compiled .js file (${message})`,
      )
    case 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX':
      return fail(
        'TYPES',
        `${place ?? shown}: this TypeScript must be compiled, since Node only strips types: ${message.trim()}`,
      )
    case 'ERR_INVALID_TYPESCRIPT_SYNTAX':
      return fail('SYNTAX', `${place ?? shown}: ${message.trim()}`)
    case 'ERR_UNKNOWN_FILE_EXTENSION':
    case 'ERR_IMPORT_ATTRIBUTE_MISSING': // .json
      return fail('TYPES', `${shown} cannot be loaded: ${message}; expected ${EXTENSIONS.join(', ')}`)
  }
  if (error instanceof SyntaxError) {
    const found = place ?? syntaxErrorPlace(file) ?? placeInImports(file, message)
    const where = found ?? `${shown}, or a module that it imports`
    return new LoadError('SYNTAX', `${where}: ${error.name}: ${message}${moduleHint(message)}`, { place: found })
  }
  // Only here is the stack useful: it is the application's own.
  return new LoadError('THREW', `${shown} threw while it was loaded: ${message}`, { cause: error })
}

/** A hint for import and export in CommonJS: `npm init` writes `"type": "commonjs"`, so both are syntax errors. */
function moduleHint(message: string): string {
  if (!/^(?:Unexpected token 'export'|Cannot use import statement outside a module)$/.test(message)) return ''
  return '; for import and export set "type": "module" in the nearest package.json, or name the file .mjs or .mts'
}

/**
 * `file:line` of a syntax error. The error of an `import()` does not contain it, but `node --check` prints it, and runs
 * nothing.
 */
export function syntaxErrorPlace(file: string): string | undefined {
  // `--check` would report the types of TypeScript as errors.
  if (!/\.[cm]?js$/.test(file)) return undefined
  return placeOf(spawnSync(process.execPath, ['--check', file], { encoding: 'utf8', timeout: 10_000 }).stderr)
}

function placeInImports(file: string, message: string): string | undefined {
  const broken = brokenModule(file, message)
  return broken === undefined ? undefined : (syntaxErrorPlace(broken) ?? broken)
}

/** `file:line` of an error, which Node writes as the first line of its stack. */
function placeOf(text: string | undefined): string | undefined {
  const match = /^(file:\/\/\S+?|\/.*?):(\d+)$/.exec(text?.split('\n', 1)[0] ?? '')
  if (!match) return undefined
  return `${match[1]!.startsWith('file:') ? fileURLToPath(match[1]!) : match[1]}:${match[2]}`
}

/** The file that requires a missing CommonJS module. For ES modules the message names it. */
function requiredBy(error: unknown): string {
  const { requireStack = [] } = error as { requireStack?: readonly string[] }
  return requireStack.length === 0 ? '' : `, required by ${requireStack[0]}`
}
