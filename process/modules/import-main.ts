/**
 * Imports a module as the main module of this process, as `node FILE` does: `require.main === module`,
 * `import.meta.main`, `process.mainModule`. Unlike `Module.runMain()` it returns a promise, so that the caller gets the
 * exports or the error.
 */

import { constants, Script } from 'node:vm'

/**
 * Node treats a module as the main module if the import has no referrer: a script whose name is neither a path nor a
 * URL has none.
 */
const script: Script = new Script('(url) => import(url)', {
  filename: 'gantry-main',
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
})

/**
 * Imports `url` as the main module. Node has one main module per process.
 *
 * @param url a `file:` URL
 */
export function importMain(url: string): Promise<unknown> {
  const load = script.runInThisContext() as (url: string) => Promise<unknown>
  // Node warns once that the constant is experimental, which the application's user cannot change. Suppress that
  // warning only.
  const { emitWarning } = process
  process.emitWarning = ((warning: string | Error, ...rest: never[]) => {
    if (String(warning).includes('USE_MAIN_CONTEXT_DEFAULT_LOADER')) return
    emitWarning.call(process, warning, ...rest)
  }) as typeof process.emitWarning
  try {
    return load(url)
  } finally {
    process.emitWarning = emitWarning
  }
}
