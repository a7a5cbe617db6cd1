/**
 * Transforms XML responses with an XSLT 1.0 stylesheet. Decides which responses, and how their fields change;
 * `xslt-engine.ts` applies the stylesheet in a thread, with the optional library `xslt-processor`.
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

/** The options of `xslt`. */
export interface XsltOptions {
  /**
   * Media types to transform; `+xml` stands for all types that end in it. Default: `['application/xml', 'text/xml']`:
   * clients that request a more specific type (a feed, SVG, XHTML) expect that type.
   */
  readonly types?: readonly string[]
  /**
   * Whether to transform only for clients that prefer HTML to the XML; `Vary` then names `Accept`. Default false: for
   * all clients.
   */
  readonly negotiate?: boolean
  /** Returns the stylesheet's parameters (`xsl:param`) for a request. Default: none. */
  readonly parameters?: (environ: Environ) => Parameters
  /** Content-Type of the result. Default: from `media-type` or `method` of `xsl:output`, in UTF-8. */
  readonly contentType?: string
  /**
   * Largest XML document, bytes; a larger one is answered 502. Default 1 MiB: the whole document is in memory, its tree
   * takes about fifty times as much, and the library's time grows faster than its input.
   */
  readonly maxBytes?: number
  /** Timeout of one transformation, ms; after it the answer is 502, and the thread is replaced. Default 10,000. */
  readonly timeout?: number
  /**
   * Largest number of documents that wait for the thread; further ones are answered 503. Default 100: each holds up to
   * `maxBytes`.
   */
  readonly maxQueue?: number
  /** The log for failed transformations. Default: `wsgi.errors` of the request. */
  readonly log?: Pick<Logger, 'error'>
  /** The clock, for tests. Default: the system clock. */
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
/**
 * Fields that describe the original document. A validator does not know when the stylesheet changed, and would make old
 * pages look fresh.
 */
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
 * Transforms XML responses with an XSLT 1.0 stylesheet. Needs the optional package `xslt-processor`.
 *
 * The response is held until its XML is complete: it does not stream. A failure (XML that is not well-formed, a
 * stylesheet that fails, a limit) is answered 502 with one log line, never with half a page.
 *
 * The stylesheet and its parameters are trusted, the XML is not: XML that declares entities is refused, its text is
 * escaped in the result, and nothing can read files or the network (`document()` is empty, `xsl:include` and
 * `xsl:import` are refused). Comments and processing instructions of the document are not visible to the stylesheet.
 * The application gets no Accept-Encoding, because its coding would have to be undone: put `compress` outside this
 * middleware.
 *
 * Not transformed: responses with `Cache-Control: no-transform`, partial content, responses without content, responses
 * that name a file (`X-Sendfile`), other types. The result has no ETag and no Last-Modified, as with nginx's xslt.
 *
 * @param stylesheet XSLT 1.0: its text (which begins with `<`), or the path or URL of its file, which is read at once
 * @throws TypeError if an option is unknown or the stylesheet is invalid
 * @throws Error `XSLT_MISSING` if xslt-processor is not installed
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { xslt } from 'gantry/middleware'
 *
 * const stylesheet = `<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
 *   <xsl:output method="html"/>
 *   <xsl:template match="/news"><h1><xsl:value-of select="title"/></h1></xsl:template>
 * </xsl:stylesheet>`
 * const news: Application = (_environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'application/xml']])
 *   return [Buffer.from('<news><title>Hello</title></news>')]
 * }
 * export const application: Application = xslt(stylesheet)(news)
 * ```
 */
export function xslt(stylesheet: string | URL, options: XsltOptions = {}): Middleware {
  checkOptions('xslt', options, OPTIONS)
  const { types = ['application/xml', 'text/xml'], negotiate = false, parameters, log } = options
  const { maxBytes = 1024 * 1024, timeout = 10_000, maxQueue = 100 } = options
  const text = read(stylesheet)
  const { output, mediaType } = inspectStylesheet(text)
  assertInstalled()
  const contentType = options.contentType ?? `${mediaType ?? CONTENT_TYPES[output.method]}; charset=utf-8`
  const engine = new XsltEngine(text, output, { clock: options.clock ?? systemClock, timeout, maxQueue })

  function decideFor(environ: Environ, accept: unknown): Decide {
    return (status, headers) => {
      const type = mediaTypeOf(headers)
      const unchanged = { status, headers }
      if (!type || !types.some((known) => (known.startsWith('+') ? type.endsWith(known) : known === type)))
        return unchanged
      if (status.startsWith('206') || headerOf(headers, 'content-range') !== undefined) return unchanged
      if (namesFile(headers)) return unchanged
      if (/(?:^|[,\s])no-transform(?:$|[,\s])/i.test(headerOf(headers, 'cache-control') ?? '')) return unchanged
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

  /** Collects the XML of one response. */
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
      const error = Object.assign(new Error(`the document has more than ${maxBytes} bytes (maxBytes)`), {
        code: 'XSLT_TOO_LARGE',
      })
      return failed(this.#environ, error)
    }

    async end(): Promise<Application> {
      try {
        const coding = headerOf(this.#given, 'content-encoding')
        if (coding !== undefined && coding.trim().toLowerCase() !== 'identity') {
          throw Object.assign(new Error(`the document has the content coding ${JSON.stringify(coding)}`), {
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
        // The client has disconnected: the answer is not sent, and there is no failure to log.
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

/** Whether the client prefers HTML by name: a client that accepts every type is not a browser. */
function prefersHtml(accept: unknown, type: string): boolean {
  if (typeof accept !== 'string') return false
  return new Negotiator({ headers: { accept } }).mediaType([type, 'text/html']) === 'text/html'
}

function read(stylesheet: string | URL): string {
  if (typeof stylesheet === 'string' && /^\uFEFF?\s*</.test(stylesheet)) return stylesheet
  if ((typeof stylesheet !== 'string' || stylesheet === '') && !(stylesheet instanceof URL)) {
    throw new TypeError(
      `xslt: the stylesheet is ${JSON.stringify(stylesheet)}, expected its text or the path of its file`,
    )
  }
  try {
    return decodeXml(readFileSync(stylesheet), undefined)
  } catch (error) {
    throw new TypeError(`xslt: the stylesheet ${String(stylesheet)} cannot be read: ${(error as Error).message}`)
  }
}

/** Checks the stylesheet and returns what it says about its output. */
function inspectStylesheet(text: string): { output: Output; mediaType: string | undefined } {
  let prefix: string | undefined
  let html = false
  const outputAttributes = new Map<string, string>()
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
        refuse(`has ${name}, which would read another file during a request: put everything into one stylesheet`)
      } else if (before === prefix && local === 'output' && depth === 1) {
        for (const [attribute, value] of attributes) outputAttributes.set(attribute, value)
      } else if (before === '' && local.toLowerCase() === 'html') html = true
    })
  } catch (error) {
    if (error instanceof TypeError) throw error
    refuse(`is not well-formed: ${(error as Error).message}`)
  }
  const method = outputAttributes.get('method') ?? (html ? 'html' : 'xml')
  if (!(method in CONTENT_TYPES)) {
    refuse(`has the output method ${JSON.stringify(method)}: there are ${Object.keys(CONTENT_TYPES).join(', ')}`)
  }
  const output: Output = {
    method: method as OutputMethod,
    omitDeclaration: outputAttributes.get('omit-xml-declaration') === 'yes',
    doctypePublic: outputAttributes.get('doctype-public'),
    doctypeSystem: outputAttributes.get('doctype-system'),
  }
  return { output, mediaType: outputAttributes.get('media-type') }
}

function assertInstalled(): void {
  try {
    import.meta.resolve('xslt-processor')
  } catch (cause) {
    const message = 'xslt: the library xslt-processor is not installed: npm install xslt-processor@5'
    throw Object.assign(new Error(message, { cause }), { code: 'XSLT_MISSING' })
  }
}
