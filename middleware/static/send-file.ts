/**
 * Answers `X-Sendfile: /path` (Apache's mod_xsendfile, lighttpd) and `X-Accel-Redirect: /prefix/name` (nginx) with the
 * named file and the application's other fields. The application may be in another process, and reads no byte of the
 * file.
 */

// Only files below the configured folders are sent, whatever the application names. The two fields do not reach
// clients.

import { resolve, sep } from 'node:path'
import { contentType } from 'mime-types'
import type {
  Application,
  Body,
  Environ,
  Headers,
  Middleware,
  StartResponse,
} from '../../protocol/contract/application.ts'
import { setHeader } from '../../protocol/contract/request-headers.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import {
  checkOptions,
  flag,
  form,
  having,
  isText,
  logger,
  type OptionForms,
  record,
  wholeNumber,
} from '../../protocol/options/check-options.ts'
import { filterResponse } from '../filter/filter-response.ts'
import { headerOf, withoutHeaders } from '../shared/response-fields.ts'
import { answerFile, answerRefusal, answerWholeFile, MAX_RANGES, warn } from './file-response.ts'
import { folder, Root, segmentsOf } from './open-inside.ts'

/** The options of `sendFile`. */
export interface SendFileOptions {
  /** Folders whose files `X-Sendfile` may name: with an absolute path, or with a path relative to the first folder. */
  readonly root?: string | URL | readonly (string | URL)[]
  /**
   * Prefixes of `X-Accel-Redirect` and their folders, as nginx's `location … { internal; alias …; }`. The longest
   * matching prefix applies.
   */
  readonly accel?: Readonly<Record<string, string | URL>>
  /** Whether to send files outside these folders to which symbolic links lead. Default false. */
  readonly followSymlinks?: boolean
  /** Requests for more ranges than this get the whole file. Default 50, as in `staticFiles`. */
  readonly maxRanges?: number
  /** The log for files that could not be sent. Default: `wsgi.errors` of the request. */
  readonly log?: Pick<Logger, 'warn'>
  /** The clock, for tests. Default: the system clock. */
  readonly clock?: Pick<Clock, 'now' | 'wall'>
}

const isPath = (value: unknown): boolean => isText(value) || value instanceof URL

const OPTIONS: OptionForms<SendFileOptions> = {
  root: form(
    'the path of a folder, or an array of some',
    (value) => isPath(value) || (Array.isArray(value) && value.every(isPath)),
  ),
  accel: record('folders by prefix', isPath),
  followSymlinks: flag,
  maxRanges: wholeNumber(1),
  log: logger('warn'),
  clock: having('a clock', 'now', 'wall'),
}

/**
 * With these fields a front-end server tells an application how it sends files. If clients could send them, the
 * front-end would send files that it keeps private (CVE-2025-61780, Rack::Sendfile).
 */
const NOT_FROM_CLIENTS = ['X-Sendfile-Type', 'X-Accel-Mapping']

/** Fields that the file's own replace, or that describe bytes that are not sent. */
const REPLACED = ['X-Sendfile', 'X-Accel-Redirect', 'Content-Length', 'Accept-Ranges', 'Content-Range']

/**
 * Sends files that the application names in `X-Sendfile` or `X-Accel-Redirect`.
 *
 * @throws TypeError if an option is unknown or invalid, or a root is not a folder
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { sendFile } from 'gantry/middleware'
 *
 * const download: Application = (_environ, startResponse) => {
 *   startResponse('200 OK', [['X-Sendfile', 'report.pdf'], ['Content-Disposition', 'attachment']])
 *   return []
 * }
 * export const application: Application = sendFile({ root: import.meta.dirname })(download)
 * ```
 */
export function sendFile(options: SendFileOptions = {}): Middleware {
  checkOptions('sendFile', options, OPTIONS)
  const files = new NamedFiles(options)
  return (application) => (environ, startResponse) => {
    for (const name of NOT_FROM_CLIENTS) setHeader(environ, name, undefined)
    return filterResponse(application, environ, startResponse, (status, headers) => {
      const path = headerOf(headers, 'X-Sendfile')
      const uri = headerOf(headers, 'X-Accel-Redirect')
      if ((path === undefined || !files.acceptsPaths) && (uri === undefined || !files.acceptsUris))
        return { status, headers }
      const kept = withoutHeaders(headers, ...REPLACED)
      return { replace: files.answer(status, kept, files.acceptsPaths ? path : undefined, uri) }
    })
  }
}

/** A name below a root. */
interface FileInRoot {
  readonly root: Root
  readonly segments: readonly string[]
}

