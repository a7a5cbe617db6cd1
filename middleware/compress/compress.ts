/**
 * Compresses responses for clients that accept it (RFC 9110 §12.5.3). Decides what is compressed and how the fields
 * change; `content-coding.ts` compresses the bytes, `filter-response.ts` keeps the contract.
 */

import Negotiator from 'negotiator'
import type { Application, Environ, Headers, Middleware } from '../../protocol/contract/application.ts'
import {
  callable,
  checkOptions,
  defined,
  form,
  type OptionForm,
  type OptionForms,
  record,
  wholeNumber,
} from '../../protocol/options/check-options.ts'
import { type Decide, type FilterDecision, filterResponse } from '../filter/filter-response.ts'
import {
  addVary,
  hasContent,
  headerOf,
  mediaTypeOf,
  namesFile,
  withHeader,
  withoutHeaders,
} from '../shared/response-fields.ts'
import { type Coding, CompressStream, codings, compressWhole, type Levels, levelRanges } from './content-coding.ts'

/** The options of `compress`. */
export interface CompressOptions {
  /**
   * The content codings to use; the order decides between codings that the client accepts equally. Default: `['br',
   * 'zstd', 'gzip']`.
   */
  readonly encodings?: readonly Coding[]
  /**
   * Shorter bodies of known length are not compressed, bytes. Default 1024: such a body fits into one packet in any
   * case, and the additional fields cost what compression saves.
   */
  readonly threshold?: number
  /**
   * Compression levels. Default `{ br: 4, zstd: 3, gzip: 4 }`, for responses that are generated and read once: the next
   * levels take about twice the time for about 5 % fewer bytes. Compress files that are read often in advance.
   */
  readonly levels?: Partial<Levels>
  /**
   * Returns whether a media type (lower case, without parameters) becomes smaller by compression. Default:
   * `isCompressible`.
   */
  readonly compressible?: (type: string) => boolean
}

const DEFAULT_LEVELS: Levels = { br: 4, zstd: 3, gzip: 4 }
const DEFAULT_THRESHOLD = 1024

const OPTIONS: OptionForms<CompressOptions> = {
  encodings: form(`an array of some of ${codings.join(', ')}, best first`, isSomeCodings),
  threshold: form('a number of bytes, 0 to compress everything', (value) => typeof value === 'number' && value >= 0),
  levels: record('levels by coding'),
  compressible: callable('a function that returns whether a media type becomes smaller by compression'),
}

const level = ([least, most]: readonly [number, number]): OptionForm<number> => wholeNumber(least, undefined, most)

const LEVELS: OptionForms<Levels> = {
  br: level(levelRanges.br),
  zstd: level(levelRanges.zstd),
  gzip: level(levelRanges.gzip),
}

function isSomeCodings(value: unknown): boolean {
  const known: readonly unknown[] = codings
  return Array.isArray(value) && value.length > 0 && value.every((name) => known.includes(name))
}

/** Number of Accept-Encoding values whose result is cached: browsers send a handful. */
const REMEMBERED = 100

/** Fields that describe the uncompressed bytes (RFC 9110 §14.3, RFC 9530; Content-MD5 and Digest are older forms). */
const ABOUT_THE_BYTES = ['Content-Length', 'Accept-Ranges', 'Content-MD5', 'Digest', 'Content-Digest', 'Repr-Digest']

/**
 * Types that are text under another name, or tables of numbers. Images, sound, video and archives are compressed
 * already.
 */
const COMPRESSIBLE: ReadonlySet<string> = new Set([
  'application/dash+xml',
  'application/ecmascript',
  'application/graphql',
  'application/javascript',
  'application/json',
  'application/jsonlines',
  'application/json5',
  'application/ndjson',
  'application/pgp-signature',
  'application/postscript',
  'application/rtf',
  'application/sql',
  'application/toml',
  'application/vnd.apple.mpegurl',
  'application/vnd.mapbox-vector-tile',
  'application/vnd.ms-fontobject',
  'application/wasm',
  'application/x-javascript',
  'application/x-ndjson',
  'application/x-sh',
  'application/x-web-app-manifest+json',
  'application/x-www-form-urlencoded',
  'application/x-yaml',
  'application/xml',
  'application/xml-dtd',
  'application/yaml',
  'font/collection',
  'font/otf',
  'font/ttf',
  'image/bmp',
  'image/vnd.microsoft.icon',
  'image/x-icon',
  'model/gltf-binary',
])

