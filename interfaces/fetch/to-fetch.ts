/**
 * Runs an application as a fetch handler, `(Request) → Promise<Response>`, for runtimes of fetch handlers (Workers,
 * Deno, Bun, Hono's `mount`) and for tests. Both bodies stream under backpressure; the request's is read only as the
 * application reads. `exchange.ts` has the rules of a response.
 */

import type { Application, Environ, Headers } from '../../protocol/contract/application.ts'
import { isBodylessStatus } from '../../protocol/contract/bodyless.ts'
import { environFromHttp } from '../../protocol/contract/environ.ts'
import type { AbortError } from '../../protocol/contract/errors.ts'
import { LocalExchange } from '../../protocol/contract/local-exchange.ts'
import type { ResponseSink } from '../../protocol/contract/response.ts'
import { shown } from '../../protocol/contract/response-head.ts'
import { Upload } from '../../protocol/contract/upload.ts'
import { type Logger, silent } from '../../protocol/log/logger.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'

/** Options of `toFetch`. */
export interface ToFetchOptions {
  /** Gets what applications write to `wsgi.errors`, and the log lines about applications. Default: none. */
  readonly log?: Logger
  /** Default: the system's clock. */
  readonly clock?: Clock
  /**
   * Returns the client's address, if the caller of the handler knows it. Default: the address in the environ of the
   * second argument, which `fromFetch` passes; otherwise empty, since a Request does not name its client.
   */
  readonly remoteAddress?: (request: Request, environment: unknown) => string
}

/**
 * The third argument of a handler, as far as it is used. Some runtimes freeze a handler when its promises have settled.
 */
interface WaitUntilContext {
  waitUntil?(promise: Promise<unknown>): void
}

/**
 * @param environment the second argument of a handler; `{ environ }` of another gateway provides the client's address
 *   and the request's id
 * @param context if it has a method `waitUntil`, the method gets the promise of the application, which may continue to
 *   work after its response
 * @returns the response; rejects with the reason of `request.signal` if it aborts before the head. If the application
 *   throws before its head the response is 500; if it throws later, the body's stream fails.
 * @throws TypeError (as a rejection) if the request's body was already read
 */
export type ToFetchHandler = (request: Request, environment?: unknown, context?: unknown) => Promise<Response>

/**
 * Returns a fetch handler that calls an application.
 *
 * @param application the application to call
 * @param options the log, the clock, and how to find the client's address
 * @throws TypeError if the application is not a function
 * @example
 * ```ts
 * import { type Application, toFetch } from 'gantry'
 *
 * const application: Application = (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from(`Hello ${environ.PATH_INFO}\n`)]
 * }
 * const fetch = toFetch(application)
 * const response = await fetch(new Request('http://localhost/world'))
 * console.log(await response.text()) // Hello /world
 * ```
 */
