/**
 * The shared secret as the options give it, and the file that is read again when it has changed: a secret is rotated
 * without a restart. No secret is ever in a message.
 */

import { readFileSync, statSync } from 'node:fs'
import { fileVersion } from './file-version.ts'
import type { Token } from './frames/tokens.ts'
import type { Logger } from './log.ts'
import { OptionError } from './options.ts'

/**
 * Two while a secret is changed. Each costs an HMAC for each connection that proves nothing, and a longer file is a
 * mistake.
 */
const TOKENS_MAX = 8

export interface TokenOptions {
  readonly token?: string | undefined
  readonly tokenFile?: string | undefined
}

/**
 * The shared secrets, from the environment or from their file; undefined if neither is given.
 *
 * @throws OptionError if the file cannot be read, or has no token or too many
 */
export function readToken(options: TokenOptions, log: Pick<Logger, 'info' | 'error'>): Token | undefined {
  if (options.token !== undefined) return tokensIn(options.token, 'GANTRY_TOKEN', 'the environment')
  if (options.tokenFile === undefined) return undefined
  const file = new TokenFile(options.tokenFile, log)
  return () => file.tokens()
}

class TokenFile {
  readonly #path: string
  readonly #log: Pick<Logger, 'info' | 'error'>
  #tokens: readonly string[]
  #version: string

  constructor(path: string, log: Pick<Logger, 'info' | 'error'>) {
    this.#path = path
    this.#log = log
    ;[this.#version, this.#tokens] = read(path)
  }

  /**
   * As the file says now. While it cannot be used, what it said before holds, and the log says so once for each version
   * of the file.
   */
  tokens(): readonly string[] {
    const version = versionOf(this.#path)
    if (version === this.#version) return this.#tokens
    this.#version = version
    try {
      ;[this.#version, this.#tokens] = read(this.#path)
      this.#log.info({ file: this.#path, tokens: this.#tokens.length }, 'the token file has changed and was read again')
    } catch (error) {
      const reason = (error as Error).message
      this.#log.error({ reason }, 'the token file cannot be used; the tokens that it held before remain valid')
    }
    return this.#tokens
  }
}

/** Looked at before it is read: what changes between is found the next time. */
function read(path: string): [version: string, tokens: readonly string[]] {
  const version = versionOf(path)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new OptionError('BAD_FILE', '--token-file', `--token-file: ${path} cannot be read (${code})`)
  }
  return [version, tokensIn(text, '--token-file', path)]
}

/** '' if it cannot be looked at. */
function versionOf(path: string): string {
  try {
    return fileVersion(statSync(path))
  } catch {
    return ''
  }
}

/** One a line; white space around them and empty lines are dropped. */
function tokensIn(text: string, option: string, where: string): readonly string[] {
  const tokens = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
  if (tokens.length === 0) throw new OptionError('BAD_FILE', option, `${option}: ${where} is empty`)
  if (tokens.length > TOKENS_MAX) {
    throw new OptionError(
      'BAD_FILE',
      option,
      `${option}: ${where} has ${tokens.length} lines, expected a token a line, at most ${TOKENS_MAX}`,
    )
  }
  return tokens
}