/**
 * Returns whether a media type becomes smaller by compression: text, JSON, XML, scripts, fonts without compression of
 * their own. Not `text/event-stream`: its events are small and must be sent at once, and a proxy outside may buffer
 * what it cannot read.
 *
 * @param type lower case, without parameters
 * @example
 * ```ts
 * import { compress, isCompressible } from 'gantry/middleware'
 *
 * export const middleware = compress({
 *   compressible: (type) => isCompressible(type) || type === 'application/x-tiles',
 * })
 * ```
 */
export function isCompressible(type: string): boolean {
  if (type.startsWith('text/')) return type !== 'text/event-stream'
  return COMPRESSIBLE.has(type) || /\+(?:json|xml|text|yaml)$/.test(type)
}

/**
 * Compresses responses with `br`, `zstd` or `gzip`, by the q-values of Accept-Encoding. A client that accepts none of
 * them gets the body unchanged, also with `identity;q=0`: like other servers, not with a 406.
 *
 * A complete body is compressed as a whole and gets a Content-Length. Any other body is flushed after each chunk, so
 * that no chunk waits for the next. `Vary` gets `Accept-Encoding`. A strong ETag becomes weak, as in nginx, because the
 * bytes differ: it then cannot select ranges (`If-Range`) or guard a write (`If-Match`), but `If-None-Match`, a weak
 * comparison, still matches. Compressed responses offer no ranges.
 *
 * Not compressed: responses with a Content-Encoding, with `Cache-Control: no-transform` (also of the request), partial
 * content, `text/event-stream`, responses without content, upgrades, and responses that name a file (`X-Sendfile`).
 *
 * **BREACH.** If a page contains a secret and repeats parts of the request, its compressed size reveals the secret to
 * an attacker who can see the size and make the client send requests. Mask such secrets (as Django masks its CSRF
 * token), or set `Cache-Control: no-transform` on such pages.
 *
 * @throws TypeError if an option is unknown or invalid
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { compress } from 'gantry/middleware'
 *
 * const page: Application = (_environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/html']])
 *   return [Buffer.from(`<!doctype html>${'<p>Hello'.repeat(1_000)}`)]
 * }
 * export const application: Application = compress()(page)
 * ```
 */
export function compress(options: CompressOptions = {}): Middleware {
  checkOptions('compress', options, OPTIONS)
  const { encodings = codings, threshold = DEFAULT_THRESHOLD, compressible = isCompressible } = options
  if (options.levels) checkOptions('compress', options.levels, LEVELS, 'levels.')
  const levels = { ...DEFAULT_LEVELS, ...defined(options.levels ?? {}) }
  const preferred = preference(encodings)

  function decideFor(environ: Environ): Decide {
    // Read before the call: inner middleware may remove these fields.
    const accepted = environ['HTTP_ACCEPT_ENCODING']
    const known = environ['HTTP_IF_NONE_MATCH']
    const forbidden = forbidsTransforming(environ['HTTP_CACHE_CONTROL'])
    return (status, headers): FilterDecision => {
      if (status.startsWith('304')) return { status, headers: weakenedAsKnown(headers, known) }
      const left: FilterDecision = { status, headers }
      if (forbidden || !mayChange(status, headers)) return left
      const type = mediaTypeOf(headers)
      if (!type || !compressible(type)) return left
      const length = headerOf(headers, 'content-length')
      if (length !== undefined && Number(length) < threshold) return left
      const varied = addVary(headers, 'Accept-Encoding')
      const coding = preferred(accepted)
      if (!coding) return { status, headers: varied }
      const coded = codedHeaders(varied, coding)
      return {
        status,
        headers: coded,
        filter: new CompressStream(coding, levels[coding]),
        whole: (body) => whole(body, coding, status, varied, coded),
      }
    }
  }

  function whole(
    body: Uint8Array,
    coding: Coding,
    status: string,
    plain: Headers,
    coded: Headers,
  ): Application | Promise<Application> {
    if (body.length < threshold) return answer(status, plain, body)
    const compressed = compressWhole(body, coding, levels[coding])
    const choose = (smaller: Uint8Array): Application => {
      if (smaller.length >= body.length) return answer(status, plain, body)
      // If the application set no length, the gateway adds it, unless there are trailers.
      const sized = headerOf(plain, 'content-length') !== undefined
      return answer(status, sized ? withHeader(coded, 'Content-Length', String(smaller.length)) : coded, smaller)
    }
    return compressed instanceof Promise ? compressed.then(choose) : choose(compressed)
  }

  return (application) => (environ, startResponse) =>
    filterResponse(application, environ, startResponse, decideFor(environ))
}

