/**
 * Pages for errors that have none: empty 4xx and 5xx responses, and applications that throw before their head. Pages of
 * the site's own stand in for the plain one (protocol/contract/status-page.ts). A body that the application gave is its answer
 * and stays, unless told otherwise. `error-pages.ts` applies the site's own pages.
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
import { AbortError, HttpError } from '../../protocol/contract/errors.ts'
import { OpenBody } from '../../protocol/contract/open-body.ts'
import { textOfThrown } from '../../protocol/contract/thrown.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { checkOptions, flag, logger, type OptionForms, record } from '../../protocol/options/check-options.ts'
import { headerOf } from '../shared/response-fields.ts'
import { type Asked, ErrorPages, type PageKey } from './custom-pages.ts'

export interface ErrorPageOptions {
  /**
   * Pages of one's own, by status (`404`) or class (`'5xx'`): the path of a file of at most 1 MiB, read now, whose type its name tells; or an
   * application, called with GET (or HEAD) and `REDIRECT_STATUS` set to the status, as Apache's ErrorDocument has it. Whatever status
   * that application answers with, the client is told the error's. Clients that want JSON and not HTML are given JSON in place of a file
   * of another type. Default: the plain page.
   */
  readonly pages?: Readonly<Partial<Record<PageKey, string | Application>>> | undefined
  /** Whether bodies that the application gave with an error are replaced too, as nginx's proxy_intercept_errors does. Default false. */
  readonly replace?: boolean | undefined
  /** Takes what applications fail with, of which clients are told nothing. Default: `wsgi.errors` of the request. */
  readonly log?: Pick<Logger, 'debug' | 'warn' | 'error'> | undefined
}

const OPTIONS: OptionForms<ErrorPageOptions> = {
  pages: record('paths or applications by status'),
  replace: flag,
  log: logger('debug', 'warn', 'error'),
}

/**
 * The plain page of one status, as an application, is `statusPage(status)`.
 *
 * @throws TypeError for an option that is none, a status that is no error's, a page that is neither, or a file that cannot be read
 */
export function errorPage(options: ErrorPageOptions = {}): Middleware {
  checkOptions('errorPage', options, OPTIONS)
  const pages = new ErrorPages(options.pages ?? {})
  const { replace = false, log } = options
  return (application) => (environ, startResponse) =>
    new PagedCall({ pages, replace, log }, environ, startResponse).run(application)
}

const nextTick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Shared {
  readonly pages: ErrorPages
  readonly replace: boolean
  readonly log: Pick<Logger, 'debug' | 'warn' | 'error'> | undefined
}

class PagedCall {
  readonly #shared: Shared
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  /** Of the request as it came: what is further in edits the environ in place. */
  readonly #asked: Asked
  /** 0 before there is a head. */
  #code = 0
  #status = ''
  #headers: Headers = []
  /** The head has left, or is about to: what follows is no matter of this. */
  #sent = false
  /** Bytes were written that nobody gets: for the application, the head has left. */
  #dropped = false
  readonly #open: OpenBody = new OpenBody()
  readonly #page: OpenBody = new OpenBody()
  /** Of the application's body, where a page has taken its place. */
  #closing: Promise<void> | undefined
  #closed = false

  constructor(shared: Shared, environ: Environ, startResponse: StartResponse) {
    this.#shared = shared
    this.#environ = environ
    this.#startResponse = startResponse
    const { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING, gantry } = environ
    this.#asked = { REQUEST_METHOD, SCRIPT_NAME, PATH_INFO, QUERY_STRING, gantry }
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
    // Else what it goes on to give would look whole without them.
    if (this.#dropped && excInfo !== undefined && excInfo !== null) throw excInfo
    const write = this.#startResponse(status, headers, excInfo)
    this.#code = Number(status.slice(0, 3))
    this.#status = status
    this.#headers = headers
    return (chunk) => {
      // It is replaced: the page comes when the application returns.
      if (this.#isReplaced) {
        this.#dropped = true
        return nextTick()
      }
      this.#sent = true
      return write(chunk)
    }
  }

  get #isError(): boolean {
    return this.#code >= 400
  }

