/**
 * Adds pages to errors that have none: empty 4xx and 5xx responses, and applications that throw before their head. A
 * body that the application sends with an error stays, unless `replace` is set. `custom-pages.ts` has the site's own
 * pages.
 */

import type {
  Application,
  Body,
  Environ,
  Headers,
  Middleware,
  StartResponse,
  Write,
} from '../../protocol/contract/application.ts'
import { ApplicationBody } from '../../protocol/contract/application-body.ts'
import { AbortError, HttpError } from '../../protocol/contract/errors.ts'
import { textOfThrown } from '../../protocol/contract/thrown.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { yieldToEventLoop } from '../../protocol/net/event-loop.ts'
import { checkOptions, flag, logger, type OptionForms, record } from '../../protocol/options/check-options.ts'
import { headerOf } from '../shared/response-fields.ts'
import { CustomPages, type OriginalRequest, type PageKey } from './custom-pages.ts'

/** The options of `errorPage`. */
export interface ErrorPageOptions {
  /**
   * The site's own pages by status (`404`) or class (`'5xx'`). Default: the plain page.
   *
   * - The path of a file of at most 1 MiB, which is read at once and whose name tells its type. Clients that prefer
   *   JSON to HTML get JSON instead, unless the file is JSON.
   * - An application, which is called with GET (or HEAD) and `REDIRECT_STATUS` set to the status, as Apache's
   *   ErrorDocument does. Whatever status it answers with, the client gets the status of the error.
   */
  readonly pages?: Readonly<Partial<Record<PageKey, string | Application>>> | undefined
  /**
   * Whether bodies that the application sends with an error are replaced too, as nginx's proxy_intercept_errors does.
   * Default false.
   */
  readonly replace?: boolean | undefined
  /** The log for errors of applications, which clients are not shown. Default: `wsgi.errors` of the request. */
  readonly log?: Pick<Logger, 'debug' | 'warn' | 'error'> | undefined
}

const OPTIONS: OptionForms<ErrorPageOptions> = {
  pages: record('paths or applications by status'),
  replace: flag,
  log: logger('debug', 'warn', 'error'),
}

/**
 * Answers errors that have no body with a page, and logs what the application threw.
 *
 * `statusPage(status)` of `gantry` is the plain page of one status as an application.
 *
 * @throws TypeError if an option is unknown or invalid, a status is not an error, a page is neither a path nor an
 *   application, or a file cannot be read
 * @example
 * ```ts
 * import { type Application, HttpError } from 'gantry'
 * import { compose, errorPage } from 'gantry/middleware'
 *
 * const missing: Application = (_environ, startResponse) => {
 *   startResponse('404 Not Found', [['Content-Type', 'text/html']])
 *   return [Buffer.from('<!doctype html><title>Not found</title><p>There is no such page.')]
 * }
 * const shop: Application = () => {
 *   throw new HttpError(404, 'NO_SUCH_ITEM', 'the item does not exist')
 * }
 * export const application: Application = compose(errorPage({ pages: { 404: missing } }), shop)
 * ```
 */
export function errorPage(options: ErrorPageOptions = {}): Middleware {
  checkOptions('errorPage', options, OPTIONS)
  const pages = new CustomPages(options.pages ?? {})
  const { replace = false, log } = options
  return (application) => (environ, startResponse) =>
    new ErrorPageResponse({ pages, replace, log }, environ, startResponse).run(application)
}

interface ErrorPageSettings {
  readonly pages: CustomPages
  readonly replace: boolean
  readonly log: Pick<Logger, 'debug' | 'warn' | 'error'> | undefined
}

class ErrorPageResponse {
  readonly #shared: ErrorPageSettings
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  /** The request before inner middleware edits its environ. */
  readonly #original: OriginalRequest
  /** 0 before the application's head. */
  #code = 0
  #status = ''
  #headers: Headers = []
  /** Whether the head was sent, or is about to be: later errors are not handled here. */
  #isSent = false
  /** Whether written bytes were dropped: for the application its head is sent. */
  #hasDroppedBytes = false
  readonly #open: ApplicationBody = new ApplicationBody()
  readonly #page: ApplicationBody = new ApplicationBody()
  /** Resolves when the application's body is closed, after a page has replaced it. */
  #closing: Promise<void> | undefined
  #closed = false

  constructor(shared: ErrorPageSettings, environ: Environ, startResponse: StartResponse) {
    this.#shared = shared
    this.#environ = environ
    this.#startResponse = startResponse
    const { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING, gantry } = environ
    this.#original = { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING, gantry }
  }

  run(application: Application): Body | Promise<Body> {
    let given: Body | Promise<Body>
    try {
      given = application(this.#environ, (status, headers, excInfo) => this.#start(status, headers, excInfo))
    } catch (error) {
      return this.#failed(error)
    }
    if (typeof (given as Promise<Body>)?.then !== 'function') return this.#body(given as Body)
    return (given as Promise<Body>).then(
      (body) => this.#body(body),
      (error: unknown) => this.#failed(error),
    )
  }

  #start(status: string, headers: Headers, excInfo: unknown): Write {
    // Without the dropped bytes a further body would look complete.
    if (this.#hasDroppedBytes && excInfo !== undefined && excInfo !== null) throw excInfo
    const write = this.#startResponse(status, headers, excInfo)
    this.#code = Number(status.slice(0, 3))
    this.#status = status
    this.#headers = headers
    return (chunk) => {
      // The response is replaced: the page follows when the application returns.
      if (this.#isReplaced) {
        this.#hasDroppedBytes = true
        return yieldToEventLoop()
      }
      this.#isSent = true
      return write(chunk)
    }
  }

  get #isError(): boolean {
    return this.#code >= 400
  }

