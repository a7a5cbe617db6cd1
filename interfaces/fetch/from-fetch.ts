/**
 * A fetch handler, `(Request) → Response`, as an Application: what Hono, itty-router, and modules written for Workers, Deno or Bun are. Both
 * bodies stream under backpressure, and a client's abort is the request's `signal`.
 *
 * How a `Request` comes from an environ is in `request.ts`, how a stream becomes a body in `stream-body.ts`. This file does not know frameworks.
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

/** What a handler is given beside the request: Hono's `c.env`. */
export interface FetchEnvironment {
  readonly environ: Environ
  /** As much of node's request as says where it came from: `getConnInfo` of `@hono/node-server/conninfo` reads this. */
  readonly incoming: {
    readonly socket: {
      readonly remoteAddress: string | undefined
      readonly remotePort: number | undefined
      readonly remoteFamily: 'IPv4' | 'IPv6' | undefined
    }
  }
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
 * and Content-Length are left out. What the handler throws is the exchange's 500, or an `HttpError`'s status; a stream that fails cuts the response.
 * An upgrade request is a GET with `Upgrade` among its headers, and cannot be result by a 101: a Response has no connection to give.
 *
 * @throws TypeError when `handler` is neither a function nor an object with a `fetch` method
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
  const given = handler as FetchModule | null | undefined
  if (typeof given?.fetch === 'function') return (...args) => given.fetch(...args)
  throw new TypeError(
    `fromFetch takes a function of a Request, or an object with fetch(request), and got ${shown(handler)}`,
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
    // It has no reader now: what feeds it (another server's connection) must not wait for one.
    discard(response)
    return waitUntil.afterFailure(error)
  }
}

/** Status lines by code. */
const usual: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(STATUS_CODES).map(([code, reason]) => [code, `${code} ${reason}`]),
)

/** An empty reason, as HTTP/2's always is, is that of the code; and what a Response allows beyond the contract goes. */
function statusLine(status: number, reason: string): string {
  return reason === '' ? (usual[status] ?? `${status} Unknown`) : statusFromWire(`${status} ${reason}`)
}

async function streamed(stream: ReadableStream<Uint8Array>, environ: Environ, waitUntil: WaitUntil): Promise<Body> {
  try {
    const body = await streamBody(stream, environ.gantry.signal)
    if (Array.isArray(body)) return waitUntil.afterWhole(body)
    if (environ.REQUEST_METHOD !== 'HEAD') return waitUntil.afterStream(body)
    // Nobody will see a byte of it, and the first may be long in coming.
    void body.close()
    return waitUntil.afterWhole([])
  } catch (error) {
    return waitUntil.afterFailure(error)
  }
}

/** A Response of any implementation: frameworks and test tools bring their own. */
function check(response: unknown): asserts response is Response {
  const given = response as Partial<Response> | null | undefined
  if (typeof given?.status !== 'number' || typeof given.headers?.[Symbol.iterator] !== 'function') {
    throw new TypeError(`the fetch handler returned ${shown(response)}: expected a Response`)
  }
  if (given.status === 0)
    throw new TypeError('the fetch handler returned Response.error(), which says that there is no answer')
  if (given.status === 101) {
    throw new TypeError(
      'the fetch handler returned status 101, and a Response has no connection to hand over: serve upgrades with fromNode({ onUpgrade })',
    )
  }
  if (given.bodyUsed || given.body?.locked) {
    throw new TypeError('the fetch handler returned a Response whose body was read already: give a clone() of it')
  }
}

function discard(response: unknown): void {
  const body = (response as Partial<Response> | null | undefined)?.body
  if (typeof body?.cancel === 'function' && !body.locked) body.cancel().catch(ignore)
}

/** What undici's fetch decodes; with any other coding among them it leaves the body as it came. */
const DECODED: ReadonlySet<string> = new Set(['gzip', 'x-gzip', 'deflate', 'br', 'zstd'])

function fieldsOf(response: Response): Headers {
  // `Set-Cookie` comes once for each cookie (Fetch standard, "sort and combine").
  const headers = endToEnd([...response.headers] as Headers)
  const codings = response.url ? response.headers.get('content-encoding') : null
  if (!codings?.split(',').every((coding) => DECODED.has(coding.trim().toLowerCase()))) return headers
  return headers.filter(([name]) => name !== 'content-encoding' && name !== 'content-length')
}

function ignore(): void {}
