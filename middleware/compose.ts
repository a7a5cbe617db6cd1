/**
 * Combines middleware and an application into one application. Each middleware is called once, not for each request.
 */

import type { Application, Middleware } from '../protocol/contract/application.ts'

/**
 * Combines middleware: `compose(a, b, application)` is `a(b(application))`, so that the first middleware is outermost
 * and gets each request first.
 *
 * @param layers middleware from the outside in, and the application as the last argument
 * @throws TypeError if an argument is not a function, or a middleware does not return an application; the message names
 *   the position, starting at 1
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { accessLog, compose, timeout } from 'gantry/middleware'
 *
 * const hello: Application = (_environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from('Hello\n')]
 * }
 * export const application: Application = compose(accessLog(), timeout({ firstByte: 5_000 }), hello)
 * ```
 */
export function compose(
  ...layers: readonly [...middleware: readonly Middleware[], application: Application]
): Application {
  const functions: readonly unknown[] = layers
  if (functions.length === 0)
    throw new TypeError('compose() needs an application as its last argument, and got nothing')
  for (const [at, layer] of functions.entries()) {
    if (typeof layer === 'function') continue
    const expected = at === functions.length - 1 ? 'an application' : 'a middleware'
    throw new TypeError(
      `argument ${at + 1} of compose() is ${kindOf(layer)}; expected ${expected}, which is a function`,
    )
  }
  let application = layers.at(-1) as Application
  for (let at = layers.length - 2; at >= 0; at--) {
    const given: unknown = (layers[at] as Middleware)(application)
    if (typeof given !== 'function') {
      // The usual mistake: the factory itself was passed instead of its middleware, or the middleware was called
      // already.
      throw new TypeError(
        `argument ${at + 1} of compose() is not a middleware: called with an application it returned ${kindOf(given)}, expected an application; write for example accessLog(options), and not accessLog or accessLog(options)(application)`,
      )
    }
    application = given as Application
  }
  return application
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (value instanceof Promise) return 'a promise (await it first)'
  return Array.isArray(value) ? 'an array (spread it: ...layers)' : `a value of type ${typeof value}`
}
