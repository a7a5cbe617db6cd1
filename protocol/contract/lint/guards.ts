/** Installs the guards of a call in its environ, and removes the guards of an earlier call that has ended. */

import type { Environ } from '../application.ts'
import { guardContext } from './context.ts'
import { guardInput } from './input.ts'
import type { LintedCall } from './linted-call.ts'
import type { Fail } from './rules.ts'
import { guardErrors, guardFileWrapper } from './streams.ts'

/**
 * The real object and the call of each guard. Middleware may call a second application with the environ of a first
 * application (the next route after a 404). The guards of the first application would see the reads of the second one
 * as reads after its own close().
 */
const guarded: WeakMap<object, { readonly real: object; readonly call: LintedCall }> = new WeakMap()

function guard<T extends object>(given: T, call: LintedCall, make: (real: T) => T): T {
  // A value that is not an object was reported before. If that side is not checked, the value is not changed.
  if ((typeof given !== 'object' && typeof given !== 'function') || given === null) return given
  let real = given
  for (let known = guarded.get(real); known?.call.closed; known = guarded.get(real)) real = known.real as T
  const made = make(real)
  guarded.set(made, { real, call })
  return made
}

/** Changes the environ in place, since it belongs to the application from now on. */
export function guardEnviron(environ: Environ, call: LintedCall, fail: Fail): void {
  const outer = guarded.get(environ.gantry)?.call
  if (outer && !outer.closed) call.around = outer
  const { CONTENT_LENGTH } = environ
  const length = typeof CONTENT_LENGTH === 'string' && /^\d{1,15}$/.test(CONTENT_LENGTH) ? Number(CONTENT_LENGTH) : -1
  environ['wsgi.input'] = guard(environ['wsgi.input'], call, (real) => guardInput(real, length, call, fail))
  environ['wsgi.errors'] = guard(environ['wsgi.errors'], call, (real) => guardErrors(real, fail))
  environ['wsgi.file_wrapper'] = guard(environ['wsgi.file_wrapper'], call, (real) => guardFileWrapper(real, fail))
  environ.gantry = guard(environ.gantry, call, (real) => guardContext(real, call, fail))
}
