/**
 * Calls an application without a server: makes an environ as the HTTP gateway does, runs an exchange with every rule that gateways
 * keep, and gathers the response. For tests of applications and middleware. It knows no wire and no socket; framing (chunks,
 * keep-alive) is not to be seen here.
 */

import { type Logger, type LogMethod, silent } from '../log/logger.ts'
import { type Clock, systemClock } from '../net/clock.ts'
import type { Application, Body, Environ, Headers } from './application.ts'
import { environFromHttp } from './environ.ts'
import type { AbortError } from './errors.ts'
import { LocalExchange } from './local-exchange.ts'
import type { ResponseSink } from './response.ts'
import { Upload } from './upload.ts'

export interface CallRequest {
  /** Default `GET`. */
  readonly method?: string
  /** The raw request target, with its query: percent-encoded, latin1. Default `/`. */
  readonly path?: string
  /** `Host: localhost` is added when it is not among them, and a `Content-Length` for a body of known length. */
  readonly headers?: Readonly<Record<string, string>> | Headers
  /** Text is sent as UTF-8. What is iterated is asked for its next chunk only when the application reads. */
  readonly body?: Uint8Array | string | AsyncIterable<Uint8Array>
  readonly scheme?: 'http' | 'https'
  readonly remoteAddress?: string
  /** Leaves as a client does: the request is aborted with `CLIENT_GONE`. */
  readonly signal?: AbortSignal
  /** Further variables, set last. */
  readonly environ?: Readonly<Record<string, unknown>>
  /** Takes what goes to `wsgi.errors`, and what gateways log of applications. Default: nowhere. */
  readonly log?: Logger
  /** Default: the system's. */
  readonly clock?: Clock
}

export interface CallResult {
  /** 0 when it was aborted before its head. */
  readonly status: number
  readonly reason: string
  /** Complete but for `Date`, `Server` and framing fields. */
  readonly headers: Headers
  /** The values of all fields of that name, joined with `, `; undefined when there is none. */
  header(name: string): string | undefined
  /** What of the body a client would have been sent. */
  readonly body: Buffer
  /** `body` as UTF-8. */
  readonly text: string
  readonly trailers: Headers
  /** The heads of informational responses (103), in order. */
  readonly informed: ReadonlyArray<{ readonly status: string; readonly headers: Headers }>
  /** Why the response is not whole: then a client would see a connection that was cut. */
  readonly aborted: AbortError | undefined
  /**
   * What the application threw, at first: what a client is never told, and what a server logs. undefined when it did not fail; an
   * `HttpError` is an answer, and no failure.
   */
  readonly failure: unknown
  /** Whether `close()` of the body that the application gave was called, if it has one; true when it has none. */
  readonly closed: boolean
}

/**
 * One request to `application`; resolves once its response has ended and the application is done with it. An application that
 * throws answers 500, as it would behind a server.
 *
 * Wrap the application in `lint` to have it checked as well.
 *
 * @throws RemoteProtocolError for a path or header that no gateway would have let pass
 */
export async function call(application: Application, request: CallRequest = {}): Promise<CallResult> {
  const { clock = systemClock, signal } = request
  const log = new FailureLog(request.log ?? silent)
  const upload = new Upload(request.body)
  const environ = environOf(request, upload)
  const watched = new Watched(application)
  const sink = new Gathering()
  const local = new LocalExchange(watched.application, environ, upload, sink, { clock, log })
  const leave = (): void => local.leave()
  local.run()
  if (signal?.aborted) leave()
  signal?.addEventListener('abort', leave, { once: true })
  await local.settled
  await sink.over
  signal?.removeEventListener('abort', leave)
  return sink.result(watched.closed, log.failure)
}

