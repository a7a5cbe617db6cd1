/**
 * XML responses through an XSLT 1.0 stylesheet. It decides which, and what becomes of the fields; the stylesheet is applied by
 * `xslt-engine.ts` in a thread of its own, by the optional library `xslt-processor`.
 */

import { readFileSync } from 'node:fs'
import Negotiator from 'negotiator'
import type { Application, Environ, Headers, Middleware } from '../../protocol/contract/application.ts'
import { setHeader } from '../../protocol/contract/request-headers.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import {
  aClock,
  callable,
  checkOptions,
  flag,
  form,
  isText,
  logger,
  type OptionForms,
  textOf,
  wholeNumber,
} from '../../protocol/options/check-options.ts'
import { type Decide, filterResponse, type Hold } from '../filter/filter-response.ts'
import { addVary, headerOf, mediaTypeOf, namesFile, withHeader, withoutHeaders } from '../shared/response-fields.ts'
import { workOwnerOf } from '../shared/work-owner.ts'
import type { Output, OutputMethod } from './xml-serialize.ts'
import { checkWellFormed, decodeXml } from './xml-text.ts'
import { type Parameters, XsltEngine } from './xslt-engine.ts'

export interface XsltOptions {
  /**
   * Media types that are transformed; one that begins with `+` stands for all that end so. Default: `['application/xml', 'text/xml']`: a
   * type with a name of its own (a feed, SVG, XHTML) is what its readers expect.
   */
  readonly types?: readonly string[]
  /** Transform only for clients that want HTML rather than the XML; `Vary` then says `Accept`. Default false: for all. */
  readonly negotiate?: boolean
  /** The stylesheet's parameters (`xsl:param`) for a request. Default: none. */
  readonly parameters?: (environ: Environ) => Parameters
  /** Content-Type of what is made. Default: as `xsl:output` says by `media-type` or `method`, in UTF-8. */
  readonly contentType?: string
  /**
   * Largest XML that is taken, bytes; more is answered by 502. Default 1 MiB: the whole document is held, a tree of it takes some fifty times as
   * much, and the library's time grows faster than its input.
   */
  readonly maxBytes?: number
  /** For one document, ms; longer is answered by 502, and the thread is ended. Default 10,000. */
  readonly timeout?: number
  /** Documents that may wait for the thread; more are answered by 503. Default 100: each holds up to `maxBytes`. */
  readonly maxQueue?: number
  /** Takes one line for each failure. Default: `wsgi.errors` of the request. */
  readonly log?: Pick<Logger, 'error'>
  /** Default: the system's. */
  readonly clock?: Clock
}

const TYPE = /^[a-z0-9.+-]+\/[a-z0-9.+-]+$|^\+[a-z]+$/

const OPTIONS: OptionForms<XsltOptions> = {
  types: form(
    'an array of media types in lower case, or suffixes such as "+xml"',
    (value) => Array.isArray(value) && value.length > 0 && value.every((type) => isText(type) && TYPE.test(type)),
  ),
  negotiate: flag,
  parameters: callable('a function of the environ that returns an object of them'),
  contentType: textOf('a media type of printable ASCII', /^[\x20-\x7e]+$/),
  maxBytes: wholeNumber(1, 'bytes'),
  timeout: wholeNumber(1, 'milliseconds'),
  maxQueue: wholeNumber(1),
  log: logger('error'),
  clock: aClock,
}

const XSLT = 'http://www.w3.org/1999/XSL/Transform'
/** Fields about the document as it was. Without knowing of the stylesheet's age its validators would find old pages fresh. */
const ABOUT_THE_DOCUMENT = [
  'Content-Length',
  'Content-Type',
  'ETag',
  'Last-Modified',
  'Accept-Ranges',
  'Content-MD5',
  'Digest',
  'Content-Digest',
  'Repr-Digest',
]

const CONTENT_TYPES: Readonly<Record<OutputMethod, string>> = {
  html: 'text/html',
  text: 'text/plain',
  xhtml: 'application/xhtml+xml',
  xml: 'application/xml',
}

