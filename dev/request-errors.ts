/**
 * Middleware that answers a failed request with a page about the error, as the outermost middleware of a development
 * container. After the response's head was sent, a failure is left to the exchange, which aborts the response and logs
 * it.
 */

import type { Application, Body, Environ, Middleware, StartResponse } from '../protocol/contract/application.ts'
import { AbortError, HttpError } from '../protocol/contract/errors.ts'
import { LoggedOnce } from '../protocol/log/logged-once.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { isKnownHost } from './hosts.ts'

interface RequestErrorsOptions {
  readonly log: Logger
  /** The name of the version that this container serves (`load-state.ts`). */
  readonly shown: string
}

/** Returns the body of the page about `error`, or throws the error. */
type Answer = (error: unknown) => Promise<Body>

export function showRequestErrors({ log, shown }: RequestErrorsOptions): Middleware {
  const withheld = new LoggedOnce()
  return (application) => (environ, startResponse) => {
    const answer: Answer = async (error) => {
      // A deliberate response, or the client has disconnected: the exchange handles both.
      if (error instanceof HttpError || error instanceof AbortError || environ.gantry.signal.aborted) throw error
      if (!isKnownHost(environ)) {
        const host = String(environ['HTTP_HOST'])
        if (withheld.isFirst(host)) {
          log.warn({ host }, 'errors are shown to browsers only at localhost, *.localhost and IP addresses')
        }
        throw error
      }
      return await show(error, environ, startResponse, shown, () =>
        log.error({ requestId: environ.gantry.requestId, err: error }, 'the application failed'),
      )
    }
    let given: Body | Promise<Body>
    try {
      given = application(environ, startResponse)
    } catch (error) {
      return answer(error)
    }
    if (typeof (given as Promise<Body> | undefined)?.then !== 'function') return shielded(given as Body, answer)
    return (given as Promise<Body>).then((body) => shielded(body, answer), answer)
  }
}

async function show(
  error: unknown,
  environ: Environ,
  startResponse: StartResponse,
  shown: string,
  onShown: () => void,
): Promise<Body> {
  // The page's library is loaded at the first error, so that it does not delay the start.
  const { errorView } = await import('./page.ts')
  const failure =
    error instanceof Error ? error : new Error(`the application threw ${String(error)}, which is not an Error`)
  const view = {
    error: failure,
    status: 500,
    title: 'The application failed',
    shown,
    environ,
    method: environ.REQUEST_METHOD,
  }
  const page: Application = await errorView(view, environ['HTTP_ACCEPT'])
  // After the head was sent this throws `failure`, and the exchange logs it.
  const body = page(environ, (status, headers) => startResponse(status, headers, failure))
  onShown()
  return body
}

/** A body that shows its failure as a page. The body itself if it cannot fail. */
function shielded(body: Body, answer: Answer): Body {
  const iterable = body as Partial<Iterable<Uint8Array> & AsyncIterable<Uint8Array>> | null
  // The caller rejects a value that is not a body.
  if (typeof iterable !== 'object' || iterable === null) return body
  if (!(Symbol.asyncIterator in iterable) && !(Symbol.iterator in iterable)) return body
  if (Array.isArray(body) && body.every((chunk) => chunk instanceof Uint8Array)) return body
  return new ShieldedBody(body, answer)
}

class ShieldedBody implements AsyncIterableIterator<Uint8Array> {
  readonly #body: Body
  readonly #answer: Answer
  #iterator: Iterator<Uint8Array> | AsyncIterator<Uint8Array> | undefined
  #failed = false

  constructor(body: Body, answer: Answer) {
    this.#body = body
    this.#answer = answer
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    if (this.#failed) return { done: true, value: undefined }
    try {
      this.#iterator ??=
        Symbol.asyncIterator in this.#body ? this.#body[Symbol.asyncIterator]() : this.#body[Symbol.iterator]()
      return await this.#iterator.next()
    } catch (error) {
      // An iterator that threw must not be used again.
      this.#iterator = undefined
      this.#failed = true
      const [page] = (await this.#answer(error)) as Uint8Array[]
      return { done: false, value: page! }
    }
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    const iterator = this.#iterator
    this.#iterator = undefined
    this.#failed = true
    await iterator?.return?.()
    return { done: true, value: undefined }
  }

  close(): void | Promise<void> {
    return this.#body.close?.()
  }
}
