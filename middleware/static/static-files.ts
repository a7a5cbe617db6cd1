/**
 * Files of a folder as an application. Which file a request names, in which encoding, and what its head says is decided here; that no other
 * file is opened, by `open-inside.ts`; conditions and ranges are `file-response.ts`'s.
 *
 * `send`, `sirv` and `serve-static` write to a ServerResponse and read a node request: their decisions cannot be had without their
 * output, so that they do not fit the contract. Types, and the choice of an encoding, are libraries'.
 */

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

/** The encodings of files that were compressed beforehand, by what their names end in. */
const SUFFIXES = { br: '.br', zstd: '.zst', gzip: '.gz' } as const
export type Precompressed = keyof typeof SUFFIXES

/** What `headers` is told of a file. */
export interface ServedFile {
  /** Below the root, with `/`, as PATH_INFO has it: bytes as latin1. */
  readonly path: string
  readonly size: number
  readonly modified: Date
}

export interface StaticFilesOptions {
  /** Names looked for in a directory, the first that is there. Default `['index.html']`; false: a directory is 404. */
  readonly index?: readonly string[] | false
  /** `/dir` to `/dir/` by 301. Default true; false: 404. */
  readonly redirect?: boolean
  /** Serve names that begin with a dot, which often are secrets (`.env`, `.git`). Default false; `/.well-known/` always is served. */
  readonly dotfiles?: boolean
  /** Serve what links lead to outside of the root. Default false. Within it links are always followed. */
  readonly followSymlinks?: boolean
  /**
   * Encodings of which there may be a file beside the plain one (`app.js.br`), the one liked best first. Default br, zstd, gzip;
   * false saves looking for them. A new one is seen within a second. It is not looked whether such a file is of the plain one's last state: keep them so when building.
   */
  readonly precompressed?: readonly Precompressed[] | false
  /**
   * `Cache-Control: public, max-age=`, seconds; `private` where the request says who sends it (`Authorization`, or `REMOTE_USER` as of
   * `basicAuth`): a shared cache before it would serve to everybody what only some may have. Default: no such field, and caches guess
   * (RFC 9111 §4.2.2).
   */
  readonly maxAge?: number
  /** With `maxAge`: names that hold a hash never change (RFC 8246). Default false. */
  readonly immutable?: boolean
  /** Further fields, or what gives them for a file; they take the place of those of the same name. */
  readonly headers?: Headers | ((file: ServedFile) => Headers)
  /** Content types by extension (without the dot), before those of the mime-types library. */
  readonly types?: Readonly<Record<string, string>>
  /**
   * What is answered instead of 404: an application, which also gets the methods that files do not have; or the name of a file below the
   * root (`index.html`), for names without an extension (the pages of an application that runs in the browser).
   */
  readonly fallback?: Application | string
  /** Requests for more ranges than this get the whole file: each costs a part's head and a read. Default 50. */
  readonly maxRanges?: number
  /** Default: lines on `wsgi.errors`. */
  readonly log?: Pick<Logger, 'warn'>
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
/** A compressed file that appears beside its plain one is seen after this time, ms: looking for three costs more than opening one. */
const VARIANTS_FRESH = 1_000
/** Names of files whose encodings are remembered, some 100 bytes each. */
const KNOWN_MAX = 10_000
/** These gain nothing by compression: nobody has a `.br` beside them, and it need not be looked for. */
const COMPRESSED =
  /^(?:image\/(?!svg|bmp|x-ms-bmp|x-icon|vnd\.microsoft)|video\/|audio\/(?!midi)|font\/woff|application\/(?:zip|gzip|zstd|x-7z|vnd\.rar))/

/**
 * Serves the files of a folder to GET and HEAD.
 *
 * @param root a path (`file:` URLs too) of a folder, which is there already
 * @throws TypeError for an option that is none, and a root that is no folder
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
  /** Of Cache-Control, what follows on `public` or `private`. */
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
        throw new TypeError(`staticFiles: fallback ${JSON.stringify(fallback)} is no name of a file below the root`)
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

  /** Undefined when there is nothing of that name. */
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
        // It may be gone by now, or lead out of the root: then there is the plain one.
        const found = chosen && (await this.#root.find(segments, SUFFIXES[chosen]))
        if (found && found.kind === 'file') {
          file = found.file
          await plain.close()
          variant = chosen
          headers.push(['Content-Encoding', chosen])
        }
      }
      for (const [name, value] of this.#further(segments, file)) headers = withHeader(headers, name, value)
      const now = this.#clock.wall()
      return await answerFile(environ, startResponse, { file, headers, variant, maxRanges: this.#maxRanges, now })
    } catch (error) {
      // Closing twice does nothing.
      await Promise.allSettled([plain.close(), file.close()])
      throw error
    }
  }

  /** Which encodings there is a file for: as of now, or of a second ago. */
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
    // `preferred` decides between equal q-values; the types do not know of it yet.
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

  #further(segments: readonly string[], { stats }: InsideFile): Headers {
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

/** Whether it says who sends it: then what is answered may not be everybody's (RFC 9111 §3.5). */
function isPersonal(environ: Environ): boolean {
  return environ['HTTP_AUTHORIZATION'] !== undefined || environ['REMOTE_USER'] !== undefined
}

/** One slash before it, whatever the request had: `//host/` would be another server. */
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

/** Percent-encodes every byte that may not stand in a path's segment (RFC 3986 §3.3) nor among `also`. */
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
    if (immutable) throw new TypeError('staticFiles: immutable says nothing without maxAge (31536000 is a year)')
    return undefined
  }
  return `max-age=${maxAge}${immutable ? ', immutable' : ''}`
}