  /** Whether a response without bytes has no content, and is not the answer to a HEAD whose GET has content. */
  get #isEmpty(): boolean {
    if (this.#original.REQUEST_METHOD !== 'HEAD') return true
    const length = headerOf(this.#headers, 'content-length')
    return length === undefined ? headerOf(this.#headers, 'content-type') === undefined : length === '0'
  }

  get #isReplaced(): boolean {
    return this.#shared.replace && this.#isError && !this.#isSent
  }

  #body(body: Body): Body | Promise<Body> {
    if (typeof body !== 'object' || body === null || this.#isSent) return body
    if (Array.isArray(body)) {
      const empty = body.every((chunk: unknown) => chunk instanceof Uint8Array && chunk.length === 0)
      if (!this.#isReplaced && !(this.#isError && empty && this.#isEmpty)) return body
      if (typeof (body as Body).close !== 'function') return this.#answer(this.#status, this.#headers)
    }
    // The response has begun and is not an error; if it fails, the plain page of the gateway is the answer in any case.
    if (this.#code !== 0 && !this.#isError && !this.#shared.pages.hasOwn) return body
    this.#open.give(body)
    return {
      [Symbol.asyncIterator]: () => this.#iterate(),
      close: () => this.#close(),
    }
  }

  #iterate(): AsyncIterator<Uint8Array> {
    const iterator = this.#open.iterate()
    return {
      next: async () => {
        if (this.#page.given) return step(this.#page)
        if (this.#isReplaced) return this.#switchToPage(() => this.#answer(this.#status, this.#headers))
        let result: IteratorResult<Uint8Array>
        try {
          result = await iterator.next()
        } catch (error) {
          this.#open.iterator = undefined
          if (this.#isSent) throw error
          return this.#switchToPage(() => this.#failed(error))
        }
        if (result.done) {
          this.#open.iterator = undefined
          if (this.#isSent || !this.#isError || !this.#isEmpty) return result
          return this.#switchToPage(() => this.#answer(this.#status, this.#headers))
        }
        // The application may have called startResponse in this step.
        if (this.#isReplaced) return this.#switchToPage(() => this.#answer(this.#status, this.#headers))
        if ((result.value as Uint8Array | undefined)?.length !== 0) this.#isSent = true
        return result
      },
      return: async () => {
        const current = this.#page.given ? this.#page : this.#open
        const { iterator } = current
        current.iterator = undefined
        await iterator?.return?.()
        return { done: true, value: undefined }
      },
    }
  }

  /**
   * Switches from the application's body to a page. The body is closed, but its client does not wait for that: after a
   * deadline (`timeout`) closing may take long.
   */
  async #switchToPage(answer: () => Body | Promise<Body>): Promise<IteratorResult<Uint8Array>> {
    this.#closing = this.#open.close(this.#closeFailed)
    this.#page.give(await answer())
    if (this.#closed) {
      // The response was closed while the page was prepared.
      await this.#page.close(this.#closeFailed)
      return { done: true, value: undefined }
    }
    this.#page.iterate()
    return step(this.#page)
  }

  async #close(): Promise<void> {
    const failures: unknown[] = []
    this.#closed = true
    if (this.#page.given) await this.#page.close((error) => failures.push(error))
    await this.#closing
    await this.#open.close((error) => failures.push(error))
    if (failures.length > 0) throw failures[0]
  }

  // ---- the answer ---------------------------------------------------------------------------------------------------

  /** Answers for an application that threw. Rethrows the error if the head was sent. */
  #failed(error: unknown): Body | Promise<Body> {
    if (this.#isSent || (error instanceof AbortError && this.#original.gantry.signal.aborted)) throw error
    const isIntended = error instanceof HttpError && error.status >= 400 && error.status <= 599
    this.#logFailure(error)
    const headers: Headers = isIntended ? error.headers.map(([name, value]) => [name, value]) : []
    return this.#answer(String(isIntended ? error.status : 500), headers, error)
  }

  /** Answers with the page, and replaces a head that was not sent. */
  #answer(status: string, headers: Headers, error?: unknown): Body | Promise<Body> {
    // An earlier head can only be replaced with excInfo. Trailers that were set before a failure are dropped with it.
    const replaces = this.#code !== 0 || error !== undefined
    const excInfo =
      error instanceof Error ? error : replaces ? new Error('an error page replaces the response') : undefined
    const failed = (failure: unknown): void => this.#complain('an error page failed', failure)
    const { pages } = this.#shared
    return pages.answer(this.#environ, this.#original, status, headers, this.#startResponse, excInfo, failed)
  }

  /** Logs the failure as a gateway does. */
  #logFailure(error: unknown): void {
    const { log } = this.#shared
    if (error instanceof HttpError) {
      const { code, status, message } = error
      const requestId = this.#environ.gantry.requestId
      if (log) log[status >= 500 ? 'warn' : 'debug']({ requestId, code, status }, message)
      else if (status >= 500) this.#environ['wsgi.errors'].write(`${message}\n`)
    } else {
      this.#complain('the application failed', error)
    }
  }

  readonly #closeFailed = (error: unknown): void => this.#complain("closing the application's body failed", error)

  #complain(message: string, error: unknown): void {
    // The application only passed on that its client has disconnected.
    if (error instanceof AbortError && this.#environ.gantry.signal.aborted) return
    const { log } = this.#shared
    if (log) log.error({ requestId: this.#environ.gantry.requestId, err: error }, message)
    else this.#environ['wsgi.errors'].write(`${message}: ${textOfThrown(error)}\n`)
  }
}

async function step(open: ApplicationBody): Promise<IteratorResult<Uint8Array>> {
  const result = await open.iterator!.next()
  if (result.done) open.iterator = undefined
  return result.done ? { done: true, value: undefined } : result
}
