/**
 * The shared secrets (tokens) of a link. While a token is being replaced there are several: this side proves the first
 * token, and accepts each of them.
 */

import { localError } from '../../contract/coded-errors.ts'

/** One token, several tokens, or a function that is called for each new link. */
export type Token = string | readonly string[] | (() => readonly string[])

/**
 * The tokens of a new link.
 *
 * @throws LocalProtocolError `EMPTY_TOKEN` if the list or a token is empty: an empty key proves nothing
 */
export function tokensOf(token: Token | undefined): readonly string[] | undefined {
  if (token === undefined) return undefined
  const tokens = typeof token === 'string' ? [token] : typeof token === 'function' ? token() : token
  if (tokens.length === 0 || tokens.includes('')) throw localError('EMPTY_TOKEN', 'the token is empty')
  return tokens
}
