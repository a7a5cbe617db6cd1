/**
 * An application as a fetch handler, `(Request) → Promise<Response>`: for what runs fetch handlers (Workers, Deno, Bun, Hono's `mount`), and for
 * tests. Both bodies stream under backpressure, and the request's is read only as the application reads.
 *
 * The rules of a response are the exchange's; here are only its ends. This file does not know who calls the handler.
 */

import type { Application, Environ, Headers } from '../../protocol/contract/application.ts'
import { environFromHttp } from '../../protocol/contract/environ.ts'
import type { AbortError } from '../../protocol/contract/errors.ts'
import { LocalExchange } from '../../protocol/contract/local-exchange.ts'
import type { ResponseSink } from '../../protocol/contract/response.ts'
import { shown } from '../../protocol/contract/response-head.ts'
import { Upload } from '../../protocol/contract/upload.ts'
import { type Logger, silent } from '../../protocol/log/logger.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'

export interface ToFetchOptions {
  /** Takes what goes to `wsgi.errors`, and what gateways log of applications. Default: nowhere. */
  readonly log?: Logger
  /** Default: the system's. */
  readonly clock?: Clock
  /**
   * The client's address, where the handler's caller knows one. Default: that of the environ in the second argument (`fromFetch` gives it),
   * else empty: a Request does not say, and whoever trusts an address must not find a made-up one.
   */
  readonly remoteAddress?: (request: Request, environment: unknown) => string
}

/** What runtimes give a handler as its third argument, as far as it is used: they may freeze a handler whose promises are over. */
interface WaitUntilContext {
  waitUntil?(promise: Promise<unknown>): void
}

/**
 * @param environment what else the handler was given; `{ environ }` of another gateway gives the client's address and the request's id
 * @param context `waitUntil` is told of the application, which may have work to do after its response
 * @returns rejects with the reason of `request.signal` when that aborts before the response's head; an application that throws before
 *   it answers 500, one that throws later is an error of the body's stream
 * @throws TypeError (as a rejection) for a request whose body was read already
 */
export type ToFetchHandler = (request: Request, environment?: unknown, context?: unknown) => Promise<Response>

/** @throws TypeError for an application that is no function */
export function toFetch(application: Application, options: ToFetchOptions = {}): ToFetchHandler {
  if (typeof application !== 'function') {
    throw new TypeError(
      `toFetch takes an application, a function of environ and startResponse, and got ${shown(application)}`,
    )
  }
  const { log = silent, clock = systemClock, remoteAddress = addressIn } = options
  return async (request, environment, context) => {
    if (request.bodyUsed || request.body?.locked) throw new TypeError("the request's body was read already")
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
    const leave = (): void => local.leave(signal.reason)
    signal.addEventListener('abort', leave, { once: true })
    void local.settled.then(() => signal.removeEventListener('abort', leave))
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
  // A Request made by hand has no Host field: its URL says it.
  if (!request.headers.has('host')) headers.push('Host', url.host)
  for (const [name, value] of request.headers) headers.push(name, value)
  const scheme = url.protocol === 'https:' ? 'https' : 'http'
  return environFromHttp(
    {
      method: request.method,
      target: url.pathname + url.search,
      minor: 1,
      headers,
      // There is no connection to hand over: the application sees a plain GET, and a 101 is refused by the exchange.
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

/** A stream's chunks. It is locked when the first is asked for, and cancelled when no more are. */
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

/** A response on its way into a Response. */
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
    // A Response has no place for what comes before it.
  }

  head(status: string, headers: Headers, _length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    const code = Number(status.slice(0, 3))
    const init = { status: code, statusText: status.slice(4), headers }
    if (end) {
      this.#over = true
      const bodyless = this.#headOnly || code === 204 || code === 205 || code === 304
      this.#answer.resolve(
        new Response(bodyless ? null : ((chunk ?? new Uint8Array(0)) as Uint8Array<ArrayBuffer>), init),
      )
      return true
    }
    // Of the application's chunks one waits in the stream, and none but that which is asked for is made meanwhile.
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
        this.local.leave(reason)
      },
    })
    this.#answer.resolve(new Response(stream, init))
    return chunk ? this.data(chunk, false) : true
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    if (this.#over) return true
    // As it is, whatever subclass of Uint8Array it was.
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
    // As fetch does: with the signal's own reason.
    const reason: unknown = error.code === 'CLIENT_GONE' ? (error.cause ?? error) : error
    if (!this.#controller) this.#answer.reject(reason)
    // What was given before it failed is read first: an error lets go of all that waits in a stream.
    else if (error.code === 'CLIENT_GONE' || this.#controller.desiredSize === 1) this.#controller.error(reason)
    else this.#failure = reason
  }

  upgrade(): never {
    throw new TypeError('a Response cannot hand over a connection: there are no upgrades through toFetch()')
  }
}
