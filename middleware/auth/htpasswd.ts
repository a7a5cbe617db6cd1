/**
 * Reads users and password hashes in the format of Apache's htpasswd, `name:hash` per line, and decides which hashes
 * are accepted. No message contains a hash.
 */

import { readFileSync, statSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { fileVersion } from '../../protocol/files/file-version.ts'
import type { Clock } from '../../protocol/net/clock.ts'

/** Hashes by user name. A Map: a user named `__proto__` is a name like any other. */
export type Users = ReadonlyMap<string, string>

/** A file or an object of users cannot be used: its message names the file and line, or the user, and the reason. */
export class HtpasswdError extends Error {
  override readonly name: string = 'HtpasswdError'
  readonly code: string = 'BAD_HTPASSWD'
}

/**
 * Highest bcrypt cost. The cost is an exponent: at 15 one comparison takes about 3 s, and with a typing error such as
 * 31 it would take days.
 */
const COST_MAX = 15

const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/
/** SHA-1 has 20 bytes. */
const SHA = /^\{SHA\}[A-Za-z0-9+/]{27}=$/

/** Why a hash is not accepted; undefined if it is. */
export function faultOf(hash: string): string | undefined {
  const bcrypt = BCRYPT.exec(hash)
  if (bcrypt) {
    const cost = Number(bcrypt[1])
    return cost >= 4 && cost <= COST_MAX ? undefined : `its bcrypt cost is ${cost}, expected 4 to ${COST_MAX}`
  }
  if (SHA.test(hash)) return undefined
  return `it has ${kindOf(hash)}, expected bcrypt ($2y$, $2b$, $2a$) or {SHA}: create it again with htpasswd -B`
}

function kindOf(hash: string): string {
  if (hash === '') return 'no hash'
  if (/^\$2[abxy]?\$/.test(hash)) return 'a bcrypt hash of another form'
  if (hash.startsWith('{SHA}')) return 'a {SHA} hash that is not 20 bytes of base64'
  if (hash.startsWith('$apr1$')) return "Apache's MD5 hash"
  if (hash.startsWith('$')) return 'a crypt hash of another kind'
  return 'a crypt hash or a plain password'
}

/**
 * Parses lines of `name:hash`. Empty lines, comments (`#`) and everything after a second colon are ignored. If a name
 * appears twice, the first line counts, as in Apache.
 *
 * @param source name of the text in messages
 * @throws HtpasswdError if a line is invalid; its message names the line
 */
export function parseHtpasswd(text: string, source: string): Users {
  const users = new Map<string, string>()
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const [name = '', hash] = line.split(':')
    const fault = hash === undefined || name === '' ? 'expected name:hash' : faultOf(hash.trim())
    if (fault !== undefined) throw new HtpasswdError(`${source}, line ${at + 1}: ${fault}`)
    if (!users.has(name)) users.set(name, hash!.trim())
  }
  return users
}

/**
 * How often a file is checked for changes, ms: changes take effect after this time, and the requests of a second cost
 * one `stat`.
 */
const CHECK_INTERVAL = 1_000

/**
 * The users of a file, which is read again after a change. A file that becomes invalid is reported once, and its last
 * valid content stays in effect.
 */
export class HtpasswdFile {
  readonly #path: string
  readonly #clock: Clock
  #users: Users
  #version: string
  #checkedAt: number
  #checking: Promise<Users> | undefined

  /** @throws HtpasswdError if the file cannot be used; its cause is the error of node:fs if the file cannot be read */
  constructor(path: string, clock: Clock) {
    this.#path = path
    this.#clock = clock
    // The version is read before the content: a change in between is found at the next check.
    try {
      this.#version = fileVersion(statSync(path))
      this.#users = parseHtpasswd(readFileSync(path, 'utf8'), path)
    } catch (error) {
      throw error instanceof HtpasswdError ? error : unreadable(path, error as NodeJS.ErrnoException)
    }
    this.#checkedAt = clock.now()
  }

  /**
   * Returns the users; at once if the file was checked within the last second.
   *
   * @param failed called if this check finds that the file has become invalid
   */
  users(failed: (error: unknown) => void): Users | Promise<Users> {
    if (this.#checking) return this.#checking
    if (this.#clock.now() - this.#checkedAt < CHECK_INTERVAL) return this.#users
    this.#checking = this.#check(failed).finally(() => {
      this.#checkedAt = this.#clock.now()
      this.#checking = undefined
    })
    return this.#checking
  }

  async #check(failed: (error: unknown) => void): Promise<Users> {
    let version = ''
    try {
      version = fileVersion(await stat(this.#path))
      if (version !== this.#version) this.#users = parseHtpasswd(await readFile(this.#path, 'utf8'), this.#path)
    } catch (error) {
      // Once per version; '' is the version of a missing file.
      if (version !== this.#version) failed(error)
    }
    this.#version = version
    return this.#users
  }
}

function unreadable(path: string, cause: NodeJS.ErrnoException): HtpasswdError {
  const file = resolve(path)
  const why =
    cause.code === 'ENOENT' || cause.code === 'ENOTDIR'
      ? `does not exist: correct the path, or create the file (htpasswd -B -c ${file} NAME)`
      : cause.code === 'EACCES' || cause.code === 'EPERM'
        ? `cannot be read by the user of this process (uid ${process.getuid?.() ?? 'unknown'}): give that user permission to read it and to enter its folders`
        : cause.code === 'EISDIR'
          ? 'is a folder: give the path of a file in it'
          : `cannot be read: ${cause.message}`
  return new HtpasswdError(`basicAuth: the htpasswd file ${file} ${why}`, { cause })
}
