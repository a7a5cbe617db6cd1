/**
 * Reads the shared secret from the options or from its file. The file is read again when it has changed, so that a
 * secret is rotated without a restart. No message contains a secret.
 */

import { isUtf8 } from 'node:buffer'
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { fileVersion } from '../files/file-version.ts'
import type { Token } from '../frames/codec/tokens.ts'
import type { Logger } from '../log/logger.ts'
import { OptionError } from './option-table.ts'

/**
 * Most tokens at once; two are enough while a secret is changed. Each token costs an HMAC for each connection that
 * proves none of them, and a longer file is a mistake.
 */
const TOKENS_MAX = 8
/** A device such as /dev/zero has no end, and a longer file is a mistake. */
const FILE_BYTES_MAX = 64 * 1024
/** Ends messages about a file without a token. */
const MAKE_ONE = 'make a token with openssl rand -hex 32'

interface TokenOptions {
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
   * The tokens in the file now. If the file cannot be used, the previous tokens remain valid, and this is logged once
   * for each version of the file.
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

/** Reads the version before the contents: a change in between is found next time. */
function read(path: string): [version: string, tokens: readonly string[]] {
  const version = versionOf(path)
  let bytes: Buffer
  try {
    bytes = firstBytes(path, FILE_BYTES_MAX + 1)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw unusable('--token-file', path, code === 'ENOENT' ? `does not exist; ${MAKE_ONE}` : `cannot be read (${code})`)
  }
  if (bytes.length > FILE_BYTES_MAX) {
    throw unusable('--token-file', path, `has more than ${FILE_BYTES_MAX} bytes, expected a token a line`)
  }
  // Decoded, every invalid byte would be U+FFFD, so that secrets of random bytes would equal each other.
  if (!isUtf8(bytes)) throw unusable('--token-file', path, `is not UTF-8 text; ${MAKE_ONE}`)
  return [version, tokensIn(bytes.toString('utf8'), '--token-file', path)]
}

function firstBytes(path: string, most: number): Buffer {
  const bytes = Buffer.alloc(most)
  const file = openSync(path, 'r')
  try {
    let length = 0
    for (let read = -1; read !== 0 && length < most; length += read)
      read = readSync(file, bytes, length, most - length, null)
    return bytes.subarray(0, length)
  } finally {
    closeSync(file)
  }
}

/** The version of a file; '' if it cannot be read. */
function versionOf(path: string): string {
  try {
    return fileVersion(statSync(path))
  } catch {
    return ''
  }
}

/** The tokens of a text, one in each line. Surrounding white space and empty lines are dropped. */
function tokensIn(text: string, option: string, where: string): readonly string[] {
  const tokens = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
  if (tokens.length === 0) throw unusable(option, where, `is empty; ${MAKE_ONE}`)
  if (tokens.length > TOKENS_MAX) {
    throw unusable(option, where, `has ${tokens.length} lines, expected a token a line, at most ${TOKENS_MAX}`)
  }
  const wrong = tokens.map((token) => whyNoToken(token, tokens.length)).find((why) => why !== undefined)
  if (wrong !== undefined) throw unusable(option, where, wrong)
  return tokens
}

/** Why a line is not a valid token. Each token alone opens a link, so a line that others can guess must not be one. */
function whyNoToken(line: string, lines: number): string | undefined {
  // Everybody knows these lines of a key file.
  if (/^-----(?:BEGIN|END)\b/.test(line)) return 'holds a PEM file, expected a token a line'
  if (lines > 1 && line.startsWith('#'))
    return 'holds a comment, which would be a token: remove the lines that begin with #'
  return hasControls(line) ? `holds control characters; ${MAKE_ONE}` : undefined
}

function hasControls(line: string): boolean {
  return /\p{Cc}/u.test(line.replaceAll('\t', ''))
}

/** @param why must contain no word of the file, which may be the secret */
function unusable(option: string, where: string, why: string): OptionError {
  return new OptionError('BAD_FILE', option, `${option}: ${where} ${why}`)
}
