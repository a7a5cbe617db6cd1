/**
 * The shared secrets of a link. There are several while a secret is being replaced: this side proves the first one, and
 * accepts each.
 */

import { localError } from '../../contract/coded-errors.ts'

/** One secret, several, or a function that is called for each new link. */
export type Token = string | readonly string[] | (() => readonly string[])

/**
 * The secrets of a new link.
 *
 * @throws LocalProtocolError if the list or a secret is empty: an empty key proves nothing
 */
export function tokensOf(token: Token | undefined): readonly string[] | undefined {
  if (token === undefined) return undefined
  const tokens = typeof token === 'string' ? [token] : typeof token === 'function' ? token() : token
  if (tokens.length === 0 || tokens.includes('')) throw localError('EMPTY_TOKEN', 'the token is empty')
  return tokens
}
