/** What an application has thrown, as text. It may be anything: `null`, a frozen object, one without a prototype, one whose getters throw. */

import { inspect } from 'node:util'

/** The stack of an error, and of anything else what it is. Never throws. */
export function textOfThrown(thrown: unknown): string {
  try {
    if (thrown instanceof Error) return String(thrown.stack ?? thrown)
    return typeof thrown === 'string' ? thrown : inspect(thrown)
  } catch {
    return 'an error that cannot be read'
  }
}

/**
 * The message of an error. Node's error of a connection to a name with several addresses has no message: then the
 * messages of its parts.
 */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return textOfThrown(error)
  if (error.message !== '') return error.message
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(messageOf).join('; ')
  return 'code' in error ? String(error.code) : error.name
}