class NamedFiles {
  readonly #roots: readonly Root[]
  /** The longest prefix first. */
  readonly #prefixes: readonly (readonly [prefix: string, root: Root])[]
  readonly #options: SendFileOptions
  readonly #maxRanges: number
  readonly #clock: Pick<Clock, 'now' | 'wall'>

  constructor(options: SendFileOptions) {
    const { root = [], accel = {}, followSymlinks = false, maxRanges = MAX_RANGES, clock = systemClock } = options
    const rootOf = (path: string | URL): Root =>
      new Root(folder(path, 'sendFile'), { followSymlinks, now: () => clock.now() })
    this.#roots = (Array.isArray(root) ? root : [root]).map(rootOf)
    this.#prefixes = Object.entries(accel)
      .sort(([a], [b]) => b.length - a.length)
      .map(([prefix, path]) => {
        if (!prefix.startsWith('/') || !prefix.endsWith('/')) {
          throw new TypeError(
            `sendFile: accel has the prefix ${JSON.stringify(prefix)}, expected one that begins and ends with "/"`,
          )
        }
        return [Buffer.from(prefix).toString('latin1'), rootOf(path)] as const
      })
    if (this.#roots.length === 0 && this.#prefixes.length === 0) {
      throw new TypeError(
        'sendFile: expected root or accel, got neither: no file could be sent (sendFile({ root: "/srv/files" }))',
      )
    }
    this.#options = options
    this.#maxRanges = maxRanges
    this.#clock = clock
  }

  get acceptsPaths(): boolean {
    return this.#roots.length > 0
  }

  get acceptsUris(): boolean {
    return this.#prefixes.length > 0
  }

  /** @param headers the application's fields without those of `REPLACED` */
  answer(status: string, headers: Headers, path: string | undefined, uri: string | undefined): Application {
    const { log } = this.#options
    return async (environ, startResponse) => {
      try {
        const named = path === undefined ? this.#namedByUri(uri!) : await this.#namedByPath(path)
        if (named) return await this.#send(environ, startResponse, status, headers, named)
        warn(environ, log, { file: path ?? uri }, 'the application named a file outside the folders of sendFile')
        return statusPage(500)(environ, startResponse)
      } catch (error) {
        return answerRefusal(environ, startResponse, error, log, path ?? uri ?? '')
      }
    }
  }

  async #send(
    environ: Environ,
    startResponse: StartResponse,
    status: string,
    given: Headers,
    { root, segments }: FileInRoot,
  ): Promise<Body> {
    const found = segments.length === 0 ? undefined : await root.find(segments)
    if (found?.kind !== 'file') {
      const { log } = this.#options
      const file = segments.join('/')
      warn(environ, log, { file }, 'the application named a file that does not exist, or a link out of its folder')
      return statusPage(404)(environ, startResponse)
    }
    const { file } = found
    const headers = [...given]
    if (headerOf(headers, 'Content-Type') === undefined) {
      const extension = /[^.]\.([^.]+)$/.exec(segments.at(-1)!)?.[1]
      headers.unshift(['Content-Type', (extension && contentType(extension)) || 'application/octet-stream'])
    }
    // Conditions and ranges apply to GET (RFC 9110 §13.2.1): for other methods the application has acted already.
    const reads = environ.REQUEST_METHOD === 'GET' || environ.REQUEST_METHOD === 'HEAD'
    if (!reads || !status.startsWith('200')) return answerWholeFile(environ, startResponse, { file, headers }, status)
    const answer = { file, headers, variant: '', maxRanges: this.#maxRanges, now: this.#clock.wall() }
    return answerFile(environ, startResponse, answer)
  }

  async #namedByPath(field: string): Promise<FileInRoot | undefined> {
    const path = sep === '\\' ? percentDecoded(field).replaceAll('\\', '/') : percentDecoded(field)
    if (!isAbsolute(path)) return named(this.#roots[0]!, `/${path}`)
    for (const root of this.#roots) {
      const below = await root.relative(path)
      const found = below === undefined ? undefined : named(root, below)
      if (found) return found
    }
    return undefined
  }

  #namedByUri(field: string): FileInRoot | undefined {
    const path = percentDecoded(field.split('?', 1)[0]!)
    for (const [prefix, root] of this.#prefixes) {
      if (path.startsWith(prefix)) return named(root, path.slice(prefix.length - 1))
    }
    return undefined
  }
}

function named(root: Root, path: string): FileInRoot | undefined {
  const segments = segmentsOf(path, true)
  return segments && { root, segments }
}

/** Whether a path with `/` is absolute on this system. */
function isAbsolute(path: string): boolean {
  return path.startsWith('/') || (sep === '\\' && resolve(path).replaceAll('\\', '/') === path)
}

/** Percent-decodes, as nginx, lighttpd and mod_xsendfile do. Other `%` signs stay. */
function percentDecoded(value: string): string {
  return value.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
