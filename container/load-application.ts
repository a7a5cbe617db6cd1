/** `MODULE[:EXPORT]` → the application. What is wrong when there is none, `load-module.ts` says. It does not run the application. */

import type { Application } from '../protocol/application.ts'
import { loadFunction } from '../protocol/load-module.ts'

export { LoadError, type LoadErrorCode, parseSpecifier, syntaxErrorPlace } from '../protocol/load-module.ts'

/**
 * Loads `specifier`: a path (absolute, or from `directory`, with or without `./` and extension), a `file:` URL or a package's name;
 * after a colon the export's name, else `application`, else the default export.
 *
 * @throws LoadError
 */
export async function loadApplication(specifier: string, directory: string = process.cwd()): Promise<Application> {
  const wanted = { name: 'application', expected: 'a function of (environ, startResponse)' }
  return (await loadFunction(specifier, wanted, directory)) as Application
}
