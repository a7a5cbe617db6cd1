/**
 * Basic authentication (RFC 7617): answers 401 to requests without valid credentials, and sets `REMOTE_USER` for the
 * others. `htpasswd.ts` reads users and hashes, `password-check.ts` compares passwords.
 */

import { hash as digestOf, randomBytes } from 'node:crypto'
import type { Application, Body, Environ, Middleware, StartResponse } from '../../protocol/contract/application.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import type { HttpError } from '../../protocol/contract/errors.ts'
import { setHeader } from '../../protocol/contract/request-headers.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import {
  aClock,
  anyText,
  callable,
  checkOptions,
  flag,
  logger,
  type OptionForms,
  record,
  textOf,
} from '../../protocol/options/check-options.ts'
import { type WorkOwner, workOwnerOf } from '../shared/work-owner.ts'
import { faultOf, HtpasswdError, HtpasswdFile, type Users } from './htpasswd.ts'
import { PasswordCheck } from './password-check.ts'

/** Exactly one of `htpasswd`, `users` and `verify` is required. */
export interface BasicAuthOptions {
  /**
   * Path of a file as `htpasswd -B` writes it: with bcrypt hashes, or with {SHA} hashes, which are weak and accepted
   * for existing files. The file is checked at most once a second and read again after a change; while it is invalid,
   * its previous content stays in effect.
   */
  readonly htpasswd?: string | undefined
  /** Hashes of the same kinds by user name. */
  readonly users?: Readonly<Record<string, string>> | undefined
  /**
   * Returns whether the credentials are valid; called for each request. It should compare secrets in constant time
   * (`timingSafeEqual`). If it throws, the answer is 500.
   */
  readonly verify?: ((user: string, password: string, environ: Environ) => boolean | Promise<boolean>) | undefined
  /** The name that the browser's password dialog shows, printable ASCII. Default `Restricted`. */
  readonly realm?: string | undefined
  /**
   * Whether the application gets the Authorization field. Default false: the application does not need a password that
   * was checked already, and cannot leak it.
   */
  readonly passAuthorization?: boolean | undefined
  /** The log for an htpasswd file that has become invalid. Default: `wsgi.errors` of the request that found it. */
  readonly log?: Pick<Logger, 'error'> | undefined
  /** The clock, for tests. Default: the system clock. */
  readonly clock?: Clock | undefined
}

const OPTIONS: OptionForms<BasicAuthOptions> = {
  htpasswd: anyText,
  // The value may contain hashes, or worse: it is not shown in messages.
  users: { ...record('hashes by name'), secret: true },
  verify: callable('a function of user, password and environ'),
  realm: textOf('printable ASCII (RFC 7617, section 2)', /^[\x20-\x7e]*$/),
  passAuthorization: flag,
  log: logger('error'),
  clock: aClock,
}

interface Credentials {
  readonly user: string
  readonly password: string
}

/**
 * Number of correct passwords that are remembered, so that they are not hashed for each request. The oldest is
 * forgotten first.
 */
const REMEMBERED = 1_000
/** Longer credentials are refused, characters of base64: bcrypt reads 72 bytes of a password. */
const CREDENTIALS_MAX = 4_096
/** Header fields that some applications read instead of `REMOTE_USER`: a client could set them. */
const USER_FIELDS = ['Remote-User', 'X-Remote-User', 'X-Forwarded-User'] as const

/**
 * Requires a user name and a password (RFC 7617), and sets `REMOTE_USER` and `AUTH_TYPE`.
 *
 * Password hashes are slow by design. Clients share the hashing queue by address (`REMOTE_ADDR`; an IPv6 /64 is one
 * client), and the client that has used it least goes first, so that clients that guess passwords do not delay the
 * first login of another client. Behind another proxy, `--trusted-peers` must name that proxy. Credentials are not
 * encrypted by this scheme: serve over TLS.
 *
 * @throws TypeError if an option is unknown or invalid, or not exactly one source of users is given
 * @throws HtpasswdError if a hash is not accepted, or the file cannot be used; its cause is then the error of node:fs
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { basicAuth } from 'gantry/middleware'
 *
 * const page: Application = (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from(`Hello ${environ.REMOTE_USER}\n`)]
 * }
 * // htpasswd -nbB -C 5 ada secret
 * const users = { ada: '$2y$05$ITHnHS6WoEwR2LUX/buNL.h75bJaOuE7VacZ/9snLNieArUvJcVKK' }
 * export const application: Application = basicAuth({ realm: 'Reports', users })(page)
 * ```
 */
