/**
 * Users and their password hashes, as Apache's htpasswd writes them: `name:hash` a line. Which hashes are good enough is said here; what
 * they are compared with is not known. No hash is ever in a message.
 */

import { readFileSync, statSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { OtherCode } from '../../protocol/contract/error-codes.ts'
import { fileVersion } from '../../protocol/files/file-version.ts'
import type { Clock } from '../../protocol/net/clock.ts'

/** By name. Never empty of prototype tricks: a Map. */
export type Users = ReadonlyMap<string, string>

/** A file or map of users that cannot be used. */
export class HtpasswdError extends Error {
  override readonly name: string = 'HtpasswdError'
  readonly code: OtherCode = 'BAD_HTPASSWD'
}

/** bcrypt's cost is an exponent: at 15 one comparison takes some 3 s here, and a typing error of 31 would take days. */
const COST_MAX = 15

const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/
/** 20 bytes. */
const SHA = /^\{SHA\}[A-Za-z0-9+/]{27}=$/

/** Why a hash is not taken; undefined when it is. */
export function faultOf(hash: string): string | undefined {
  const bcrypt = BCRYPT.exec(hash)
  if (bcrypt) {
    const cost = Number(bcrypt[1])
    return cost >= 4 && cost <= COST_MAX ? undefined : `its bcrypt cost is ${cost}, and 4 to ${COST_MAX} are taken`
  }
  if (SHA.test(hash)) return undefined
  return `it has ${kindOf(hash)}, and bcrypt ($2y$, $2b$, $2a$) and {SHA} are taken: make it anew with htpasswd -B`
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
 * Lines of `name:hash`; empty ones and those that begin with `#` are left out, and so is what follows another colon. Of a name that is
 * there twice the first counts, as in Apache.
 *
 * @param source what the text is called in messages
 * @throws HtpasswdError that names the line
 */
export function parseHtpasswd(text: string, source: string): Users {
  const users = new Map<string, string>()
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const [name = '', hash] = line.split(':')
    const fault = hash === undefined || name === '' ? 'it is not name:hash' : faultOf(hash.trim())
    if (fault !== undefined) throw new HtpasswdError(`${source}, line ${at + 1}: ${fault}`)
    if (!users.has(name)) users.set(name, hash!.trim())
  }
  return users
}

/** How often a file is looked at, ms: people who change it wait as long, and a second's requests cost one `stat`. */
const LOOK_INTERVAL = 1_000

/** The users of a file, read again when it has changed. One that has become bad is told of once, and its last good state stays. */
export class HtpasswdFile {
  readonly #path: string
  readonly #clock: Clock
  #users: Users
  #version: string
  #looked: number
  #looking: Promise<Users> | undefined

  /** @throws HtpasswdError when it cannot be used now, its cause the error of node:fs if it cannot be read */
  constructor(path: string, clock: Clock) {
    this.#path = path
    this.#clock = clock
    // Looked at before it is read: what changes between is found the next time.
    try {
      this.#version = fileVersion(statSync(path))
      this.#users = parseHtpasswd(readFileSync(path, 'utf8'), path)
    } catch (error) {
      throw error instanceof HtpasswdError ? error : unreadable(path, error as NodeJS.ErrnoException)
    }
    this.#looked = clock.now()
  }

  /**
   * At once when it was looked at lately.
   *
   * @param failed told when this look finds that it cannot be used any more
   */
  users(failed: (error: unknown) => void): Users | Promise<Users> {
    if (this.#looking) return this.#looking
    if (this.#clock.now() - this.#looked < LOOK_INTERVAL) return this.#users
    this.#looking = this.#look(failed).finally(() => {
      this.#looked = this.#clock.now()
      this.#looking = undefined
    })
    return this.#looking
  }

  async #look(failed: (error: unknown) => void): Promise<Users> {
    let version = ''
    try {
      version = fileVersion(await stat(this.#path))
      if (version !== this.#version) this.#users = parseHtpasswd(await readFile(this.#path, 'utf8'), this.#path)
    } catch (error) {
      // Once a version: '' is that of a file that is not there.
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
      ? `is not there: correct the path, or make it (htpasswd -B -c ${file} NAME)`
      : cause.code === 'EACCES' || cause.code === 'EPERM'
        ? `may not be read by the user of this process (uid ${process.getuid?.() ?? 'unknown'}): let that user read it, and its folders be passed`
        : cause.code === 'EISDIR'
          ? 'is a folder: give the path of a file in it'
          : `cannot be read: ${cause.message}`
  return new HtpasswdError(`basicAuth: the htpasswd file ${file} ${why}`, { cause })
}
