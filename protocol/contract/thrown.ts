/**
 * A thrown value as text. JavaScript can throw any value: `null`, a frozen object, an object without a prototype, an
 * object whose getters throw.
 */

import { inspect } from 'node:util'

/** The stack of an error, or any other value as text. Never throws. */
export function textOfThrown(thrown: unknown): string {
  try {
    if (thrown instanceof Error) return String(thrown.stack ?? thrown)
    return typeof thrown === 'string' ? thrown : inspect(thrown)
  } catch {
    return 'an error that cannot be read'
  }
}

/**
 * The message of an error. When Node cannot connect to any address of a name, its error has no message: the result is
 * then the messages of the errors for each address.
 */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return textOfThrown(error)
  if (error.message !== '') return error.message
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(messageOf).join('; ')
  return 'code' in error ? String(error.code) : error.name
}
