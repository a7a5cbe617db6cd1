/**
 * Basic authentication (RFC 7617): who has no name and password that are known is answered 401, and the application finds the name of who
 * has in `REMOTE_USER`. Where users and hashes come from is htpasswd.ts's matter, how they are compared password-check.ts's.
 *
 * Hashing is slow by design. Clients share it by address (`REMOTE_ADDR`; an IPv6 /64 is one client), and the client
 * that has used it least goes first, so that clients that guess passwords do not delay the first login of another.
 * Behind another proxy, `--trusted-peers` must name that proxy.
 *
 * Credentials cross the network as good as in the clear: serve it over TLS.
 */

import { hash as digestOf, randomBytes } from 'node:crypto'
import type { Application, Body, Environ, Middleware, StartResponse } from '../../protocol/contract/application.ts'
import { HttpError } from '../../protocol/contract/errors.ts'
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

/** Exactly one of `htpasswd`, `users` and `verify` says who is known. */
export interface BasicAuthOptions {
  /**
   * A file as `htpasswd -B` writes it: bcrypt, or {SHA}, which is weak and only for files that there are. Looked at once a second at the most and
   * read again when it has changed; while it cannot be used, what it said before holds.
   */
  readonly htpasswd?: string | undefined
  /** Hashes, of the same kinds, by name. */
  readonly users?: Readonly<Record<string, string>> | undefined
  /** Decides by itself, for each request. It compares in constant time (`timingSafeEqual`), if that is due. What it throws is a 500. */
  readonly verify?: ((user: string, password: string, environ: Environ) => boolean | Promise<boolean>) | undefined
  /** What people are asked for a password of, printable ASCII. Default `Restricted`. */
  readonly realm?: string | undefined
  /**
   * Whether the application sees the Authorization field. Default false: it needs no password that was checked already, and cannot leak
   * one that it has not.
   */
  readonly passAuthorization?: boolean | undefined
  /** Where a file that cannot be used any more is told of. Default: `wsgi.errors` of the request that found it. */
  readonly log?: Pick<Logger, 'error'> | undefined
  /** Default: the system's. */
  readonly clock?: Clock | undefined
}

const OPTIONS: OptionForms<BasicAuthOptions> = {
  htpasswd: anyText,
  // Somebody may have put hashes, or worse, where none are expected.
  users: { ...record('hashes by name'), secret: true },
  verify: callable('a function of user, password and environ'),
  realm: textOf('printable ASCII (RFC 7617 §2)', /^[\x20-\x7e]*$/),
  passAuthorization: flag,
  log: logger('error'),
  clock: aClock,
}

interface Credentials {
  readonly user: string
  readonly password: string
}

/** Users whose passwords were right and need not be hashed at each request. The oldest are forgotten first. */
const REMEMBERED = 1_000
/** Base64 of more is no password: bcrypt looks at 72 bytes. */
const CREDENTIALS_MAX = 4_096
/** Header fields that some applications take for `REMOTE_USER`, which a client could set. */
const LOOK_ALIKES = ['Remote-User', 'X-Remote-User', 'X-Forwarded-User'] as const

/**
 * @throws TypeError for an option that is none, or options that contradict each other; HtpasswdError for a hash that is not taken, and a file that
 *   cannot be used, with the error of node:fs as its cause
 */
export function basicAuth(options: BasicAuthOptions = {}): Middleware {
  checkOptions('basicAuth', options, OPTIONS)
  const { realm = 'Restricted', passAuthorization = false } = options
  const challenge = `Basic realm="${realm.replace(/["\\]/g, '\\$&')}", charset="UTF-8"`
  const known = knownTo(options)

  const admit = (
    application: Application,
    environ: Environ,
    startResponse: StartResponse,
    user: string,
  ): Body | Promise<Body> => {
    environ['AUTH_TYPE'] = 'Basic'
    environ['REMOTE_USER'] = Buffer.from(user, 'utf8').toString('latin1')
    for (const name of LOOK_ALIKES) setHeader(environ, name, undefined)
    if (!passAuthorization) setHeader(environ, 'Authorization', undefined)
    return application(environ, startResponse)
  }
  // Thrown, so that the exchange, or `errorPage` outside of this, makes the page.
  const refusal = (message: string): HttpError =>
    new HttpError(401, 'UNAUTHORIZED', message, { headers: [['WWW-Authenticate', challenge]] })

  return (application) => (environ, startResponse) => {
    const credentials = credentialsOf(environ['HTTP_AUTHORIZATION'])
    if (!credentials) throw refusal('the request has no credentials of the Basic scheme')
    const answer = known(credentials, environ)
    if (answer === true) return admit(application, environ, startResponse, credentials.user)
    if (typeof (answer as Promise<boolean> | undefined)?.then !== 'function') {
      throw refusal('the name or the password is not known')
    }
    return (answer as Promise<boolean>).then((good) => {
      if (good !== true) throw refusal('the name or the password is not known')
      // Its client did not wait as long.
      const { signal } = environ.gantry
      if (signal.aborted) throw signal.reason
      return admit(application, environ, startResponse, credentials.user)
    })
  }
}

