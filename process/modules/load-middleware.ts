/** `MODULE[:EXPORT]`, any number → one middleware that stands for all of them. What is wrong with a module, `load-module.ts` says. */

import type { Application, Middleware } from '../../protocol/contract/application.ts'
import { LoadError, loadFunction } from './load-module.ts'

/**
 * Loads middleware by `specifiers` (the export `middleware` where none is named, else the default export). The first is outermost.
 *
 * @returns undefined for none
 * @throws LoadError; so does the middleware that is returned, when a module's own gives no application
 */
export async function loadMiddleware(
  specifiers: readonly string[],
  directory: string = process.cwd(),
): Promise<Middleware | undefined> {
  const wanted = { name: 'middleware', expected: 'a function of an application that gives one' }
  const loaded: Middleware[] = []
  // One after the other: a module that fails is the first that does.
  for (const specifier of specifiers) {
    loaded.push(checked((await loadFunction(specifier, wanted, directory)) as Middleware, specifier))
  }
  if (loaded.length === 0) return undefined
  return (application) => loaded.reduceRight((inner, middleware) => middleware(inner), application)
}

/** A module's function, which may be anything, as a middleware. */
function checked(middleware: Middleware, specifier: string): Middleware {
  return (application) => {
    let given: unknown
    try {
      given = middleware(application)
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      throw new LoadError(
        'THREW',
        `the middleware ${specifier} threw when it was called with the application: ${message}`,
        {
          cause: error,
        },
      )
    }
    if (typeof given === 'function') return given as Application
    const what = given === null ? 'null' : given instanceof Promise ? 'a promise' : typeof given
    throw new LoadError(
      'NOT_A_FUNCTION',
      `the middleware ${specifier} returned ${what}; expected an application: a function of (environ, startResponse)`,
    )
  }
}