/**
 * Answers XML through a stylesheet. The response is held until all of it has come: nothing of this streams. What fails (XML that is not
 * well-formed, a stylesheet that fails, too much, too long) is a 502 with one line in the log, never half a page.
 *
 * The stylesheet and its parameters are the deployment's, the XML may be anybody's: it is refused when it declares entities, its text
 * is escaped in what is made, and nothing can reach for files or the network (`document()` is empty, `xsl:include` and `xsl:import` are
 * refused). The application is not asked for a content coding, since it would have to be undone; `compress` belongs outside of this.
 *
 * Comments and processing instructions of the document are not seen by the stylesheet.
 *
 * Left alone: `Cache-Control: no-transform`, partial content, responses without content, what only names a file (`X-Sendfile`), other types. What is made has no ETag and no
 * Last-Modified, as nginx's xslt has none.
 *
 * @param stylesheet XSLT 1.0: its text (it begins with `<`), or the path or URL of its file, which is read at once
 * @throws TypeError for an option that is none, and for a stylesheet that is none
 * @throws Error `XSLT_MISSING` when xslt-processor is not installed
 */
export function xslt(stylesheet: string | URL, options: XsltOptions = {}): Middleware {
  checkOptions('xslt', options, OPTIONS)
  const { types = ['application/xml', 'text/xml'], negotiate = false, parameters, log } = options
  const { maxBytes = 1024 * 1024, timeout = 10_000, maxQueue = 100 } = options
  const text = read(stylesheet)
  const { output, mediaType } = inspected(text)
  assertInstalled()
  const contentType = options.contentType ?? `${mediaType ?? CONTENT_TYPES[output.method]}; charset=utf-8`
  const engine = new XsltEngine(text, output, { clock: options.clock ?? systemClock, timeout, maxQueue })

  function decideFor(environ: Environ, accept: unknown): Decide {
    return (status, headers) => {
      const type = mediaTypeOf(headers)
      const left = { status, headers }
      if (!type || !types.some((one) => (one.startsWith('+') ? type.endsWith(one) : one === type))) return left
      if (status.startsWith('206') || headerOf(headers, 'content-range') !== undefined) return left
      if (namesFile(headers)) return left
      if (/(?:^|[,\s])no-transform(?:$|[,\s])/i.test(headerOf(headers, 'cache-control') ?? '')) return left
      const varied = negotiate ? addVary(headers, 'Accept') : headers
      if (negotiate && !prefersHtml(accept, type)) return { status, headers: varied }
      const made: Headers = [['Content-Type', contentType], ...withoutHeaders(varied, ...ABOUT_THE_DOCUMENT)]
      return { status, headers: made, hold: new Document(environ, status, headers, made) }
    }
  }

  function failed(environ: Environ, error: unknown): Application {
    const code = (error as { code?: unknown }).code
    const message = `xslt: the response was not transformed: ${error instanceof Error ? error.message : String(error)}`
    if (log) log.error({ requestId: environ.gantry.requestId, code, url: environ.REQUEST_URI }, message)
    else environ['wsgi.errors'].write(`${message}\n`)
    return statusPage(code === 'XSLT_BUSY' ? 503 : 502)
  }

  /** The XML of one response, as it comes. */
  class Document implements Hold {
    readonly #environ: Environ
    readonly #status: string
    readonly #given: Headers
    readonly #made: Headers
    readonly #over = new AbortController()
    #chunks: Uint8Array[] = []
    #size = 0

    constructor(environ: Environ, status: string, given: Headers, made: Headers) {
      this.#environ = environ
      this.#status = status
      this.#given = given
      this.#made = made
    }

    push(chunk: Uint8Array): Application | undefined {
      this.#size += chunk.length
      if (this.#size <= maxBytes) {
        this.#chunks.push(chunk)
        return undefined
      }
      this.#chunks = []
      const error = Object.assign(new Error(`it has more than ${maxBytes} bytes (maxBytes)`), {
        code: 'XSLT_TOO_LARGE',
      })
      return failed(this.#environ, error)
    }

    async end(): Promise<Application> {
      try {
        const coding = headerOf(this.#given, 'content-encoding')
        if (coding !== undefined && coding.trim().toLowerCase() !== 'identity') {
          throw Object.assign(new Error(`it has the content coding ${JSON.stringify(coding)}`), {
            code: 'XSLT_ENCODED',
          })
        }
        const xml = decodeXml(Buffer.concat(this.#chunks), headerOf(this.#given, 'content-type'))
        this.#chunks = []
        const owner = workOwnerOf(this.#environ, this.#over.signal)
        const result = await engine.transform(xml, parameters?.(this.#environ) ?? {}, owner)
        const body = Buffer.from(result)
        const headers = withHeader(this.#made, 'Content-Length', String(body.length))
        return (_, startResponse) => {
          startResponse(this.#status, headers)
          return [body]
        }
      } catch (error) {
        // Nobody reads the answer, and nothing has failed.
        if (this.#over.signal.aborted) return statusPage(502)
        return failed(this.#environ, error)
      }
    }

    close(): void {
      this.#chunks = []
      this.#over.abort()
    }
  }

  return (application) => (environ, startResponse) => {
    const accept = environ['HTTP_ACCEPT']
    setHeader(environ, 'Accept-Encoding', undefined)
    return filterResponse(application, environ, startResponse, decideFor(environ, accept))
  }
}

/** By name: who takes anything is not taken for a browser. */
function prefersHtml(accept: unknown, type: string): boolean {
  if (typeof accept !== 'string') return false
  return new Negotiator({ headers: { accept } }).mediaType([type, 'text/html']) === 'text/html'
}

function read(stylesheet: string | URL): string {
  if (typeof stylesheet === 'string' && /^\uFEFF?\s*</.test(stylesheet)) return stylesheet
  if ((typeof stylesheet !== 'string' || stylesheet === '') && !(stylesheet instanceof URL)) {
    throw new TypeError(`xslt: the stylesheet is ${JSON.stringify(stylesheet)}: give its text, or the path of its file`)
  }
  try {
    return decodeXml(readFileSync(stylesheet), undefined)
  } catch (error) {
    throw new TypeError(`xslt: the stylesheet ${String(stylesheet)} cannot be read: ${(error as Error).message}`)
  }
}

/** What the stylesheet says of its output, once it is seen to be one that can be applied. */
function inspected(text: string): { output: Output; mediaType: string | undefined } {
  let prefix: string | undefined
  let html = false
  const said = new Map<string, string>()
  const refuse = (why: string): never => {
    throw new TypeError(`xslt: the stylesheet ${why}`)
  }
  try {
    checkWellFormed(text, (name, attributes, depth) => {
      const [before, local] = name.includes(':') ? (name.split(':', 2) as [string, string]) : ['', name]
      if (depth === 0) {
        for (const [attribute, value] of attributes) {
          if (value === XSLT && attribute.startsWith('xmlns')) prefix = attribute.slice(6)
        }
        if (before !== prefix || (local !== 'stylesheet' && local !== 'transform')) {
          refuse(`begins with <${name}>: expected an xsl:stylesheet of the namespace ${XSLT}`)
        }
      } else if (before === prefix && (local === 'include' || local === 'import')) {
        refuse(`has ${name}, which would read another file while it is applied: put all of it into one stylesheet`)
      } else if (before === prefix && local === 'output' && depth === 1) {
        for (const [attribute, value] of attributes) said.set(attribute, value)
      } else if (before === '' && local.toLowerCase() === 'html') html = true
    })
  } catch (error) {
    if (error instanceof TypeError) throw error
    refuse(`is not well-formed: ${(error as Error).message}`)
  }
  const method = said.get('method') ?? (html ? 'html' : 'xml')
  if (!(method in CONTENT_TYPES)) {
    refuse(`has the output method ${JSON.stringify(method)}: there are ${Object.keys(CONTENT_TYPES).join(', ')}`)
  }
  const output: Output = {
    method: method as OutputMethod,
    omitDeclaration: said.get('omit-xml-declaration') === 'yes',
    doctypePublic: said.get('doctype-public'),
    doctypeSystem: said.get('doctype-system'),
  }
  return { output, mediaType: said.get('media-type') }
}

function assertInstalled(): void {
  try {
    import.meta.resolve('xslt-processor')
  } catch (cause) {
    const message = 'xslt: the library xslt-processor is not installed: npm install xslt-processor@5'
    throw Object.assign(new Error(message, { cause }), { code: 'XSLT_MISSING' })
  }
}
