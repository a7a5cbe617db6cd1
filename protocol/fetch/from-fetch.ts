/**
 * A fetch handler, `(Request) → Response`, as an Application: what Hono, itty-router, and modules written for Workers, Deno or Bun are. Both
 * bodies stream under backpressure, and a client's abort is the request's `signal`.
 *
 * How a `Request` comes from an environ is in `request.ts`. This file does not know frameworks.
 */

import { STATUS_CODES } from 'node:http'
import type { ReadableStreamDefaultReader, ReadableStreamReadResult } from 'node:stream/web'
import type { Application, Body, Environ, Headers } from '../application.ts'
import { endToEnd } from '../end-to-end.ts'
import { shown } from '../response-head.ts'
import { requestFrom } from './request.ts'

/** What a handler is given beside the request: Hono's `c.env`. */
export interface FetchEnvironment {
  readonly environ: Environ
}

/** Hono's `c.executionCtx`, and the third argument of a Worker's `fetch`. */
export interface FetchContext {
  /** The request counts as running until `promise` has settled: a drain waits for it. A rejection is logged. */
  waitUntil(promise: Promise<unknown>): void
  /** There is no origin to pass to: without effect. */
  passThroughOnException(): void
}

export type FetchHandler = (
  request: Request,
  environment: FetchEnvironment,
  context: FetchContext,
) => Response | Promise<Response>

/** What modules for Workers export by default, and what a Hono application is. */
export interface FetchModule {
  readonly fetch: FetchHandler
}

/**
 * The application that `handler` is.
 *
 * Hop-by-hop fields of its response are left out, not refused. A response that came from `fetch()` was decoded, so that its Content-Encoding
 * and Content-Length are left out. What the handler throws is the exchange's 500, or an `HttpError`'s status.
 *
 * @throws TypeError when `handler` is neither a function nor an object with a `fetch` method
 */
export function fromFetch(handler: FetchHandler | FetchModule): Application {
  const handle = handlerOf(handler)
  return (environ, startResponse) => {
    const waiting = new Waiting(environ)
    let answered: Response | Promise<Response>
    try {
      answered = handle(requestFrom(environ), { environ }, waiting)
    } catch (error) {
      return waiting.thenThrow(error)
    }
    const answer = async (response: Response): Promise<Body> => {
      check(response)
      const { status } = response
      startResponse(`${status} ${response.statusText || (STATUS_CODES[status] ?? 'Unknown')}`, fieldsOf(response))
      return waiting.before(await bodyOf(response, environ))
    }
    return Promise.resolve(answered)
      .then(answer)
      .catch((error: unknown) => waiting.thenThrow(error))
  }
}

function handlerOf(handler: FetchHandler | FetchModule): FetchHandler {
  if (typeof handler === 'function') return handler
  const given = handler as FetchModule | null | undefined
  if (typeof given?.fetch === 'function') return (...args) => given.fetch(...args)
  throw new TypeError(
    `fromFetch takes a function of a Request, or an object with fetch(request), and got ${shown(handler)}`,
  )
}

/** A Response of any implementation: frameworks and test tools bring their own. */
function check(response: unknown): asserts response is Response {
  const given = response as Partial<Response> | null | undefined
  if (typeof given?.status !== 'number' || typeof given.headers?.[Symbol.iterator] !== 'function') {
    throw new TypeError(`the fetch handler answered ${shown(response)}: a Response is due`)
  }
  if (given.status === 0)
    throw new TypeError('the fetch handler answered Response.error(), which says that there is no answer')
  if (given.bodyUsed || given.body?.locked) {
    throw new TypeError('the fetch handler answered a Response whose body was read already: give a clone() of it')
  }
}

function fieldsOf(response: Response): Headers {
  // `Set-Cookie` comes once for each cookie (Fetch standard, "sort and combine").
  const headers = endToEnd([...response.headers] as Headers)
  if (!response.url || !response.headers.has('content-encoding')) return headers
  return headers.filter(([name]) => name !== 'content-encoding' && name !== 'content-length')
}

/** Turns of the microtask queue in which a body that is whole says so: the platform's own strings and buffers do within two. */
const TURNS = 3

async function bodyOf(response: Response, environ: Environ): Promise<Uint8Array[] | StreamedBody> {
  if (!response.body) return []
  const reader = response.body.getReader() as ReadableStreamDefaultReader<Uint8Array>
  // Before the first chunk is asked for: it may never come.
  const abort = (): void => void reader.cancel(environ.gantry.signal.reason).catch(ignore)
  const { signal } = environ.gantry
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  const body = new StreamedBody(reader)
  const first = body.ask()
  await turns()
  if (!body.arrived) return body
  const { done, value } = await first
  if (done) return []
  const second = body.ask()
  await turns()
  if (body.arrived && (await second).done) return [value]
  body.putBack(value, second)
  return body
}

/** A stream as a body: a chunk is read when it is asked for. */
class StreamedBody implements AsyncIterable<Uint8Array> {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  /** Reads that were begun and not yet given, oldest first. */
  #pending: Promise<ReadableStreamReadResult<Uint8Array>>[] = []
  #over = false
  /** Whether the last read that was begun has settled. */
  arrived = false

  constructor(reader: ReadableStreamDefaultReader<Uint8Array>) {
    this.#reader = reader
  }

  /** Begins a read. It is given by `next`, unless `putBack` says otherwise. */
  ask(): Promise<ReadableStreamReadResult<Uint8Array>> {
    this.arrived = false
    const read = this.#reader.read()
    const settled = (): void => {
      this.arrived = true
    }
    read.then(settled, settled)
    this.#pending = [read]
    return read
  }

  putBack(value: Uint8Array, then: Promise<ReadableStreamReadResult<Uint8Array>>): void {
    this.#pending = [Promise.resolve({ done: false, value }), then]
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return { next: () => this.#next() }
  }

  close(): Promise<void> | undefined {
    if (this.#over) return undefined
    this.#over = true
    // Of who made the stream; that its cancellation fails is nothing to a response that is over.
    return this.#reader.cancel().catch(ignore)
  }

  async #next(): Promise<IteratorResult<Uint8Array>> {
    const step = await (this.#pending.shift() ?? this.#reader.read())
    if (!step.done) return step
    this.#over = true
    return { done: true, value: undefined }
  }
}

/** What was given to `waitUntil`. */
class Waiting implements FetchContext {
  readonly #environ: Environ
  #promises: Promise<void>[] | undefined

  constructor(environ: Environ) {
    this.#environ = environ
  }

  waitUntil(promise: Promise<unknown>): void {
    this.#promises ??= []
    const log = (error: unknown): void => {
      this.#environ['wsgi.errors'].write(`a promise given to waitUntil() was rejected: ${stackOf(error)}\n`)
    }
    this.#promises.push(Promise.resolve(promise).then(ignore, log))
  }

  passThroughOnException(): void {}

  /** `body`, whose closing waits for the promises too, those that are given meanwhile included. */
  before(body: Uint8Array[] | StreamedBody): Body {
    if (Array.isArray(body)) return this.#promises ? Object.assign(body, { close: () => this.#settled() }) : body
    const close = async (): Promise<void> => {
      try {
        await body.close()
      } finally {
        await this.#settled()
      }
    }
    return { [Symbol.asyncIterator]: () => body[Symbol.asyncIterator](), close }
  }

  async thenThrow(error: unknown): Promise<never> {
    await this.#settled()
    throw error
  }

  async #settled(): Promise<void> {
    for (let at = 0; at < (this.#promises?.length ?? 0); at++) await this.#promises![at]
  }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await undefined
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

function ignore(): void {}
