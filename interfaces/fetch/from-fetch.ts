/**
 * Runs a fetch handler, `(Request) → Response`, as an Application: Hono, itty-router, and modules for Workers, Deno or
 * Bun. Both bodies stream under backpressure; a client's disconnect aborts the request's `signal`. `request.ts` makes
 * the `Request`, and `stream-body.ts` makes a body of a stream.
 */

import { STATUS_CODES } from 'node:http'
import type { Application, Body, Environ, Headers, StartResponse } from '../../protocol/contract/application.ts'
import { endToEnd } from '../../protocol/contract/end-to-end.ts'
import { shown, statusFromWire } from '../../protocol/contract/response-head.ts'
import { LightResponse } from './light-response.ts'
import { requestFrom } from './request.ts'
import { streamBody } from './stream-body.ts'
import { type FetchContext, WaitUntil } from './wait-until.ts'

export type { FetchContext } from './wait-until.ts'

/** The second argument of a handler: Hono's `c.env`. */
export interface FetchEnvironment {
  readonly environ: Environ
  /** The part of Node's request that names the client: `getConnInfo` of `@hono/node-server/conninfo` reads it. */
  readonly incoming: {
    readonly socket: {
      readonly remoteAddress: string | undefined
      readonly remotePort: number | undefined
      readonly remoteFamily: 'IPv4' | 'IPv6' | undefined
    }
  }
}

/** A fetch handler: a function that takes a `Request` and returns a `Response`. */
export type FetchHandler = (
  request: Request,
  environment: FetchEnvironment,
  context: FetchContext,
) => Response | Promise<Response>

/** The default export of modules for Workers, and a Hono application. */
export interface FetchModule {
  readonly fetch: FetchHandler
}

/**
 * Returns the application that calls a fetch handler.
 *
 * - Hop-by-hop fields of its response are dropped, not refused.
 * - A response of `fetch()` has a decoded body, so its Content-Encoding and Content-Length are dropped.
 * - If the handler throws, the response is 500, or the status of the `HttpError`. If its stream fails, the response is
 *   truncated.
 * - An upgrade request is a GET with the field `Upgrade`. It cannot be answered with 101: a Response has no connection.
 *
 * @param handler a function, or an object with a method `fetch`
 * @throws TypeError if `handler` is neither
 * @example
 * ```ts
 * import { fromFetch } from 'gantry'
 *
 * export const application = fromFetch((request) => new Response(`You asked for ${new URL(request.url).pathname}\n`))
 * ```
 */
export function fromFetch(handler: FetchHandler | FetchModule): Application {
  const handle = handlerOf(handler)
  return (environ, startResponse) => {
    const waitUntil = new WaitUntil(environ)
    let result: Response | Promise<Response>
    try {
      result = handle(requestFrom(environ), new HandlerEnvironment(environ), waitUntil)
    } catch (error) {
      return waitUntil.afterFailure(error)
    }
    if (typeof (result as Promise<Response> | undefined)?.then !== 'function') {
      return answer(result as Response, environ, startResponse, waitUntil)
    }
    return (result as Promise<Response>).then(
      (response) => answer(response, environ, startResponse, waitUntil),
      (error: unknown) => waitUntil.afterFailure(error),
    )
  }
}

function handlerOf(handler: FetchHandler | FetchModule): FetchHandler {
  if (typeof handler === 'function') return handler
  const candidate = handler as FetchModule | null | undefined
  if (typeof candidate?.fetch === 'function') return (...args) => candidate.fetch(...args)
  throw new TypeError(
    `fromFetch: expected a function of (request), or an object with fetch(request), got ${shown(handler)}`,
  )
}

class HandlerEnvironment implements FetchEnvironment {
  readonly environ: Environ

  constructor(environ: Environ) {
    this.environ = environ
  }

