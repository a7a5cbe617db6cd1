/**
 * Combines several applications into one by host and path (the first use of middleware in PEP 3333). `mount-table.ts`
 * finds the application; this file changes its environ.
 */

import type { Application, Body, Environ, StartResponse } from '../../protocol/contract/application.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import { anApplication, checkOptions, type OptionForms } from '../../protocol/options/check-options.ts'
import { answerRedirect, cleanQuery, encodedPath, localPath } from './location.ts'
import { type Mounted, MountTable } from './mount-table.ts'

/** The options of `mount`. */
export interface MountOptions {
  /** Answers requests that match no entry. Default: an error page, 404. */
  readonly notFound?: Application | undefined
}

const OPTIONS: OptionForms<MountOptions> = { notFound: anApplication }

/**
 * Combines applications into one by host and path.
 *
 * The mounted application gets an environ as if it were alone: its prefix is appended to SCRIPT_NAME and removed from
 * PATH_INFO. REQUEST_URI stays what the client sent; everything else of the request and the response is unchanged.
 *
 * Keys are `/path`, for any host, and `host/path`. The most specific host comes first: `admin.example.com/`, then
 * `*.example.com/` (any number of labels, as in nginx; the longest first), then any host. If the entries of a host do
 * not match the path, the next host is tried. Among the paths of a host the longest match counts, in whole segments:
 * `/static` matches `/static` and `/static/x`, but not `/staticx`. Ports and the case of hosts are ignored.
 *
 * With the key `/static`, a request for exactly `/static` gets an empty PATH_INFO, as in Rack's URLMap and werkzeug. A
 * key that ends with a slash, `/static/`, is a directory: `/static` is redirected to `/static/` (308, with the query),
 * as in nginx's `location` and Go's ServeMux, so that relative links work.
 *
 * Paths are compared decoded. Repeated slashes are ignored up to the end of a prefix (`//admin//x` matches `/admin`,
 * with PATH_INFO `//x`), because a server behind another prefix might ignore them. A path with `.` or `..` as a segment
 * is answered 400: every client resolves such segments before it sends a request, and a server behind one prefix that
 * resolved them could be asked for what another application protects.
 *
 * @param table applications by key
 * @throws TypeError if the table is empty, a key is invalid or occurs twice, a value is not an application, or an
 *   option is unknown or invalid
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { mount } from 'gantry/middleware'
 *
 * const text = (message: string): Application => (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from(`${message}: ${environ.PATH_INFO}\n`)]
 * }
 * export const application: Application = mount({
 *   '/': text('the site'),
 *   '/api': text('the API'),
 *   'admin.example.com/': text('administration'),
 * })
 * ```
 */
export function mount(table: Readonly<Record<string, Application>>, options: MountOptions = {}): Application {
  const mounts = read(table)
  checkOptions('mount', options, OPTIONS)
  const { notFound = statusPage(404) } = options
  const badPath = statusPage(400)
  return (environ, startResponse) => {
    const path = environ.PATH_INFO
    const host = environ['HTTP_HOST']
    // Without Host the request is for SERVER_NAME (PEP 3333, URL reconstruction).
    const name = typeof host === 'string' ? host : environ.SERVER_NAME
    if (UNUSUAL.test(path)) {
      if (DOTS.test(path)) return badPath(environ, startResponse)
      const found = mounts.find(name, path.replace(SLASHES, '/'))
      return found
        ? enter(found, restAfter(found.prefix, path), environ, startResponse)
        : notFound(environ, startResponse)
    }
    const found = mounts.find(name, path)
    if (found === undefined) return notFound(environ, startResponse)
    if (found.prefix === '') return found.value(environ, startResponse)
    return enter(found, path.slice(found.prefix.length), environ, startResponse)
  }
}

/** Paths that need a second look. One expression, because two searches cost more. */
const UNUSUAL = /\/[/.]/
/** `.` or `..` as a whole segment. */
const DOTS = /\/\.\.?(?:\/|$)/
const SLASHES = /\/{2,}/g

function enter(
  found: Mounted<Application>,
  rest: string,
  environ: Environ,
  startResponse: StartResponse,
): Body | Promise<Body> {
  if (found.directory && rest === '') return redirectInto(found.prefix, environ, startResponse)
  environ.SCRIPT_NAME += found.prefix
  environ.PATH_INFO = rest
  return found.value(environ, startResponse)
}

function redirectInto(prefix: string, environ: Environ, startResponse: StartResponse): Body {
  const query = environ.QUERY_STRING === '' ? '' : `?${cleanQuery(environ.QUERY_STRING)}`
  // 308 and not 301: a POST stays a POST (RFC 9110 §15.4.9).
  return answerRedirect(startResponse, 308, `${localPath(encodedPath(environ.SCRIPT_NAME + prefix))}/${query}`)
}

/** The part of `path` after `prefix`. `path` may have repeated slashes where `prefix` has one. */
function restAfter(prefix: string, path: string): string {
  let at = 0
  for (let matched = 0; matched < prefix.length; matched++, at++) {
    if (prefix.charCodeAt(matched) !== 0x2f) continue
    while (path.charCodeAt(at + 1) === 0x2f) at++
  }
  return path.slice(at)
}

function read(table: unknown): MountTable<Application> {
  if (typeof table !== 'object' || table === null || Array.isArray(table)) {
    throw new TypeError("mount() expects an object of applications by key: { '/': site, '/static': files }")
  }
  const entries = Object.entries(table)
  if (entries.length === 0) throw new TypeError('mount() got an empty table: it would answer 404 to everything')
  const mounts = new MountTable<Application>()
  for (const [key, application] of entries) {
    if (typeof application !== 'function') {
      const promise = application instanceof Promise ? ' (a promise: await it first)' : ''
      throw new TypeError(
        `the application mounted at ${JSON.stringify(key)} is ${typeof application}${promise}, expected a function`,
      )
    }
    mounts.add(key, application as Application)
  }
  return mounts
}