type Known = (credentials: Credentials, environ: Environ) => boolean | Promise<boolean>

function knownTo({ htpasswd, users, verify, log, clock = systemClock }: BasicAuthOptions): Known {
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
    return (credentials, environ) => check.known(credentials, map, workOwnerOf(environ))
  }
  const file = new HtpasswdFile(htpasswd!, clock)
  return (credentials, environ) => {
    const current = file.users((error) => {
      const message = 'the password file cannot be used; what it said before holds'
      // The message of the error names the file and the line, and no hash.
      const reason = error instanceof Error ? error.message : String(error)
      if (log) log.error({ requestId: environ.gantry.requestId, reason }, message)
      else environ['wsgi.errors'].write(`${message}: ${reason}\n`)
    })
    return current instanceof Promise
      ? current.then((late) => check.known(credentials, late, workOwnerOf(environ)))
      : check.known(credentials, current, workOwnerOf(environ))
  }
}

/** Compares with hashes, and remembers what was right under a keyed digest of all that made it so: a new hash is compared anew. */
class HashCheck {
  readonly #check: PasswordCheck = new PasswordCheck()
  readonly #key: string = randomBytes(32).toString('base64')
  readonly #right: Set<string> = new Set()

  known({ user, password }: Credentials, users: Users, owner: WorkOwner): boolean | Promise<boolean> {
    const hash = users.get(user)
    if (hash === undefined) return this.#asIfKnown(user, password, users, owner)
    const digest = this.#digest(`${hash}\0${user}\0${password}`)
    if (this.#right.has(digest)) return true
    const matches = this.#check.matches(password, hash, owner)
    if (matches instanceof Promise) return matches.then((right) => this.#remembered(right, digest))
    return this.#remembered(matches, digest)
  }

  /**
   * Whoever is not known costs what one who is costs: the hash of one of them, always the same for a name, is compared, whatever it says.
   * Else the time of an answer would tell which names there are.
   */
  #asIfKnown(user: string, password: string, users: Users, owner: WorkOwner): boolean | Promise<boolean> {
    if (users.size === 0) return false
    const at = Buffer.from(this.#digest(user), 'base64').readUInt32BE() % users.size
    const matches = this.#check.matches(password, [...users.values()][at]!, owner)
    return matches instanceof Promise ? matches.then(() => false) : false
  }

  /** In one call: an HMAC object costs more than all else here, and nobody outside sees a digest that he could lengthen. */
  #digest(text: string): string {
    return digestOf('sha256', `${this.#key}${text}`, 'base64')
  }

  #remembered(right: boolean, digest: string): boolean {
    if (!right) return false
    if (this.#right.size >= REMEMBERED) this.#right.delete(this.#right.values().next().value!)
    this.#right.add(digest)
    return true
  }
}

/** RFC 7617 §2; undefined for anything else. Two fields were joined with a comma, and are none. */
function credentialsOf(field: unknown): Credentials | undefined {
  if (typeof field !== 'string' || field.length > CREDENTIALS_MAX) return undefined
  const encoded = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(field)?.[1]
  if (encoded === undefined) return undefined
  const text = Buffer.from(encoded, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  // Control characters are in neither.
  if (colon === -1 || /[\0-\x1f\x7f]/.test(text)) return undefined
  return { user: text.slice(0, colon), password: text.slice(colon + 1) }
}