function environOf(request: CallRequest, upload: Upload): Environ {
  const { method = 'GET', path = '/', scheme = 'http', remoteAddress = '127.0.0.1' } = request
  const given = request.headers ?? []
  const headers: Headers = (Array.isArray(given) ? given : Object.entries(given)).map(([name, value]) => [name, value])
  const has = (name: string): boolean => headers.some(([other]) => other.toLowerCase() === name)
  if (!has('host')) headers.unshift(['Host', 'localhost'])
  if (upload.length !== undefined && !has('content-length')) headers.push(['Content-Length', String(upload.length)])
  const serverPort = scheme === 'https' ? '443' : '80'
  const facts = { remoteAddress, remotePort: '40000', serverName: 'localhost', serverPort, scheme }
  const head = { method, target: path, minor: 1 as const, headers: headers.flat(), upgrade: false }
  const environ = environFromHttp(head, facts, { multithread: true, multiprocess: false, runOnce: false })
  return Object.assign(environ, request.environ)
}

/** Hears what the exchange says an application failed of, and passes all on. */
class FailureLog implements Logger {
  readonly debug: LogMethod
  readonly info: LogMethod
  readonly warn: LogMethod
  readonly error: LogMethod
  failure: unknown

  constructor(log: Logger) {
    this.debug = (fields, message) => log.debug(fields, message)
    this.info = (fields, message) => log.info(fields, message)
    this.warn = (fields, message) => log.warn(fields, message)
    this.error = (fields, message) => {
      this.failure ??= (fields as { err?: unknown }).err
      log.error(fields, message)
    }
  }
}

/** Knows whether the body that an application gave was closed. */
class Watched {
  readonly application: Application
  closed = true

  constructor(application: Application) {
    this.application = (environ, startResponse) => {
      const given = application(environ, startResponse)
      return given instanceof Promise ? given.then((body) => this.#watch(body)) : this.#watch(given)
    }
  }

  #watch(body: Body): Body {
    if (typeof body?.close !== 'function') return body
    this.closed = false
    const close = (): void | Promise<void> => {
      this.closed = true
      return body.close?.()
    }
    // An array stays one, so that its length is found as it would be otherwise.
    if (Array.isArray(body)) return Object.assign([...body], { close })
    if (Symbol.asyncIterator in body) return { [Symbol.asyncIterator]: () => body[Symbol.asyncIterator](), close }
    return { [Symbol.iterator]: () => body[Symbol.iterator](), close }
  }
}

/** A client that takes whatever comes, at once. */
class Gathering implements ResponseSink {
  readonly over: Promise<void>
  aborted: AbortError | undefined
  readonly #end: () => void
  readonly #chunks: Uint8Array[] = []
  readonly #informed: { status: string; headers: Headers }[] = []
  #status = ''
  #whole = false
  #headers: Headers = []
  #trailers: Headers = []

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.over = promise
    this.#end = resolve
  }

  inform(status: string, headers: Headers): void {
    this.#informed.push({ status, headers })
  }

  head(status: string, headers: Headers, _length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    this.#status = status
    this.#headers = headers
    return this.data(chunk, end)
  }

  data(chunk: Uint8Array | undefined, end: boolean): boolean {
    // A copy: what an application that writes to a chunk again has sent stays what it was.
    if (chunk && chunk.length > 0) this.#chunks.push(Buffer.from(chunk))
    if (end) this.end(undefined)
    return true
  }

  end(trailers: Headers | undefined): void {
    this.#trailers = trailers ?? []
    this.#whole = true
    this.#end()
  }

  flush(): void {}

  abort(error: AbortError): void {
    // Whoever leaves after the end has it all.
    if (!this.#whole) this.aborted ??= error
    this.#end()
  }

  upgrade(): never {
    throw new TypeError('call() makes no upgrade requests: there is no connection to give')
  }

  result(closed: boolean, failure: unknown): CallResult {
    const headers = this.#headers
    const body = Buffer.concat(this.#chunks)
    return {
      status: Number(this.#status.slice(0, 3)),
      reason: this.#status.slice(4),
      headers,
      header(name) {
        const values = headers.filter(([other]) => other.toLowerCase() === name.toLowerCase())
        return values.length === 0 ? undefined : values.map(([, value]) => value).join(', ')
      },
      body,
      get text() {
        return body.toString()
      },
      trailers: this.#trailers,
      informed: this.#informed,
      aborted: this.aborted,
      failure,
      closed,
    }
  }
}
