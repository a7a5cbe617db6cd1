/**
 * The shared secrets of a link. Several hold while a secret is being changed: the first is proved, and each is
 * accepted.
 */

import { LocalProtocolError } from '../errors.ts'

/** One secret, several, or a function that is called for each link that is made. */
export type Token = string | readonly string[] | (() => readonly string[])

/**
 * The secrets of a link that is made now.
 *
 * @throws LocalProtocolError if there is none or one is empty: an empty key proves nothing
 */
export function tokensOf(token: Token | undefined): readonly string[] | undefined {
  if (token === undefined) return undefined
  const tokens = typeof token === 'string' ? [token] : typeof token === 'function' ? token() : token
  if (tokens.length === 0 || tokens.includes('')) throw new LocalProtocolError('EMPTY_TOKEN', 'the token is empty')
  return tokens
}
