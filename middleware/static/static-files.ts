/**
 * Serves the files of a folder. This file chooses the file, its encoding and its fields; `open-inside.ts` makes sure
 * that no other file is opened, `file-response.ts` handles conditions and ranges.
 */

// `send`, `sirv` and `serve-static` write to a ServerResponse and read a Node request: their decisions are not
// available without that output, so they do not fit the contract. Libraries choose the type and the encoding.

import { contentType } from 'mime-types'
import Negotiator from 'negotiator'
import type { Application, Body, Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import {
  checkOptions,
  flag,
  form,
  having,
  isFunction,
  isText,
  listOf,
  logger,
  type OptionForms,
  orFalse,
  record,
  wholeNumber,
} from '../../protocol/options/check-options.ts'
import { addVary, withHeader } from '../shared/response-fields.ts'
import { answerFile, answerRefusal, MAX_RANGES } from './file-response.ts'
import { folder, type InsideFile, Root, segmentsOf } from './open-inside.ts'

/** The encodings of precompressed files, and their file name suffixes. */
const SUFFIXES = { br: '.br', zstd: '.zst', gzip: '.gz' } as const
/** An encoding of precompressed files. */
export type Precompressed = keyof typeof SUFFIXES

/** The file that the function `headers` gets. */
export interface ServedFile {
  /** The path below the root, beginning with `/`; bytes as latin1, as in PATH_INFO. */
  readonly path: string
  /** Bytes. */
  readonly size: number
  readonly modified: Date
}

/** The options of `staticFiles`. */
export interface StaticFilesOptions {
  /** Names of index files for a directory, in order. False: a directory is answered 404. Default `['index.html']`. */
  readonly index?: readonly string[] | false
  /** Whether `/dir` is redirected to `/dir/` (301); otherwise it is answered 404. Default true. */
  readonly redirect?: boolean
  /**
   * Whether to serve names that begin with a dot, which often are secrets (`.env`, `.git`). `/.well-known/` is always
   * served. Default false.
   */
  readonly dotfiles?: boolean
  /**
   * Whether to serve files outside the root to which symbolic links lead. Links within the root are always followed.
   * Default false.
   */
  readonly followSymlinks?: boolean
  /**
   * Encodings for which a precompressed file may exist beside the plain one (`app.js.br`), the preferred one first.
   * False: none, which saves looking for them. A new file is found within a second. Whether such a file matches the
   * plain one is not checked: the build must update both. Default br, zstd, gzip.
   */
  readonly precompressed?: readonly Precompressed[] | false
  /**
   * Value of `Cache-Control: public, max-age=`, seconds. It is `private` if the request identifies its user
   * (`Authorization`, or `REMOTE_USER` from `basicAuth`): otherwise a shared cache would serve to everyone what only
   * some users may have. Default: no such field; caches then guess (RFC 9111 §4.2.2).
   */
  readonly maxAge?: number
  /** With `maxAge`: whether the files never change, because their names contain a hash (RFC 8246). Default false. */
  readonly immutable?: boolean
  /** Further fields, or a function that returns them for a file. They replace fields of the same names. */
  readonly headers?: Headers | ((file: ServedFile) => Headers)
  /** Content types by extension (without the dot). They take precedence over those of the mime-types library. */
  readonly types?: Readonly<Record<string, string>>
  /**
   * Answers instead of 404: an application, which also gets the methods other than GET and HEAD; or the name of a file
   * below the root (`index.html`), for paths without an extension (single-page applications).
   */
  readonly fallback?: Application | string
  /** Requests for more ranges than this get the whole file: each range costs a part head and a read. Default 50. */
  readonly maxRanges?: number
  /** The log for files that could not be read. Default: `wsgi.errors` of the request. */
  readonly log?: Pick<Logger, 'warn'>
  /** The clock, for tests. Default: the system clock. */
  readonly clock?: Pick<Clock, 'now' | 'wall'>
}

const OPTIONS: OptionForms<StaticFilesOptions> = {
  index: orFalse(listOf("files' names", isText)),
  redirect: flag,
  dotfiles: flag,
  followSymlinks: flag,
  precompressed: orFalse(listOf('br, zstd and gzip', (name) => isText(name) && Object.hasOwn(SUFFIXES, name))),
  maxAge: wholeNumber(0, 'seconds'),
  immutable: flag,
  headers: form(
    'an array of [name, value], or a function of the file that gives one',
    (value) =>
      isFunction(value) ||
      (Array.isArray(value) &&
        value.every(
          (field) => Array.isArray(field) && field.length === 2 && field.every((part) => typeof part === 'string'),
        )),
  ),
  types: record('media types by extension', isText),
  fallback: form('an application, or the name of a file below the root', (value) => isFunction(value) || isText(value)),
  maxRanges: wholeNumber(1),
  log: logger('warn'),
  clock: having('a clock', 'now', 'wall'),
}

const METHODS = 'GET, HEAD, OPTIONS'
/**
 * A precompressed file that appears is found after this time, ms: looking for three files costs more than opening one.
 */
const VARIANTS_FRESH = 1_000
/** Number of files whose encodings are cached, about 100 bytes each. */
const KNOWN_MAX = 10_000
/** Types that do not become smaller by compression: precompressed files are not looked for. */
const COMPRESSED =
  /^(?:image\/(?!svg|bmp|x-ms-bmp|x-icon|vnd\.microsoft)|video\/|audio\/(?!midi)|font\/woff|application\/(?:zip|gzip|zstd|x-7z|vnd\.rar))/

/**
 * Serves the files of a folder to GET and HEAD.
 *
 * @param root path or `file:` URL of an existing folder
 * @throws TypeError if an option is unknown or invalid, or `root` is not a folder
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { mount, staticFiles } from 'gantry/middleware'
 *
 * const site: Application = (_environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from('Hello\n')]
 * }
 * export const application: Application = mount({
 *   '/': site,
 *   '/static/': staticFiles(import.meta.dirname, { maxAge: 3_600 }),
 * })
 * ```
 */
export function staticFiles(root: string | URL, options: StaticFilesOptions = {}): Application {
  checkOptions('staticFiles', options, OPTIONS)
  const served = new StaticFiles(root, options)
  return (environ, startResponse) => served.answer(environ, startResponse)
}

class StaticFiles {
  readonly #root: Root
  readonly #index: readonly string[]
  readonly #redirect: boolean
  readonly #dotfiles: boolean
  readonly #encodings: readonly Precompressed[]
  /** The part of Cache-Control after `public` or `private`. */
  readonly #lifetime: string | undefined
  readonly #headers: StaticFilesOptions['headers']
  readonly #types: Readonly<Record<string, string>>
  readonly #fallback: Application | undefined
  readonly #fallbackFile: readonly string[] | undefined
  readonly #maxRanges: number
  readonly #log: Pick<Logger, 'warn'> | undefined
  readonly #clock: Pick<Clock, 'now' | 'wall'>
  readonly #known = new Map<string, { readonly there: readonly Precompressed[]; readonly until: number }>()

  constructor(root: string | URL, options: StaticFilesOptions) {
    const { clock = systemClock, fallback, maxRanges = MAX_RANGES, types = {} } = options
    this.#clock = clock
    this.#root = new Root(folder(root, 'staticFiles'), {
      followSymlinks: options.followSymlinks ?? false,
      now: () => clock.now(),
    })
    this.#index = checkedIndex(options.index ?? ['index.html'])
    this.#redirect = options.redirect ?? true
    this.#dotfiles = options.dotfiles ?? false
    this.#encodings = options.precompressed === false ? [] : (options.precompressed ?? ['br', 'zstd', 'gzip'])
    this.#lifetime = lifetime(options.maxAge, options.immutable ?? false)
    this.#headers = options.headers
    this.#types = Object.fromEntries(Object.entries(types).map(([name, type]) => [name.toLowerCase(), type]))
    if (typeof fallback === 'string') {
      this.#fallbackFile = segmentsOf(Buffer.from(`/${fallback}`).toString('latin1'), true)
      if (!this.#fallbackFile?.length) {
        throw new TypeError(
          `staticFiles: fallback is ${JSON.stringify(fallback)}, expected the name of a file below the root`,
        )
      }
    } else {
      this.#fallback = fallback
    }
    this.#maxRanges = maxRanges
    this.#log = options.log
  }

  async answer(environ: Environ, startResponse: StartResponse): Promise<Body> {
    const method = environ.REQUEST_METHOD
    if (method !== 'GET' && method !== 'HEAD') return this.#otherMethod(environ, startResponse)
    const segments = segmentsOf(environ.PATH_INFO, this.#dotfiles)
    try {
      const body = segments && (await this.#answered(environ, startResponse, segments))
      if (body) return body
    } catch (error) {
      return answerRefusal(environ, startResponse, error, this.#log, environ.PATH_INFO)
    }
    return (this.#fallback ?? statusPage(404))(environ, startResponse)
  }

  /** Undefined if there is no such file. */
  async #answered(
    environ: Environ,
    startResponse: StartResponse,
    segments: readonly string[],
  ): Promise<Body | undefined> {
    const slash = environ.PATH_INFO.endsWith('/')
    const found = await this.#root.find(segments)
    if (found?.kind === 'directory') {
      if (!slash && this.#redirect) return redirect(environ, startResponse, segments)
      for (const name of slash ? this.#index : []) {
        const index = [...segments, name]
        const page = await this.#root.find(index)
        if (page?.kind === 'file') return this.#send(environ, startResponse, index, page.file)
      }
    } else if (found) {
      if (!slash) return this.#send(environ, startResponse, segments, found.file)
      await found.file.close()
    }
    const page = this.#fallbackFile
    if (page === undefined || segments.at(-1)?.includes('.')) return undefined
    const file = await this.#root.find(page)
    return file?.kind === 'file' ? this.#send(environ, startResponse, page, file.file) : undefined
  }

  async #send(
    environ: Environ,
    startResponse: StartResponse,
    segments: readonly string[],
    plain: InsideFile,
  ): Promise<Body> {
    let file = plain
    try {
      const type = this.#typeOf(segments.at(-1)!)
      let headers: Headers = [['Content-Type', type]]
      if (this.#lifetime !== undefined) {
        headers.push(['Cache-Control', `${isPersonal(environ) ? 'private' : 'public'}, ${this.#lifetime}`])
      }
      let variant = ''
      const there = COMPRESSED.test(type) ? [] : await this.#variants(segments)
      if (there.length > 0) {
        headers = addVary(headers, 'Accept-Encoding')
        const chosen = this.#chosen(environ['HTTP_ACCEPT_ENCODING'], there)
        // The file may have been removed, or may lead out of the root: the plain file is served then.
        const found = chosen && (await this.#root.find(segments, SUFFIXES[chosen]))
        if (found && found.kind === 'file') {
          file = found.file
          await plain.close()
          variant = chosen
          headers.push(['Content-Encoding', chosen])
        }
      }
      for (const [name, value] of this.#extraHeaders(segments, file)) headers = withHeader(headers, name, value)
      const now = this.#clock.wall()
      return await answerFile(environ, startResponse, { file, headers, variant, maxRanges: this.#maxRanges, now })
    } catch (error) {
      // Closing twice has no effect.
      await Promise.allSettled([plain.close(), file.close()])
      throw error
    }
  }

  /** The encodings for which a file exists, as of now or of a second ago. */
  async #variants(segments: readonly string[]): Promise<readonly Precompressed[]> {
    if (this.#encodings.length === 0) return []
    const key = segments.join('/')
    const now = this.#clock.now()
    const known = this.#known.get(key)
    if (known && now < known.until) return known.there
    const looks = await Promise.all(this.#encodings.map((name) => this.#root.look(segments, SUFFIXES[name])))
    const there = this.#encodings.filter((_, at) => looks[at]?.isFile())
    if (this.#known.size >= KNOWN_MAX) this.#known.clear()
    this.#known.set(key, { there, until: now + VARIANTS_FRESH })
    return there
  }

  #chosen(accept: unknown, there: readonly Precompressed[]): Precompressed | undefined {
    if (typeof accept !== 'string') return undefined
    // `preferred` decides between equal q-values. The types of the library do not have it yet.
    const negotiator: { encodings(available: string[], options: { preferred: string[] }): string[] } = new Negotiator({
      headers: { 'accept-encoding': accept },
    })
    const [best] = negotiator.encodings([...there, 'identity'], { preferred: [...there] })
    return there.find((name) => name === best)
  }

  #typeOf(name: string): string {
    const dot = name.lastIndexOf('.')
    // `.htaccess` has no extension.
    const extension = dot > 0 ? name.slice(dot + 1).toLowerCase() : ''
    if (extension === '') return 'application/octet-stream'
    if (Object.hasOwn(this.#types, extension)) return this.#types[extension]!
    return contentType(extension) || 'application/octet-stream'
  }

  #extraHeaders(segments: readonly string[], { stats }: InsideFile): Headers {
    if (typeof this.#headers !== 'function') return this.#headers ?? []
    return this.#headers({ path: `/${segments.join('/')}`, size: stats.size, modified: stats.mtime })
  }

  #otherMethod(environ: Environ, startResponse: StartResponse): Body | Promise<Body> {
    if (this.#fallback) return this.#fallback(environ, startResponse)
    if (environ.REQUEST_METHOD !== 'OPTIONS') {
      return statusPage(405, { headers: [['Allow', METHODS]] })(environ, startResponse)
    }
    startResponse('204 No Content', [['Allow', METHODS]])
    return []
  }
}

/** Whether the request identifies its user: the answer may then not be for everyone (RFC 9111 §3.5). */
function isPersonal(environ: Environ): boolean {
  return environ['HTTP_AUTHORIZATION'] !== undefined || environ['REMOTE_USER'] !== undefined
}

/** The location begins with exactly one slash, whatever the request contained: `//host/` would be another server. */
function redirect(environ: Environ, startResponse: StartResponse, segments: readonly string[]): Body {
  const path = [...environ.SCRIPT_NAME.split('/').filter((segment) => segment !== ''), ...segments]
  const query = environ.QUERY_STRING === '' ? '' : `?${encoded(environ.QUERY_STRING, '%/?')}`
  const location = `${['', ...path.map((segment) => encoded(segment, '')), ''].join('/')}${query}`
  startResponse('301 Moved Permanently', [
    ['Location', location],
    ['Content-Type', 'text/plain'],
    ['Content-Length', '0'],
  ])
  return []
}

/** Percent-encodes every byte that is not allowed in a path segment (RFC 3986 §3.3), except those in `also`. */
function encoded(native: string, also: string): string {
  return native.replace(/[^A-Za-z0-9._~!$&'()*+,;=:@-]/g, (char) =>
    also.includes(char) ? char : `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  )
}

function checkedIndex(index: readonly string[] | false): readonly string[] {
  if (index === false) return []
  return index.map((name) => {
    if (typeof name !== 'string' || segmentsOf(`/${name}`, true)?.length !== 1) {
      throw new TypeError(`staticFiles: index has ${JSON.stringify(name)}: expected the name of a file, without a path`)
    }
    return Buffer.from(name).toString('latin1')
  })
}

function lifetime(maxAge: number | undefined, immutable: boolean): string | undefined {
  if (maxAge === undefined) {
    if (immutable) throw new TypeError('staticFiles: immutable needs maxAge (31536000 is a year)')
    return undefined
  }
  return `max-age=${maxAge}${immutable ? ', immutable' : ''}`
}
