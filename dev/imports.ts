/**
 * Reports the files that the application imports, by hooks of Node's module loader: they see `import`, `import()` and
 * `require` of this thread. Packages (`node_modules`) are not followed.
 */

import { statSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ABSENT, type Imported, signatureOf } from './messages.ts'

export interface ImportTrail {
  /**
   * The file that was loaded last. After a syntax error it is the file with the error: a module is parsed when it is
   * loaded.
   */
  readonly last: string | undefined
  /** An import that was not found. */
  readonly broken: { readonly specifier: string; readonly from: string | undefined } | undefined
}

/** The endings that a specifier may have omitted. */
const ENDINGS = ['', '.ts', '.js', '.mjs', '.mts', '.cjs', '.json', '/index.js', '/index.ts']

/**
 * Follows imports from now on, beginning with imports by `file:` URL, which is how the application is loaded.
 *
 * @param report called synchronously, for each file that is imported for the first time and for each import that is not
 *   found
 */
export function followImports(
  report: (imported: readonly Imported[], missing: readonly string[]) => void,
): ImportTrail {
  const trail: { last: string | undefined; broken: ImportTrail['broken'] } = { last: undefined, broken: undefined }
  /** URLs of followed modules, with their queries. */
  const followed = new Set<string>()
  const reported = new Set<string>()
  const see = (url: string): void => {
    if (!url.startsWith('file:') || url.includes('/node_modules/')) return
    followed.add(url)
    const file = fileURLToPath(url)
    if (reported.has(file)) return
    reported.add(file)
    const stats = statSync(file, { bigint: true, throwIfNoEntry: false })
    report([{ file, signature: stats ? signatureOf(stats) : ABSENT }], [])
  }
  registerHooks({
    resolve(specifier, context, next) {
      const from = context.parentURL
      if (!specifier.startsWith('file:') && !(from !== undefined && followed.has(from))) return next(specifier, context)
      try {
        const found = next(specifier, context)
        see(found.url)
        return found
      } catch (error) {
        const importer = from?.startsWith('file:') ? fileURLToPath(from) : undefined
        trail.broken = { specifier, from: importer }
        report([], candidates(specifier, importer))
        throw error
      }
    },
    load(url, context, next) {
      if (followed.has(url)) trail.last = fileURLToPath(url)
      return next(url, context)
    },
  })
  return trail
}

/** Files that would satisfy a specifier that was not found. */
function candidates(specifier: string, from: string | undefined): string[] {
  if (specifier.startsWith('#') || specifier.startsWith('node:')) return []
  if (specifier.startsWith('file:')) return ENDINGS.map((ending) => fileURLToPath(specifier) + ending)
  if (from === undefined) return []
  const directory = dirname(from)
  if (specifier.startsWith('.') || isAbsolute(specifier)) {
    const path = resolve(directory, specifier)
    return ENDINGS.map((ending) => path + ending)
  }
  // A package: it may be installed in the importer's folder or in a folder above.
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
  const found: string[] = []
  for (let at = directory; ; at = dirname(at)) {
    found.push(join(at, 'node_modules', name, 'package.json'))
    if (dirname(at) === at) return found
  }
}
