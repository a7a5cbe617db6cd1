/** Loads middleware by `MODULE[:EXPORT]` and composes it into one. `load-module.ts` explains failures of modules. */

import type { Application, Middleware } from '../../protocol/contract/application.ts'
import { LoadError, loadFunction } from './load-module.ts'

/**
 * Loads middleware. Without an export name a module's export `middleware` is taken, else its default export. The first
 * is the outermost.
 *
 * @returns one middleware; undefined if there are no specifiers
 * @throws LoadError if a module cannot be loaded. The returned middleware throws one if a module's middleware returns
 *   no application
 */
export async function loadMiddleware(
  specifiers: readonly string[],
  directory: string = process.cwd(),
): Promise<Middleware | undefined> {
  const wanted = { name: 'middleware', expected: 'a function of an application that returns one' }
  const loaded: Middleware[] = []
  // One after the other, so that the first failing module is reported.
  for (const specifier of specifiers) {
    loaded.push(checked((await loadFunction(specifier, wanted, directory)) as Middleware, specifier))
  }
  if (loaded.length === 0) return undefined
  return (application) => loaded.reduceRight((inner, middleware) => middleware(inner), application)
}

/** A function that a module exports, as a middleware whose result is checked. */
function checked(middleware: Middleware, specifier: string): Middleware {
  return (application) => {
    let given: unknown
    try {
      given = middleware(application)
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      throw new LoadError(
        'THREW',
        `the middleware of ${specifier} threw when it was called with its application: ${message}`,
        {
          cause: error,
        },
      )
    }
    if (typeof given === 'function') return given as Application
    const what = given === null ? 'null' : given instanceof Promise ? 'a promise' : typeof given
    throw new LoadError(
      'NOT_A_FUNCTION',
      `the middleware of ${specifier} returned ${what} for an application; expected a function of (environ, startResponse)`,
    )
  }
}
