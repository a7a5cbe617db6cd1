/**
 * Files that an application names and does not read: an answer with `X-Sendfile: /path` (Apache's mod_xsendfile, lighttpd) or
 * `X-Accel-Redirect: /prefix/name` (nginx) is answered with that file, by the process that is given the folder, under the application's own
 * type, disposition, cookies and caching. The application may be in another process, which reads no byte of it.
 *
 * Only files below the folders that are given are sent, whatever the application says. A field that is taken here does not reach a client.
 */

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

export interface SendFileOptions {
  /** Folders whose files `X-Sendfile` may name: by an absolute path, or by one below the first of them. */
  readonly root?: string | URL | readonly (string | URL)[]
  /** Prefixes of `X-Accel-Redirect`, and the folder that each stands for, as nginx's `location … { internal; alias …; }`. The longest counts. */
  readonly accel?: Readonly<Record<string, string | URL>>
  /** Send what links lead to outside of these folders. Default false. */
  readonly followSymlinks?: boolean
  /** Requests for more ranges than this get the whole file. Default 50, as of `staticFiles`. */
  readonly maxRanges?: number
  /** Default: lines on `wsgi.errors`. */
  readonly log?: Pick<Logger, 'warn'>
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
 * By these a front tells an application how it sends files, and by which names. Said by a client, they would have the front give what it
 * keeps for itself (CVE-2025-61780, of Rack::Sendfile).
 */
const NOT_FROM_CLIENTS = ['X-Sendfile-Type', 'X-Accel-Mapping']

/** The file's own, or of bytes that are not sent. */
const REPLACED = ['X-Sendfile', 'X-Accel-Redirect', 'Content-Length', 'Accept-Ranges', 'Content-Range']

/**
 * @throws TypeError for an option that is none, and a root that is no folder
 */
export function sendFile(options: SendFileOptions = {}): Middleware {
  checkOptions('sendFile', options, OPTIONS)
  const files = new NamedFiles(options)
  return (application) => (environ, startResponse) => {
    for (const name of NOT_FROM_CLIENTS) setHeader(environ, name, undefined)
    return filterResponse(application, environ, startResponse, (status, headers) => {
      const path = headerOf(headers, 'X-Sendfile')
      const uri = headerOf(headers, 'X-Accel-Redirect')
      if ((path === undefined || !files.takesPaths) && (uri === undefined || !files.takesUris))
        return { status, headers }
      const kept = withoutHeaders(headers, ...REPLACED)
      return { replace: files.answer(status, kept, files.takesPaths ? path : undefined, uri) }
    })
  }
}

/** A name that was found to be below a root. */
interface Named {
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
            `sendFile: accel has the prefix ${JSON.stringify(prefix)}: it is to begin and end with "/"`,
          )
        }
        return [Buffer.from(prefix).toString('latin1'), rootOf(path)] as const
      })
    if (this.#roots.length === 0 && this.#prefixes.length === 0) {
      throw new TypeError(
        'sendFile: neither root nor accel was given: no file could be sent (sendFile({ root: "/srv/files" }))',
      )
    }
    this.#options = options
    this.#maxRanges = maxRanges
    this.#clock = clock
  }

  get takesPaths(): boolean {
    return this.#roots.length > 0
  }

  get takesUris(): boolean {
    return this.#prefixes.length > 0
  }

  /** @param headers the application's, without what is not to be sent */
  answer(status: string, headers: Headers, path: string | undefined, uri: string | undefined): Application {
    return async (environ, startResponse) => {
      try {
        const named = path === undefined ? this.#namedByUri(uri!) : await this.#namedByPath(path)
        if (named) return await this.#send(environ, startResponse, status, headers, named)
        this.#warn(environ, path ?? uri, 'the application named a file outside of the folders that sendFile was given')
        return statusPage(500)(environ, startResponse)
      } catch (error) {
        return answerRefusal(environ, startResponse, error, this.#options.log, path ?? uri ?? '')
      }
    }
  }

  async #send(
    environ: Environ,
    startResponse: StartResponse,
    status: string,
    given: Headers,
    { root, segments }: Named,
  ): Promise<Body> {
    const found = segments.length === 0 ? undefined : await root.find(segments)
    if (found?.kind !== 'file') {
      this.#warn(
        environ,
        segments.join('/'),
        'the application named a file that is not there, or leads out of its folder',
      )
      return statusPage(404)(environ, startResponse)
    }
    const { file } = found
    const headers = [...given]
    if (headerOf(headers, 'Content-Type') === undefined) {
      const extension = /[^.]\.([^.]+)$/.exec(segments.at(-1)!)?.[1]
      headers.unshift(['Content-Type', (extension && contentType(extension)) || 'application/octet-stream'])
    }
    // Conditions and ranges are of what is read (RFC 9110 §13.2.1): the application has acted on anything else already.
    const reads = environ.REQUEST_METHOD === 'GET' || environ.REQUEST_METHOD === 'HEAD'
    if (!reads || !status.startsWith('200')) return answerWholeFile(environ, startResponse, { file, headers }, status)
    const answer = { file, headers, variant: '', maxRanges: this.#maxRanges, now: this.#clock.wall() }
    return answerFile(environ, startResponse, answer)
  }

  async #namedByPath(field: string): Promise<Named | undefined> {
    const path = sep === '\\' ? unescaped(field).replaceAll('\\', '/') : unescaped(field)
    if (!isAbsolute(path)) return named(this.#roots[0]!, `/${path}`)
    for (const root of this.#roots) {
      const below = await root.relative(path)
      const found = below === undefined ? undefined : named(root, below)
      if (found) return found
    }
    return undefined
  }

  #namedByUri(field: string): Named | undefined {
    const path = unescaped(field.split('?', 1)[0]!)
    for (const [prefix, root] of this.#prefixes) {
      if (path.startsWith(prefix)) return named(root, path.slice(prefix.length - 1))
    }
    return undefined
  }

  #warn(environ: Environ, file: string | undefined, message: string): void {
    warn(environ, this.#options.log, { file }, message)
  }
}

function named(root: Root, path: string): Named | undefined {
  const segments = segmentsOf(path, true)
  return segments && { root, segments }
}

/** By this system's rules, of a path with `/`. */
function isAbsolute(path: string): boolean {
  return path.startsWith('/') || (sep === '\\' && resolve(path).replaceAll('\\', '/') === path)
}

/** Percent-decoded, as nginx, lighttpd and mod_xsendfile do; what is no escape stays. */
function unescaped(value: string): string {
  return value.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
