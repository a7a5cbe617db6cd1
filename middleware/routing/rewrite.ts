/**
 * Changes the path or the query that the application gets. Only PATH_INFO and QUERY_STRING change: REQUEST_URI stays
 * what the client sent, as in CGI, and SCRIPT_NAME belongs to `mount`.
 */

import type { Environ, Middleware } from '../../protocol/contract/application.ts'
import { checkOptions, type OptionForms, oneOf } from '../../protocol/options/check-options.ts'
import { compilePattern, compileTemplate, type Pattern, shown, type Template, toBytes } from './template.ts'

/** The options of `rewrite`. */
export interface RewriteOptions {
  /**
   * For a template with a query of its own: `keep` appends the request's query, as nginx does; `drop` does not. Default
   * `keep`.
   */
  readonly query?: 'keep' | 'drop' | undefined
}

/** The result of a rewrite function. Missing members stay unchanged. */
export interface Rewritten {
  /** PATH_INFO: decoded, bytes as latin1. */
  readonly path?: string | undefined
  /** QUERY_STRING: encoded, without `?`. */
  readonly query?: string | undefined
}

/** The function `rewrite`, with its variant. */
export interface Rewrite {
  /**
   * Replaces a PATH_INFO that matches `from` with `to`; other requests pass unchanged.
   *
   * @param from a whole path, the beginning of a path (`/old/*`), or a RegExp
   * @param to a decoded path with parts of the match (`/new/$1`), and optionally a query after the first `?`
   *   (`/index?page=$1`), where inserted values are encoded
   * @throws TypeError if the pattern, the template or an option is invalid
   * @example
   * ```ts
   * import type { Application } from 'gantry'
   * import { rewrite } from 'gantry/middleware'
   *
   * const pages: Application = (environ, startResponse) => {
   *   startResponse('200 OK', [['Content-Type', 'text/plain']])
   *   return [Buffer.from(`${environ.PATH_INFO}?${environ.QUERY_STRING}\n`)]
   * }
   * export const application: Application = rewrite('/articles/*', '/article?id=$1')(pages)
   * ```
   */
  (from: string | RegExp, to: string, options?: RewriteOptions): Middleware
  /** Calls `change` for each request; undefined leaves the request unchanged. */
  (change: (environ: Environ) => Rewritten | undefined): Middleware
  /**
   * Removes `prefix` from the beginning of PATH_INFO (`/api/x` → `/x`, `/api` → `/`), in whole segments, as Caddy's
   * `uri strip_prefix`. SCRIPT_NAME does not change: use `mount` for an application that must know its own address.
   *
   * @throws TypeError if `prefix` is not a decoded path, or ends with a slash
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
        throw new TypeError(
          `rewrite(): PATH_INFO is ${shown(path)}, expected "" or a path that begins with "/", bytes as latin1`,
        )
      }
      environ.PATH_INFO = path
    }
    if (query !== undefined) {
      if (typeof query !== 'string' || /[^\x21-\xff]/.test(query)) {
        throw new TypeError(`rewrite(): QUERY_STRING is ${shown(query)}, expected an encoded query`)
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

/** Rewrites the path and the query of requests; `rewrite.stripPrefix` removes a prefix. See `Rewrite`. */
export const rewrite: Rewrite = Object.assign(rewriting, { stripPrefix })