export function basicAuth(options: BasicAuthOptions = {}): Middleware {
  checkOptions('basicAuth', options, OPTIONS)
  const { realm = 'Restricted', passAuthorization = false } = options
  const challenge = `Basic realm="${realm.replace(/["\\]/g, '\\$&')}", charset="UTF-8"`
  const verifier = verifierOf(options)

  const admit = (
    application: Application,
    environ: Environ,
    startResponse: StartResponse,
    user: string,
  ): Body | Promise<Body> => {
    environ['AUTH_TYPE'] = 'Basic'
    environ['REMOTE_USER'] = Buffer.from(user, 'utf8').toString('latin1')
    for (const name of USER_FIELDS) setHeader(environ, name, undefined)
    if (!passAuthorization) setHeader(environ, 'Authorization', undefined)
    return application(environ, startResponse)
  }
  // Thrown, so that the exchange or an `errorPage` outside generates the page.
  const refusal = (message: string): HttpError =>
    httpError('UNAUTHORIZED', message, { headers: [['WWW-Authenticate', challenge]] })

  return (application) => (environ, startResponse) => {
    const credentials = credentialsOf(environ['HTTP_AUTHORIZATION'])
    if (!credentials) throw refusal('the request has no credentials of the Basic scheme')
    const answer = verifier(credentials, environ)
    if (answer === true) return admit(application, environ, startResponse, credentials.user)
    if (typeof (answer as Promise<boolean> | undefined)?.then !== 'function') {
      throw refusal('the name or the password is not known')
    }
    return (answer as Promise<boolean>).then((good) => {
      if (good !== true) throw refusal('the name or the password is not known')
      // The client may have disconnected during the comparison.
      const { signal } = environ.gantry
      if (signal.aborted) throw signal.reason
      return admit(application, environ, startResponse, credentials.user)
    })
  }
}

type Known = (credentials: Credentials, environ: Environ) => boolean | Promise<boolean>

function verifierOf({ htpasswd, users, verify, log, clock = systemClock }: BasicAuthOptions): Known {
  const given = Object.entries({ htpasswd, users, verify }).filter(([, value]) => value !== undefined)
  if (given.length !== 1) {
    const names = given.map(([name]) => name).join(' and ') || 'none'
    throw new TypeError(`basicAuth: expected exactly one of htpasswd, users and verify, got ${names}`)
  }
  if (verify) return ({ user, password }, environ) => verify(user, password, environ)
  const check = new HashCheck()
  if (users) {
    const map: Users = new Map(Object.entries(users))
    for (const [name, hash] of map) {
      const fault = faultOf(hash)
      if (fault !== undefined) throw new HtpasswdError(`basicAuth: the user ${JSON.stringify(name)}: ${fault}`)
    }
    return (credentials, environ) => check.verify(credentials, map, workOwnerOf(environ))
  }
  const file = new HtpasswdFile(htpasswd!, clock)
  return (credentials, environ) => {
    const current = file.users((error) => {
      const message = 'the password file cannot be used; its previous content stays in effect'
      // The error's message names the file and the line, and contains no hash.
      const reason = error instanceof Error ? error.message : String(error)
      if (log) log.error({ requestId: environ.gantry.requestId, reason }, message)
      else environ['wsgi.errors'].write(`${message}: ${reason}\n`)
    })
    return current instanceof Promise
      ? current.then((late) => check.verify(credentials, late, workOwnerOf(environ)))
      : check.verify(credentials, current, workOwnerOf(environ))
  }
}

/**
 * Compares passwords with hashes. Remembers correct ones by a keyed digest of hash, user and password: after a change
 * of the hash the password is compared again.
 */
class HashCheck {
  readonly #check: PasswordCheck = new PasswordCheck()
  readonly #key: string = randomBytes(32).toString('base64')
  readonly #correct: Set<string> = new Set()

  verify({ user, password }: Credentials, users: Users, owner: WorkOwner): boolean | Promise<boolean> {
    const hash = users.get(user)
    if (hash === undefined) return this.#compareForUnknownUser(user, password, users, owner)
    const digest = this.#digest(`${hash}\0${user}\0${password}`)
    if (this.#correct.has(digest)) return true
    const matches = this.#check.matches(password, hash, owner)
    if (matches instanceof Promise) return matches.then((right) => this.#remembered(right, digest))
    return this.#remembered(matches, digest)
  }

  /**
   * For an unknown user, compares with the hash of a known user (always the same one for a name), and ignores the
   * result: otherwise the response time would reveal which names exist.
   */
  #compareForUnknownUser(user: string, password: string, users: Users, owner: WorkOwner): boolean | Promise<boolean> {
    if (users.size === 0) return false
    const at = Buffer.from(this.#digest(user), 'base64').readUInt32BE() % users.size
    const matches = this.#check.matches(password, [...users.values()][at]!, owner)
    return matches instanceof Promise ? matches.then(() => false) : false
  }

  /**
   * One call of the hash function: an HMAC object would cost more than all other steps, and nobody outside sees a
   * digest that could be extended.
   */
  #digest(text: string): string {
    return digestOf('sha256', `${this.#key}${text}`, 'base64')
  }

  #remembered(right: boolean, digest: string): boolean {
    if (!right) return false
    if (this.#correct.size >= REMEMBERED) this.#correct.delete(this.#correct.values().next().value!)
    this.#correct.add(digest)
    return true
  }
}

/**
 * The credentials (RFC 7617 §2); undefined if the field is missing or malformed. Several fields are joined with a
 * comma, which is malformed.
 */
function credentialsOf(field: unknown): Credentials | undefined {
  if (typeof field !== 'string' || field.length > CREDENTIALS_MAX) return undefined
  const encoded = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(field)?.[1]
  if (encoded === undefined) return undefined
  const text = Buffer.from(encoded, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  // Neither part may contain control characters.
  if (colon === -1 || /[\0-\x1f\x7f]/.test(text)) return undefined
  return { user: text.slice(0, colon), password: text.slice(colon + 1) }
}
