/**
 * Which files the application imports, found while it imports them: hooks of Node's module loader that see `import`,
 * `import()` and `require` alike, in this thread. Packages (`node_modules`) are not followed. Watches nothing.
 */

import { statSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ABSENT, type Imported, signatureOf } from './messages.ts'

export interface ImportTrail {
  /** The file that was loaded last: where JavaScript did not parse, since a module is parsed as soon as it is loaded. */
  readonly last: string | undefined
  /** An import that leads nowhere. */
  readonly broken: { readonly specifier: string; readonly from: string | undefined } | undefined
}

/** What a specifier without its ending may have meant. */
const ENDINGS = ['', '.ts', '.js', '.mjs', '.mts', '.cjs', '.json', '/index.js', '/index.ts']

/**
 * Follows imports from here on, from those by `file:` URL (whoever loads the application does that) to all that they lead to.
 *
 * @param tell called at once, for each file that is seen for the first time and for each import that finds nothing
 */
export function followImports(tell: (imported: readonly Imported[], missing: readonly string[]) => void): ImportTrail {
  const trail: { last: string | undefined; broken: ImportTrail['broken'] } = { last: undefined, broken: undefined }
  /** URLs, with their queries. */
  const followed = new Set<string>()
  const told = new Set<string>()
  const see = (url: string): void => {
    if (!url.startsWith('file:') || url.includes('/node_modules/')) return
    followed.add(url)
    const file = fileURLToPath(url)
    if (told.has(file)) return
    told.add(file)
    const stats = statSync(file, { bigint: true, throwIfNoEntry: false })
    tell([{ file, signature: stats ? signatureOf(stats) : ABSENT }], [])
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
        tell([], candidates(specifier, importer))
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

/** Where a specifier that was not found could appear. */
export function candidates(specifier: string, from: string | undefined): string[] {
  if (specifier.startsWith('#') || specifier.startsWith('node:')) return []
  if (specifier.startsWith('file:')) return ENDINGS.map((ending) => fileURLToPath(specifier) + ending)
  if (from === undefined) return []
  const directory = dirname(from)
  if (specifier.startsWith('.') || isAbsolute(specifier)) {
    const path = resolve(directory, specifier)
    return ENDINGS.map((ending) => path + ending)
  }
  // A package: it may be installed next to the importer or above.
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
  const found: string[] = []
  for (let at = directory; ; at = dirname(at)) {
    found.push(join(at, 'node_modules', name, 'package.json'))
    if (dirname(at) === at) return found
  }
}