  /** Whether an answer without a byte is one without content, and not the answer to a HEAD whose GET has some. */
  get #isEmpty(): boolean {
    if (this.#asked.REQUEST_METHOD !== 'HEAD') return true
    const length = headerOf(this.#headers, 'content-length')
    return length === undefined ? headerOf(this.#headers, 'content-type') === undefined : length === '0'
  }

  get #isReplaced(): boolean {
    return this.#shared.replace && this.#isError && !this.#sent
  }

  #body(body: Body): Body | Promise<Body> {
    if (typeof body !== 'object' || body === null || this.#sent) return body
    if (Array.isArray(body)) {
      const empty = body.every((chunk: unknown) => chunk instanceof Uint8Array && chunk.length === 0)
      if (!this.#isReplaced && !(this.#isError && empty && this.#isEmpty)) return body
      if (typeof (body as Body).close !== 'function') return this.#answer(this.#status, this.#headers)
    }
    // It has begun, is no error, and what it fails with gives the plain page anyhow.
    if (this.#code !== 0 && !this.#isError && !this.#shared.pages.own) return body
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
        if (this.#isReplaced) return this.#turn(() => this.#answer(this.#status, this.#headers))
        let result: IteratorResult<Uint8Array>
        try {
          result = await iterator.next()
        } catch (error) {
          this.#open.iterator = undefined
          if (this.#sent) throw error
          return this.#turn(() => this.#failed(error))
        }
        if (result.done) {
          this.#open.iterator = undefined
          if (this.#sent || !this.#isError || !this.#isEmpty) return result
          return this.#turn(() => this.#answer(this.#status, this.#headers))
        }
        // startResponse may have come with this chunk.
        if (this.#isReplaced) return this.#turn(() => this.#answer(this.#status, this.#headers))
        if ((result.value as Uint8Array | undefined)?.length !== 0) this.#sent = true
        return result
      },
      return: async () => {
        const left = this.#page.given ? this.#page : this.#open
        const { iterator: leaving } = left
        left.iterator = undefined
        await leaving?.return?.()
        return { done: true, value: undefined }
      },
    }
  }

  /**
   * The page goes on where the application's body is left. That is closed, but its client does not wait for it: what is given up at a
   * deadline (`timeout`) takes as long to close as it takes.
   */
  async #turn(answer: () => Body | Promise<Body>): Promise<IteratorResult<Uint8Array>> {
    this.#closing = this.#open.close(this.#closeFailed)
    this.#page.give(await answer())
    if (this.#closed) {
      // Whoever waited for it has left.
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

  // ---- what is answered --------------------------------------------------------------------------------------------

  /** The application threw. What cannot be answered any more is passed on. */
  #failed(error: unknown): Body | Promise<Body> {
    if (this.#sent || (error instanceof AbortError && this.#asked.gantry.signal.aborted)) throw error
    const meant = error instanceof HttpError && error.status >= 400 && error.status <= 599
    this.#logFailure(error)
    const headers: Headers = meant ? error.headers.map(([name, value]) => [name, value]) : []
    return this.#answer(String(meant ? error.status : 500), headers, error)
  }

  /** The page, in the place of a head that has not left, if there is one. */
  #answer(status: string, headers: Headers, error?: unknown): Body | Promise<Body> {
    // A head that was set is replaced with excInfo alone; and trailers that were set before a failure go with it.
    const replaces = this.#code !== 0 || error !== undefined
    const excInfo = error instanceof Error ? error : replaces ? new Error('an error page is answered') : undefined
    const failed = (failure: unknown): void => this.#complain('an error page failed', failure)
    const { pages } = this.#shared
    return pages.answer(this.#environ, this.#asked, status, headers, this.#startResponse, excInfo, failed)
  }

  /** As a gateway logs it. */
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
    // It was told that its client has gone, and passed that on.
    if (error instanceof AbortError && this.#environ.gantry.signal.aborted) return
    const { log } = this.#shared
    if (log) log.error({ requestId: this.#environ.gantry.requestId, err: error }, message)
    else this.#environ['wsgi.errors'].write(`${message}: ${textOfThrown(error)}\n`)
  }
}

async function step(open: OpenBody): Promise<IteratorResult<Uint8Array>> {
  const result = await open.iterator!.next()
  if (result.done) open.iterator = undefined
  return result.done ? { done: true, value: undefined } : result
}
