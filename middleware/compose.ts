/**
 * Folds middleware around an application. It calls each middleware once, and has no part in requests.
 */

import type { Application, Middleware } from '../protocol/contract/application.ts'

/**
 * `compose(a, b, application)` is `a(b(application))`: the first is outermost and sees a request first, the last is the application.
 *
 * @throws TypeError for an argument that is no function, and for a middleware that gives none; it names the position, from 1
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
      // The commonest slip: the factory was called where its middleware was meant, or the other way round.
      throw new TypeError(
        `argument ${at + 1} of compose() is no middleware: called with an application it gave ${kindOf(given)} and not an application; write accessLog(options), say, and not accessLog or accessLog(options)(application)`,
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
