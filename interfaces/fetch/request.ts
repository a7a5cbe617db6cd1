/**
 * Makes the `Request` of an environ for a fetch handler. Its body is read from `wsgi.input` only as the handler reads
 * it.
 */

import { ReadableStream } from 'node:stream/web'
import type { Environ, Input } from '../../protocol/contract/application.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import { hasBody } from '../../protocol/contract/has-body.ts'
import { requestUrl } from '../node/request-url.ts'
import { headersFrom } from './headers.ts'
import { lightRequest } from './light-request.ts'

/** Methods that the Fetch standard forbids for a Request ("forbidden method"). */
const FORBIDDEN_METHODS: ReadonlySet<string> = new Set(['CONNECT', 'TRACE', 'TRACK'])
/** Methods whose spelling the standard does not change. */
const USUAL_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])

/**
 * @returns a light request if `installLightFetch` was called
 * @throws HttpError 501 for a method that a Request cannot have; 400 for a Host that a URL cannot have, or a field that
 *   Headers cannot have
 */
export function requestFrom(environ: Environ): Request {
  const method = environ.REQUEST_METHOD
  const url = urlOf(environ)
  if (USUAL_METHODS.has(method)) {
    const bodyless = method === 'GET' || method === 'HEAD' || !hasBody(environ, environ['wsgi.input'])
    return lightRequest(environ, url, method, bodyless, realRequest) ?? realRequest(environ, url, method, bodyless)
  }
  if (FORBIDDEN_METHODS.has(method.toUpperCase())) {
    throw httpError('METHOD', `a fetch Request cannot have the method ${method}`)
  }
  return realRequest(environ, url, method, !hasBody(environ, environ['wsgi.input']))
}

/** The platform's own Request. */
function realRequest(environ: Environ, url: string, method: string, bodyless: boolean, headers?: Headers): Request {
  return new Request(url, {
    method,
    headers: headers ?? headersFrom(environ),
    signal: environ.gantry.signal,
    ...(bodyless ? undefined : { body: streamOf(environ['wsgi.input']) as never, duplex: 'half' }),
  })
}

/** Origins by scheme and authority, and the last one used. Bounded: clients choose the Host. */
const origins: Map<string, string> = new Map()
const ORIGINS_MAX = 256
let last: { scheme: string; authority: string; origin: string } = { scheme: '', authority: '', origin: '' }

/** A target that a URL parser would not change: no segment begins with a dot, and nothing would be escaped. */
const PLAIN_TARGET = /^(?:\/(?!\.|%2e)[\w\-.~!$&()*+,;=:@%]*)+(?:\?[\w\-.~!$&()*+,;=:@%/?]*)?$/i

/**
 * The URL as the client requested it (PEP 3333 §"URL Reconstruction"), without the path where the application is
 * mounted.
 */
function urlOf(environ: Environ): string {
  const target = requestUrl(environ)
  // The host of an absolute target is `HTTP_HOST` (RFC 9112 §3.2.2); `*` has no path.
  const path = target.startsWith('/') ? target : target === '*' ? '/' : target.replace(/^[^:]+:\/\/[^/?]*/, '')
  const url = originOf(environ) + (path.startsWith('/') ? path : `/${path}`)
  return PLAIN_TARGET.test(path) ? url : new URL(url).href
}

function originOf(environ: Environ): string {
  const host = environ['HTTP_HOST']
  const authority =
    typeof host === 'string' && host !== '' ? host : `${bracketed(environ.SERVER_NAME)}:${environ.SERVER_PORT}`
  const scheme = environ['wsgi.url_scheme']
  // Most clients use one name of a server; a comparison is cheaper than a lookup of a new string.
  if (authority === last.authority && scheme === last.scheme) return last.origin
  const url = `${scheme}://${authority}`
  let origin = origins.get(url)
  if (origin === undefined) {
    origin = newOrigin(url, authority)
    if (origins.size < ORIGINS_MAX) origins.set(url, origin)
  }
  last = { scheme, authority, origin }
  return origin
}

function newOrigin(url: string, authority: string): string {
  // A Host such as `a@b` or `a/b` would change the path or add a user; a comma shows that two Host fields were joined.
  if (!/^[^\s,/?#@\\]+$/.test(authority) || !URL.canParse(url)) {
    throw httpError('BAD_HOST', `the Host field is not a host: ${JSON.stringify(authority)}`)
  }
  return new URL(url).origin
}

/** An IPv6 address in brackets, as a URL has it (RFC 3986 §3.2.2). */
function bracketed(name: string): string {
  return name.includes(':') && !name.startsWith('[') ? `[${name}]` : name
}

/**
 * The input as a stream without read-ahead: its first read makes the gateway send 100 Continue. Each chunk is copied: a
 * gateway's chunk is part of a larger buffer that may hold bytes of other requests, and the reader of a byte stream can
 * see and transfer the whole buffer.
 */
function streamOf(input: Input): ReadableStream<Uint8Array> {
  return new ReadableStream({
    type: 'bytes',
    async pull(controller) {
      const chunk = await input.read1()
      if (chunk.length > 0) controller.enqueue(new Uint8Array(chunk))
      else {
        controller.close()
        // A reader with its own buffer waits until it is told that the buffer stays empty.
        controller.byobRequest?.respond(0)
      }
    },
  })
}
