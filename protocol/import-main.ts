/**
 * Imports a module as the main module of this process, as `node FILE` does: `require.main === module`, `import.meta.main`, `process.mainModule`.
 * Unlike `Module.runMain()` the result is a promise, so that the caller gets the exports and the error.
 */

import { constants, Script } from 'node:vm'

/** Node takes a module for the main module if it is imported from nowhere: a script whose name is neither a path nor a URL has no place. */
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
  // Node warns at the first use that the constant is experimental, which is no concern of the application's user. Applications' warnings pass.
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
