/**
 * Compresses responses for the clients that accept it (RFC 9110 §12.5.3). It decides what is compressed and what becomes of the
 * fields; how bytes are compressed is `content-coding.ts`, how the contract is kept meanwhile is `filter-response.ts`.
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

export interface CompressOptions {
  /** What may be used, best first among those that the client likes alike. Default: `['br', 'zstd', 'gzip']`. */
  readonly encodings?: readonly Coding[]
  /**
   * Bodies whose length is known to be less stay as they are, bytes. Default 1024: they fit into one packet in any case, and the
   * fields that compression adds eat what it saves.
   */
  readonly threshold?: number
  /**
   * Effort. Default `{ br: 4, zstd: 3, gzip: 4 }`, for responses that are made once and read once: the next steps up take about twice the time
   * for some 5 % fewer bytes. What is compressed once and read often is better compressed beforehand.
   */
  readonly levels?: Partial<Levels>
  /** Whether a media type (lower case, without parameters) gains by compression. Default: `isCompressible`. */
  readonly compressible?: (type: string) => boolean
}

const DEFAULT_LEVELS: Levels = { br: 4, zstd: 3, gzip: 4 }
const DEFAULT_THRESHOLD = 1024

const OPTIONS: OptionForms<CompressOptions> = {
  encodings: form(`an array of some of ${codings.join(', ')}, best first`, isSomeCodings),
  threshold: form('a number of bytes, 0 to compress everything', (value) => typeof value === 'number' && value >= 0),
  levels: record('levels by coding'),
  compressible: callable('a function that says whether a media type gains by compression'),
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

/** Preferences of Accept-Encoding values that were seen: browsers send a handful. */
const REMEMBERED = 100

/** Fields that speak of the bytes as they were (RFC 9110 §14.3, RFC 9530; Content-MD5 and Digest are their older kin). */
const ABOUT_THE_BYTES = ['Content-Length', 'Accept-Ranges', 'Content-MD5', 'Digest', 'Content-Digest', 'Repr-Digest']

/** Types that are text under another name, or tables of numbers. Images, sound, video and archives are compressed already. */
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
 * Whether a media type gains by compression: text, JSON, XML, scripts, fonts that are not compressed themselves. Not
 * `text/event-stream`: its events are small and wait for nobody, and a proxy behind may buffer what it cannot read.
 *
 * @param type lower case, without parameters
 */
export function isCompressible(type: string): boolean {
  if (type.startsWith('text/')) return type !== 'text/event-stream'
  return COMPRESSIBLE.has(type) || /\+(?:json|xml|text|yaml)$/.test(type)
}

/**
 * Compresses by `br`, `zstd` or `gzip`, as Accept-Encoding's q-values say. A client that accepts none gets the body as it is, also
 * where it says `identity;q=0`: as other servers do, rather than a 406.
 *
 * A body that is all there is compressed whole and has a Content-Length; any other is flushed after each chunk, so that none waits
 * for the next. What is answered may differ, so `Vary` says `Accept-Encoding`. A strong ETag becomes weak, as nginx makes it: bytes
 * differ, so that it may not select ranges (`If-Range`) nor guard a write (`If-Match`), while `If-None-Match`, which compares weakly,
 * still finds it. Ranges are not offered for what is compressed here.
 *
 * Left alone: what has a Content-Encoding, `Cache-Control: no-transform` on either side, partial content, `text/event-stream`,
 * responses without content, upgrades, and what only names a file (`X-Sendfile`).
 *
 * **BREACH.** Where a page holds a secret and repeats what the request said, its compressed size tells the secret to who can see it and
 * make the client ask. Mask such secrets (as Django masks its CSRF token), or say `Cache-Control: no-transform` there.
 *
 * @throws TypeError for an option that is none
 */
export function compress(options: CompressOptions = {}): Middleware {
  checkOptions('compress', options, OPTIONS)
  const { encodings = codings, threshold = DEFAULT_THRESHOLD, compressible = isCompressible } = options
  if (options.levels) checkOptions('compress', options.levels, LEVELS, 'levels.')
  const levels = { ...DEFAULT_LEVELS, ...defined(options.levels ?? {}) }
  const preferred = preference(encodings)

  function decideFor(environ: Environ): Decide {
    // As the client sent them: middleware further in may take them from the application.
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
      // Where the application gave no length the gateway adds it, unless there are trailers.
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
  // A HEAD is answered with the fields of its GET.
  if (!hasContent('GET', status) || status.startsWith('206')) return false
  const encoding = headerOf(headers, 'content-encoding')
  if (encoding !== undefined && encoding.trim().toLowerCase() !== 'identity') return false
  if (headerOf(headers, 'content-range') !== undefined || namesFile(headers)) return false
  return !forbidsTransforming(headerOf(headers, 'cache-control'))
}

/** RFC 9111 §5.2.2.6; a request's: §5.2.1.6. */
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
 * A 304 names the stored response by its ETag, and a strong one would not find the weak one that the client has from us
 * (RFC 9111 §4.3.4): it is weak if the client's is.
 */
function weakenedAsKnown(headers: Headers, ifNoneMatch: unknown): Headers {
  const etag = headerOf(headers, 'etag')
  if (etag === undefined || etag.startsWith('W/') || typeof ifNoneMatch !== 'string') return headers
  const tags: readonly string[] = ifNoneMatch.match(/(?:W\/)?"[^"]*"/g) ?? []
  return tags.includes(`W/${etag}`) && !tags.includes(etag) ? withHeader(headers, 'ETag', `W/${etag}`) : headers
}

/** The library's since 1.0; its types have not followed. */
interface Preferring {
  encodings(available: readonly string[], options: { preferred: readonly string[] }): string[]
}

/** What to use for an Accept-Encoding; undefined for nothing. Without the field a client may know none of them. */
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
