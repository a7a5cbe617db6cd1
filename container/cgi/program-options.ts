/** The options of `cgi()`, and their checks. */

import { basename } from 'node:path'
import { inspect } from 'node:util'
import type { Application } from '../../protocol/contract/application.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import {
  aClock,
  anApplication,
  anyText,
  checkOptions,
  flag,
  isText,
  listOf,
  logger,
  type OptionForms,
  orMore,
  record,
  wholeNumber,
} from '../../protocol/options/check-options.ts'

/** Options of `cgi`. Times are in milliseconds, sizes in bytes. */
export interface CgiOptions {
  /**
   * Arguments of the program. Default: none. Arguments from the query (RFC 3875 §4.4) would let a client choose options
   * (CVE-2012-1823).
   */
  readonly args?: readonly string[]
  /** Working directory of the program. Default: the directory that contains it (RFC 3875 §7.2). */
  readonly cwd?: string
  /** Additional variables, which override those of the request: `{ GIT_PROJECT_ROOT: '/srv/git' }`. */
  readonly variables?: Readonly<Record<string, string>>
  /**
   * Variables of this process that the program gets; it gets no others. Default: PATH, LANG, LC_ALL, LC_CTYPE, TZ,
   * TMPDIR, LD_LIBRARY_PATH.
   */
  readonly inherit?: readonly string[]
  /** Sets DOCUMENT_ROOT, and PATH_TRANSLATED if the request has a PATH_INFO. */
  readonly documentRoot?: string
  /**
   * Whether the program gets the client's Authorization (Apache: CGIPassAuth). Default: false, as RFC 3875 §4.1.18
   * recommends.
   */
  readonly passAuthorization?: boolean
  /**
   * The application for local redirects (`Location: /path` alone, RFC 3875 §6.2.2): it gets a GET of the path, as with
   * Apache, at most 10 times for one request. Default: the client gets a 302, as with nginx.
   */
  readonly local?: Application
  /**
   * If nothing happens for this long before the head is complete, the response is 504, ms. Default 60 s, as Apache's
   * Timeout and nginx's fastcgi_read_timeout.
   */
  readonly headTimeout?: number
  /** If the program writes nothing for this long in its body, the response is truncated, ms. Default 60 s. */
  readonly idleTimeout?: number
  /**
   * Largest response head, bytes; a larger one is answered with 502. Default 64 KiB, as the HTTP gateway's head limit.
   */
  readonly headLimit?: number
  /**
   * Time from SIGTERM to SIGKILL, and the time a program may run after its output has ended, ms. Default 3 s, as
   * Apache's.
   */
  readonly killGrace?: number
  /** How many processes of the program run at once. Default 16: each has its own memory. */
  readonly concurrency?: number
  /** How many requests wait for a process; further ones get 503. Default 100. Each waits `headTimeout` at most. */
  readonly queue?: number
  /** How many bytes of its standard error are logged for each request. Default 64 KiB. */
  readonly stderrLimit?: number
  /** Gets the lines of its standard error. Default: `wsgi.errors`. */
  readonly log?: Logger
  /** Default: the system's clock. */
  readonly clock?: Clock
}

const milliseconds = orMore('a number of milliseconds')

const OPTIONS: OptionForms<CgiOptions> = {
  args: listOf('strings', (argument) => typeof argument === 'string'),
  cwd: anyText,
  variables: { ...record('strings by name'), secret: true },
  inherit: listOf("variables' names", isText),
  documentRoot: anyText,
  passAuthorization: flag,
  local: anApplication,
  headTimeout: milliseconds,
  idleTimeout: milliseconds,
  headLimit: wholeNumber(1, 'bytes'),
  killGrace: milliseconds,
  concurrency: wholeNumber(1),
  queue: wholeNumber(0),
  stderrLimit: wholeNumber(0, 'bytes'),
  log: logger('debug', 'info', 'warn', 'error'),
  clock: aClock,
}

/** @throws TypeError if the program or an option is invalid */
export function checkCgiOptions(program: string, options: CgiOptions): void {
  const refuse = (got: string, expected: string): never => {
    throw new TypeError(`cgi: the program is ${got}, ${expected}`)
  }
  if (typeof program !== 'string' || program === '')
    refuse(inspect(program, { depth: 0 }), 'expected the path of a file')
  // By RFC 3875 §5 and the custom of all servers, such a program writes HTTP itself.
  if (basename(program).startsWith('nph-')) {
    refuse(inspect(program), 'which by its name writes HTTP itself; non-parsed headers are not supported')
  }
  checkOptions('cgi', options, OPTIONS)
  for (const [name, value] of Object.entries(options.variables ?? {})) {
    if (typeof value !== 'string' || /[\0=]/.test(name) || value.includes('\0')) {
      // The value may be a secret.
      throw new TypeError(
        `cgi: the option variables.${name} is of type ${typeof value}, expected a name without "=", and a string, both without NUL`,
      )
    }
  }
}