  get incoming(): FetchEnvironment['incoming'] {
    const { REMOTE_ADDR: address, REMOTE_PORT: port } = this.environ
    const family = /^[\d.]+$/.test(address) ? 'IPv4' : /^[\da-f:.]*:[\da-f:.]*$/i.test(address) ? 'IPv6' : undefined
    return {
      socket: {
        remoteAddress: family && address,
        remotePort: family && port ? Number(port) : undefined,
        remoteFamily: family,
      },
    }
  }
}

function answer(
  response: Response,
  environ: Environ,
  startResponse: StartResponse,
  waitUntil: WaitUntil,
): Body | Promise<Body> {
  try {
    const whole = LightResponse.is(response) ? LightResponse.take(response) : undefined
    if (whole) {
      const { status, statusText, fields, body } = whole
      startResponse(statusLine(status, statusText), endToEnd(fields))
      return waitUntil.afterWhole(body === null ? [] : [typeof body === 'string' ? Buffer.from(body) : body])
    }
    check(response)
    startResponse(statusLine(response.status, response.statusText), fieldsOf(response))
    return response.body ? streamed(response.body, environ, waitUntil) : waitUntil.afterWhole([])
  } catch (error) {
    // The response has no reader now. Its source (another server's connection) must not wait for one.
    discard(response)
    return waitUntil.afterFailure(error)
  }
}

/** Status lines by code. */
const STATUS_LINES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(STATUS_CODES).map(([code, reason]) => [code, `${code} ${reason}`]),
)

/**
 * An empty reason, as always in HTTP/2, becomes the reason of the status code. Characters that only a Response allows
 * are removed.
 */
function statusLine(status: number, reason: string): string {
  return reason === '' ? (STATUS_LINES[status] ?? `${status} Unknown`) : statusFromWire(`${status} ${reason}`)
}

async function streamed(stream: ReadableStream<Uint8Array>, environ: Environ, waitUntil: WaitUntil): Promise<Body> {
  try {
    const body = await streamBody(stream, environ.gantry.signal)
    if (Array.isArray(body)) return waitUntil.afterWhole(body)
    if (environ.REQUEST_METHOD !== 'HEAD') return waitUntil.afterStream(body)
    // A response to HEAD has no body, and its first chunk may take long.
    void body.close()
    return waitUntil.afterWhole([])
  } catch (error) {
    return waitUntil.afterFailure(error)
  }
}

/** Accepts a Response of any implementation: frameworks and test tools have their own. */
function check(response: unknown): asserts response is Response {
  const candidate = response as Partial<Response> | null | undefined
  if (typeof candidate?.status !== 'number' || typeof candidate.headers?.[Symbol.iterator] !== 'function') {
    throw new TypeError(`the fetch handler returned ${shown(response)}: expected a Response`)
  }
  if (candidate.status === 0)
    throw new TypeError('the fetch handler returned Response.error(), which has no status to send')
  if (candidate.status === 101) {
    throw new TypeError(
      'the fetch handler returned status 101, and a Response has no connection to hand over: serve upgrades with fromNode({ onUpgrade })',
    )
  }
  if (candidate.bodyUsed || candidate.body?.locked) {
    throw new TypeError('the fetch handler returned a Response whose body was already read: return a clone() of it')
  }
}

function discard(response: unknown): void {
  const body = (response as Partial<Response> | null | undefined)?.body
  if (typeof body?.cancel === 'function' && !body.locked) body.cancel().catch(ignore)
}

/** The codings that undici's fetch decodes. If another coding is among them, it leaves the body encoded. */
const DECODED: ReadonlySet<string> = new Set(['gzip', 'x-gzip', 'deflate', 'br', 'zstd'])

function fieldsOf(response: Response): Headers {
  // `Set-Cookie` appears once for each cookie (Fetch standard, "sort and combine").
  const headers = endToEnd([...response.headers] as Headers)
  const codings = response.url ? response.headers.get('content-encoding') : null
  if (!codings?.split(',').every((coding) => DECODED.has(coding.trim().toLowerCase()))) return headers
  return headers.filter(([name]) => name !== 'content-encoding' && name !== 'content-length')
}

function ignore(): void {}
