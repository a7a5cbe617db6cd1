/** Puts the guards of one call into its environ, and takes those of a call that is over out of it. */

import type { Environ } from '../application.ts'
import type { Call } from './call.ts'
import { guardContext } from './context.ts'
import { guardInput } from './input.ts'
import type { Fail } from './rules.ts'
import { guardErrors, guardFileWrapper } from './streams.ts'

/**
 * Guards by what they guard. Middleware may call a second application with the environ that a first one has had (the next
 * route after a 404): the first one's guards would take the second's reads for its own, after its close().
 */
const guarded: WeakMap<object, { readonly real: object; readonly call: Call }> = new WeakMap()

function guard<T extends object>(given: T, call: Call, make: (real: T) => T): T {
  // What is no object was refused before; where that side is not checked, it stays what it is.
  if ((typeof given !== 'object' && typeof given !== 'function') || given === null) return given
  let real = given
  for (let known = guarded.get(real); known?.call.closed; known = guarded.get(real)) real = known.real as T
  const made = make(real)
  guarded.set(made, { real, call })
  return made
}

/** In place: the environ is the application's own from here on. */
export function guardEnviron(environ: Environ, call: Call, fail: Fail): void {
  const outer = guarded.get(environ.gantry)?.call
  if (outer && !outer.closed) call.around = outer
  const { CONTENT_LENGTH } = environ
  const length = typeof CONTENT_LENGTH === 'string' && /^\d{1,15}$/.test(CONTENT_LENGTH) ? Number(CONTENT_LENGTH) : -1
  environ['wsgi.input'] = guard(environ['wsgi.input'], call, (real) => guardInput(real, length, call, fail))
  environ['wsgi.errors'] = guard(environ['wsgi.errors'], call, (real) => guardErrors(real, fail))
  environ['wsgi.file_wrapper'] = guard(environ['wsgi.file_wrapper'], call, (real) => guardFileWrapper(real, fail))
  environ.gantry = guard(environ.gantry, call, (real) => guardContext(real, call, fail))
}
