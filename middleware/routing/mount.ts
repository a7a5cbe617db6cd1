/**
 * Several applications as one, told apart by host and path (PEP 3333's first use of middleware). What is mounted gets an environ as if it
 * were alone: SCRIPT_NAME has grown by its prefix, PATH_INFO begins after it. Everything else of a request and all of the
 * response pass as they are. Which application it is, `mount-table.ts` finds; here is what becomes of the environ, and of
 * paths at the borders.
 */

import type { Application, Body, Environ, StartResponse } from '../../protocol/contract/application.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import { anApplication, checkOptions, type OptionForms } from '../../protocol/options/check-options.ts'
import { answerRedirect, cleanQuery, encodedPath, localPath } from './location.ts'
import { type Mounted, MountTable } from './mount-table.ts'

export interface MountOptions {
  /** Answers where nothing is mounted. Default: an error page, 404. */
  readonly notFound?: Application | undefined
}

const OPTIONS: OptionForms<MountOptions> = { notFound: anApplication }

/**
 * An application of applications.
 *
 * Keys are `/path`, for any host, and `host/path`. The most exact host counts first: `admin.example.com/`, then `*.example.com/` (any
 * number of labels, as in nginx; the longest first), then any; where it has nothing at that path, the next one is asked. Of
 * its paths the longest counts, in whole segments: `/static` is asked for `/static` and `/static/x`, not for `/staticx`. Ports and
 * case of hosts do not matter.
 *
 * `/static` passes a request for exactly `/static` on with an empty PATH_INFO, as Rack's URLMap and werkzeug do. With a
 * slash at its end, `/static/`, it is a directory: `/static` is redirected to `/static/` (308, the query kept), as
 * nginx's `location` and Go's ServeMux do, so that relative links are right.
 *
 * Paths are compared decoded. Slashes too many do not count up to the end of a prefix (`//admin//x` is of `/admin`, and its PATH_INFO
 * `//x`), since what is behind another prefix might drop them. A path with `.` or `..` as a segment is refused with 400: every
 * client resolves them before it sends a request, and a server behind a prefix that resolved them would be asked for what
 * another application guards.
 *
 * REQUEST_URI stays what the client sent.
 *
 * @param table where → application
 * @throws TypeError for a table that is empty, a key that is no place or is there twice, a value that is no application, and an option that is none
 */
export function mount(table: Readonly<Record<string, Application>>, options: MountOptions = {}): Application {
  const places = read(table)
  checkOptions('mount', options, OPTIONS)
  const { notFound = statusPage(404) } = options
  const badPath = statusPage(400)
  return (environ, startResponse) => {
    const path = environ.PATH_INFO
    const host = environ['HTTP_HOST']
    // PEP 3333, URL reconstruction: a request without Host is for the server's own name.
    const name = typeof host === 'string' ? host : environ.SERVER_NAME
    if (UNUSUAL.test(path)) {
      if (DOTS.test(path)) return badPath(environ, startResponse)
      const found = places.find(name, path.replace(SLASHES, '/'))
      return found
        ? enter(found, restAfter(found.prefix, path), environ, startResponse)
        : notFound(environ, startResponse)
    }
    const found = places.find(name, path)
    if (found === undefined) return notFound(environ, startResponse)
    if (found.prefix === '') return found.value(environ, startResponse)
    return enter(found, path.slice(found.prefix.length), environ, startResponse)
  }
}

/** Paths that are looked at twice. One expression: two searches for a text cost more. */
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
  // 308 and not 301: a POST stays one (RFC 9110 §15.4.9).
  return answerRedirect(startResponse, 308, `${localPath(encodedPath(environ.SCRIPT_NAME + prefix))}/${query}`)
}

/** What of `path` follows `prefix`, whose slashes are single where those of `path` may be several. */
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
    throw new TypeError("mount() takes an object of places and applications: { '/': site, '/static': files }")
  }
  const entries = Object.entries(table)
  if (entries.length === 0) throw new TypeError('mount() got an empty table: it would answer 404 to everything')
  const places = new MountTable<Application>()
  for (const [key, application] of entries) {
    if (typeof application !== 'function') {
      const promise = application instanceof Promise ? ' (a promise: await it first)' : ''
      throw new TypeError(
        `what is mounted at ${JSON.stringify(key)} is no function, but ${typeof application}${promise}`,
      )
    }
    places.add(key, application as Application)
  }
  return places
}
