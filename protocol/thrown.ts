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