export function toFetch(application: Application, options: ToFetchOptions = {}): ToFetchHandler {
  if (typeof application !== 'function') {
    throw new TypeError(
      `toFetch: expected an application, a function of (environ, startResponse), got ${shown(application)}`,
    )
  }
  const { log = silent, clock = systemClock, remoteAddress = addressIn } = options
  return async (request, environment, context) => {
    if (request.bodyUsed || request.body?.locked) throw new TypeError("the request's body was already read")
    const { signal } = request
    if (signal.aborted) throw signal.reason
    const length = request.headers.get('content-length')
    const declared = length !== null && /^\d{1,15}$/.test(length) ? Number(length) : undefined
    const upload = new Upload(request.body ? new StreamChunks(request.body) : undefined, declared)
    const outer = environIn(environment)
    const environ = environOf(request, remoteAddress(request, environment), outer)
    const sink = new FetchSink(request.method === 'HEAD')
    const requestId = outer?.gantry.requestId
    const local = new LocalExchange(application, environ, upload, sink, { clock, log, requestId })
    sink.local = local
    const onAbort = (): void => local.disconnect(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    void local.settled.then(() => signal.removeEventListener('abort', onAbort))
    local.run()
    if (typeof (context as WaitUntilContext | undefined)?.waitUntil === 'function')
      (context as WaitUntilContext).waitUntil!(local.settled)
    return sink.response
  }
}

function environIn(environment: unknown): Environ | undefined {
  const environ = (environment as { environ?: Environ } | null | undefined)?.environ
  return typeof environ?.gantry?.requestId === 'string' ? environ : undefined
}

function addressIn(_request: Request, environment: unknown): string {
  return environIn(environment)?.REMOTE_ADDR ?? ''
}

function environOf(request: Request, remoteAddress: string, outer: Environ | undefined): Environ {
  const url = new URL(request.url)
  const headers: string[] = []
  // A Request made by a program has no Host field: its URL names the host.
  if (!request.headers.has('host')) headers.push('Host', url.host)
  for (const [name, value] of request.headers) headers.push(name, value)
  const scheme = url.protocol === 'https:' ? 'https' : 'http'
  return environFromHttp(
    {
      method: request.method,
      target: url.pathname + url.search,
      minor: 1,
      headers,
      // There is no connection to hand over: the application gets a plain GET, and the exchange refuses a 101.
      upgrade: false,
    },
    {
      remoteAddress,
      remotePort: outer?.REMOTE_PORT ?? '',
      serverName: url.hostname,
      serverPort: url.port || (scheme === 'https' ? '443' : '80'),
      scheme,
    },
    { multithread: true, multiprocess: true, runOnce: false },
  )
}

/** The chunks of a stream. The first read locks the stream; `return` cancels it. */
class StreamChunks implements AsyncIterable<Uint8Array>, AsyncIterator<Uint8Array> {
  readonly #stream: ReadableStream<Uint8Array>
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#stream = stream
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    this.#reader ??= this.#stream.getReader()
    const step = await this.#reader.read()
    return step.done ? { done: true, value: undefined } : step
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    await (this.#reader ?? this.#stream).cancel()
    return { done: true, value: undefined }
  }
}

/** Makes a Response of an exchange's response. */
class FetchSink implements ResponseSink {
  readonly response: Promise<Response>
  local!: LocalExchange
  readonly #answer: PromiseWithResolvers<Response> = Promise.withResolvers<Response>()
  readonly #headOnly: boolean
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined
  #failure: unknown
  #over = false

  constructor(headOnly: boolean) {
    this.#headOnly = headOnly
    this.response = this.#answer.promise
  }

  inform(): void {
    // A Response cannot contain informational responses.
  }

  head(status: string, headers: Headers, _length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    const code = Number(status.slice(0, 3))
    const init = { status: code, statusText: status.slice(4), headers }
    if (end) {
      this.#over = true
      const bodyless = this.#headOnly || isBodylessStatus(code)
      this.#answer.resolve(
        new Response(bodyless ? null : ((chunk ?? new Uint8Array(0)) as Uint8Array<ArrayBuffer>), init),
      )
      return true
    }
    // At most one chunk waits in the stream, and the application makes the next one only on request.
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller
      },
      pull: (controller) => {
        if (this.#failure === undefined) this.local.resume()
        else controller.error(this.#failure)
      },
      cancel: (reason) => {
        this.#over = true
        this.local.disconnect(reason)
      },
    })
    this.#answer.resolve(new Response(stream, init))
    return chunk ? this.data(chunk, false) : true
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    if (this.#over) return true
    // As a plain Uint8Array, whatever subclass the application used.
    if (chunk.length > 0) this.#controller!.enqueue(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length))
    if (end) this.end()
    return this.#over || this.#controller!.desiredSize! > 0
  }

  end(): void {
    if (this.#over) return
    this.#over = true
    this.#controller!.close()
  }

  flush(): void {}

  abort(error: AbortError): void {
    if (this.#over) return
    this.#over = true
    // As fetch does: the stream fails with the signal's own reason.
    const reason: unknown = error.code === 'CLIENT_GONE' ? (error.cause ?? error) : error
    if (!this.#controller) this.#answer.reject(reason)
    // Earlier chunks are read first: an error would drop all chunks that wait in the stream.
    else if (error.code === 'CLIENT_GONE' || this.#controller.desiredSize === 1) this.#controller.error(reason)
    else this.#failure = reason
  }

  upgrade(): never {
    throw new TypeError('a Response cannot hand over a connection: there are no upgrades through toFetch()')
  }
}
