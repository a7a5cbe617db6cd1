/**
 * Calls an application without a server, for tests of applications and middleware. The request and the response follow
 * the same rules as behind a gateway; there is no connection, so framing and keep-alive cannot be observed.
 */

import { type Logger, type LogMethod, silent } from '../log/logger.ts'
import { type Clock, systemClock } from '../net/clock.ts'
import type { Application, Body, Environ, Headers } from './application.ts'
import { environFromHttp } from './environ.ts'
import type { AbortError } from './errors.ts'
import { LocalExchange } from './local-exchange.ts'
import type { ResponseSink } from './response.ts'
import { Upload } from './upload.ts'

/** The request of `call`. Every field is optional. */
export interface CallRequest {
  /** Default `GET`. */
  readonly method?: string
  /** The raw request target with its query: percent-encoded, latin1. Default `/`. */
  readonly path?: string
  /** `call` adds `Host: localhost` if there is no `Host`, and `Content-Length` if the length of the body is known. */
  readonly headers?: Readonly<Record<string, string>> | Headers
  /** Text is sent as UTF-8. The next chunk of an iterable is requested only when the application reads. */
  readonly body?: Uint8Array | string | AsyncIterable<Uint8Array>
  /** Default `http`. */
  readonly scheme?: 'http' | 'https'
  /** The address of the client. Default `127.0.0.1`. */
  readonly remoteAddress?: string
  /** Disconnects the client: the request is aborted with `CLIENT_GONE`. */
  readonly signal?: AbortSignal
  /** Additional variables. They are set last, and replace others of the same name. */
  readonly environ?: Readonly<Record<string, unknown>>
  /** Receives the lines of `wsgi.errors` and the log lines of the exchange. Default: they are dropped. */
  readonly log?: Logger
  /** Default: the system clock. */
  readonly clock?: Clock
}

/** The response that `call` received. */
export interface CallResult {
  /** The status code; 0 if the response was aborted before its head. */
  readonly status: number
  readonly reason: string
  /** All response headers but `Date`, `Server` and the framing fields, which a gateway adds. */
  readonly headers: Headers
  /** The values of all fields of this name, joined with `, `; undefined if there is none. */
  header(name: string): string | undefined
  /** The bytes of the body that a client would have received. */
  readonly body: Buffer
  /** `body` as UTF-8. */
  readonly text: string
  readonly trailers: Headers
  /** The heads of informational responses (103), in order. */
  readonly informed: ReadonlyArray<{ readonly status: string; readonly headers: Headers }>
  /** Why the response is incomplete; a client would see a reset connection. Undefined if it is complete. */
  readonly aborted: AbortError | undefined
  /**
   * The first error that the application threw, which a server logs and never shows to the client. Undefined if the
   * application did not fail; an `HttpError` is a response, not a failure.
   */
  readonly failure: unknown
  /** Whether `close()` of the body was called; true if the body has no `close()`. */
  readonly closed: boolean
}

/**
 * Sends one request to `application`, and resolves once the response has ended and the application is done with the
 * request. If the application throws, the response is 500, as behind a server.
 *
 * Wrap the application in `lint` to check it as well.
 *
 * @throws RemoteProtocolError if the path or a header is invalid, so that a gateway would refuse the request
 * @example
 * ```ts
 * import { call } from 'gantry/protocol'
 * import { application } from './app.ts'
 *
 * const response = await call(application, { path: '/hello?name=you', headers: { Accept: 'text/plain' } })
 * console.log(response.status) // 200
 * console.log(response.header('content-type')) // text/plain
 * ```
 */
export async function call(application: Application, request: CallRequest = {}): Promise<CallResult> {
  const { clock = systemClock, signal } = request
  const log = new FailureLog(request.log ?? silent)
  const upload = new Upload(request.body)
  const environ = environOf(request, upload)
  const observer = new CloseObserver(application)
  const sink = new CollectingSink()
  const local = new LocalExchange(observer.application, environ, upload, sink, { clock, log })
  const disconnect = (): void => local.disconnect()
  local.run()
  if (signal?.aborted) disconnect()
  signal?.addEventListener('abort', disconnect, { once: true })
  await local.settled
  await sink.over
  signal?.removeEventListener('abort', disconnect)
  return sink.result(observer.closed, log.failure)
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

/** Remembers the first error that the exchange logs, and passes every line on to another logger. */
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

/** Observes whether the body that an application returned was closed. */
class CloseObserver {
  readonly application: Application
  closed = true

  constructor(application: Application) {
    this.application = (environ, startResponse) => {
      const result = application(environ, startResponse)
      return result instanceof Promise ? result.then((body) => this.#observe(body)) : this.#observe(result)
    }
  }

  #observe(body: Body): Body {
    if (typeof body?.close !== 'function') return body
    this.closed = false
    const close = (): void | Promise<void> => {
      this.closed = true
      return body.close?.()
    }
    // An array stays an array, so that the exchange still computes its Content-Length.
    if (Array.isArray(body)) return Object.assign([...body], { close })
    if (Symbol.asyncIterator in body) return { [Symbol.asyncIterator]: () => body[Symbol.asyncIterator](), close }
    return { [Symbol.iterator]: () => body[Symbol.iterator](), close }
  }
}

/** Collects a response. It never applies backpressure. */
class CollectingSink implements ResponseSink {
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
    // Copied, so that an application that writes to the chunk again does not change the collected body.
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
    // A disconnect after the end of the response loses nothing.
    if (!this.#whole) this.aborted ??= error
    this.#end()
  }

  upgrade(): never {
    throw new TypeError('call() supports no upgrade: there is no connection')
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
