/**
 * Gives the application another path or query than the client asked for. It edits PATH_INFO and QUERY_STRING and nothing else:
 * REQUEST_URI stays what the client sent, as in CGI, and SCRIPT_NAME is the mount's.
 */

import type { Environ, Middleware } from '../../protocol/contract/application.ts'
import { checkOptions, type OptionForms, oneOf } from '../../protocol/options/check-options.ts'
import { compilePattern, compileTemplate, type Pattern, shown, type Template, toBytes } from './template.ts'

export interface RewriteOptions {
  /** What of the request's query becomes of a template with one: `keep` appends it, as nginx does; `drop` does not. Default `keep`. */
  readonly query?: 'keep' | 'drop' | undefined
}

/** What a function makes of a request; what is left out stays. */
export interface Rewritten {
  /** PATH_INFO: decoded, bytes as latin1. */
  readonly path?: string | undefined
  /** QUERY_STRING: encoded, without `?`. */
  readonly query?: string | undefined
}

export interface Rewrite {
  /**
   * Where PATH_INFO matches `from`, it becomes `to`; other requests pass as they are.
   *
   * `from` is a whole path, the beginning of one (`/old/*`), or a RegExp. `to` is a decoded path with what the pattern found (`/new/$1`),
   * and a query after the first `?` (`/index?page=$1`), in which what is put in is encoded.
   *
   * @throws TypeError for a pattern, template or option that is none
   */
  (from: string | RegExp, to: string, options?: RewriteOptions): Middleware
  /** `change` is asked at each request; undefined leaves it as it is. */
  (change: (environ: Environ) => Rewritten | undefined): Middleware
  /**
   * Takes `prefix` off the beginning of PATH_INFO (`/api/x` → `/x`, `/api` → `/`), in whole segments, as Caddy's `uri strip_prefix`.
   * SCRIPT_NAME does not grow: an application that has to know where it is wants `mount`.
   */
  stripPrefix(prefix: string): Middleware
}

const OPTIONS: OptionForms<RewriteOptions> = { query: oneOf('keep', 'drop') }

function rewriting(from: unknown, to?: unknown, options: RewriteOptions = {}): Middleware {
  if (typeof from === 'function') return byFunction(from as (environ: Environ) => Rewritten | undefined)
  checkOptions('rewrite', options, OPTIONS)
  const pattern = compilePattern(from, 'rewrite()')
  if (typeof to !== 'string' || !/^[/$]/.test(to)) {
    throw new TypeError(`rewrite(): the new path is ${shown(to)}, expected one that begins with "/" ("/new/$1")`)
  }
  const question = to.indexOf('?')
  const path = compileTemplate(question === -1 ? to : to.slice(0, question), 'bytes', 'rewrite()')
  const query = question === -1 ? undefined : compileTemplate(to.slice(question + 1), 'query', 'rewrite()')
  return byTemplate(pattern, path, query, options.query !== 'drop')
}

function byTemplate(pattern: Pattern, path: Template, query: Template | undefined, keep: boolean): Middleware {
  const keeps = keep && !query?.uses.has('query')
  return (application) => (environ, startResponse) => {
    const match = pattern(environ.PATH_INFO)
    if (match !== null) {
      const rewritten = path.expand(match, environ)
      const made = query?.expand(match, environ) ?? ''
      environ.PATH_INFO = rewritten.startsWith('/') ? rewritten : `/${rewritten}`
      const before = keeps ? environ.QUERY_STRING : ''
      environ.QUERY_STRING = made !== '' && before !== '' ? `${made}&${before}` : made || before
    }
    return application(environ, startResponse)
  }
}

function byFunction(change: (environ: Environ) => Rewritten | undefined): Middleware {
  return (application) => (environ, startResponse) => {
    const { path, query } = change(environ) ?? {}
    if (path !== undefined) {
      if (typeof path !== 'string' || (path !== '' && !path.startsWith('/')) || /[^\x01-\xff]/.test(path)) {
        throw new TypeError(`rewrite(): PATH_INFO is ${shown(path)}, expected "" or "/…", bytes as latin1`)
      }
      environ.PATH_INFO = path
    }
    if (query !== undefined) {
      if (typeof query !== 'string' || /[^\x21-\xff]/.test(query)) {
        throw new TypeError(`rewrite(): QUERY_STRING is ${shown(query)}, expected an encoded one`)
      }
      environ.QUERY_STRING = query
    }
    return application(environ, startResponse)
  }
}

function stripPrefix(prefix: string): Middleware {
  if (typeof prefix !== 'string' || !/^\/[^*?#%]*[^/*?#%]$/.test(prefix)) {
    throw new TypeError(
      `rewrite.stripPrefix(): expected a decoded path without a slash at its end, got ${shown(prefix)}`,
    )
  }
  const bytes = toBytes(prefix)
  return (application) => (environ, startResponse) => {
    const path = environ.PATH_INFO
    if (path.startsWith(bytes)) {
      if (path.length === bytes.length) environ.PATH_INFO = '/'
      else if (path.charCodeAt(bytes.length) === 0x2f) environ.PATH_INFO = path.slice(bytes.length)
    }
    return application(environ, startResponse)
  }
}

export const rewrite: Rewrite = Object.assign(rewriting, { stripPrefix })