function answer(status: string, headers: Headers, body: Uint8Array): Application {
  return (_, startResponse) => {
    startResponse(status, headers)
    return [body]
  }
}

function mayChange(status: string, headers: Headers): boolean {
  // HEAD gets the fields of its GET.
  if (!hasContent('GET', status) || status.startsWith('206')) return false
  const encoding = headerOf(headers, 'content-encoding')
  if (encoding !== undefined && encoding.trim().toLowerCase() !== 'identity') return false
  if (headerOf(headers, 'content-range') !== undefined || namesFile(headers)) return false
  return !forbidsTransforming(headerOf(headers, 'cache-control'))
}

/** `no-transform` (RFC 9111 §5.2.2.6; in a request: §5.2.1.6). */
function forbidsTransforming(cacheControl: unknown): boolean {
  return typeof cacheControl === 'string' && /(?:^|[,\s])no-transform(?:$|[,\s])/i.test(cacheControl)
}

function codedHeaders(headers: Headers, coding: Coding): Headers {
  const coded = withHeader(withoutHeaders(headers, ...ABOUT_THE_BYTES), 'Content-Encoding', coding)
  const etag = headerOf(coded, 'etag')
  return etag === undefined ? coded : withHeader(coded, 'ETag', weak(etag))
}

function weak(etag: string): string {
  return etag.startsWith('W/') ? etag : `W/${etag}`
}

/**
 * A 304 identifies the stored response by its ETag. A strong tag would not match the weak one that the client got from
 * this middleware (RFC 9111 §4.3.4): the tag becomes weak if the client's is weak.
 */
function weakenedAsKnown(headers: Headers, ifNoneMatch: unknown): Headers {
  const etag = headerOf(headers, 'etag')
  if (etag === undefined || etag.startsWith('W/') || typeof ifNoneMatch !== 'string') return headers
  const tags: readonly string[] = ifNoneMatch.match(/(?:W\/)?"[^"]*"/g) ?? []
  return tags.includes(`W/${etag}`) && !tags.includes(etag) ? withHeader(headers, 'ETag', `W/${etag}`) : headers
}

/** The signature of negotiator since 1.0; its types lack it. */
interface Preferring {
  encodings(available: readonly string[], options: { preferred: readonly string[] }): string[]
}

/**
 * Returns the coding for an Accept-Encoding; undefined for none. Without the field a client may understand none of
 * them.
 */
function preference(encodings: readonly Coding[]): (accepted: unknown) => Coding | undefined {
  const remembered = new Map<string, Coding | undefined>()
  const available = [...encodings, 'identity']
  return (accepted) => {
    if (typeof accepted !== 'string' || accepted === '') return undefined
    if (remembered.has(accepted)) return remembered.get(accepted)
    // x-gzip is gzip's older name (RFC 9110 §8.4.1.3).
    const headers = { 'accept-encoding': accepted.replace(/\bx-gzip\b/gi, 'gzip') }
    const best = (new Negotiator({ headers }) as unknown as Preferring).encodings(available, {
      preferred: encodings,
    })[0]
    const coding = best === 'identity' ? undefined : (best as Coding | undefined)
    if (remembered.size < REMEMBERED && accepted.length < 256) remembered.set(accepted, coding)
    return coding
  }
}
