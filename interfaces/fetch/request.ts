/** The `Request` of an environ, for a fetch handler. Its body is read from `wsgi.input` only as the handler reads it. */

import { ReadableStream } from 'node:stream/web'
import type { Environ, Input } from '../../protocol/contract/application.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import { hasBody } from '../../protocol/contract/has-body.ts'
import { requestUrl } from '../node/request-url.ts'
import { headersFrom } from './headers.ts'
import { lightRequest } from './light-request.ts'

/** What the Fetch standard lets no Request have ("forbidden method"). */
const FORBIDDEN_METHODS: ReadonlySet<string> = new Set(['CONNECT', 'TRACE', 'TRACK'])
/** Those that the standard would spell as they are. */
const USUAL_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])

/**
 * @returns a light one where `installLightFetch` is in force
 * @throws HttpError 501 for a method that no Request can have, 400 for a Host that no URL can have, or a field that no Headers can
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

/** Origins by scheme and authority, and the one that was asked for last. Bounded: a Host is whatever the client says. */
const origins: Map<string, string> = new Map()
const ORIGINS_MAX = 256
let last: { scheme: string; authority: string; origin: string } = { scheme: '', authority: '', origin: '' }

/** What a URL parser leaves as it is: no segment that begins with a dot, and nothing that would be escaped. */
const PLAIN_TARGET = /^(?:\/(?!\.|%2e)[\w\-.~!$&()*+,;=:@%]*)+(?:\?[\w\-.~!$&()*+,;=:@%/?]*)?$/i

/** Its address as the client asked for it (PEP 3333 §"URL Reconstruction"), within what it was mounted at. */
function urlOf(environ: Environ): string {
  const target = requestUrl(environ)
  // The host of an absolute target is `HTTP_HOST` (RFC 9112 §3.2.2); `*` is of no path.
  const path = target.startsWith('/') ? target : target === '*' ? '/' : target.replace(/^[^:]+:\/\/[^/?]*/, '')
  const url = originOf(environ) + (path.startsWith('/') ? path : `/${path}`)
  return PLAIN_TARGET.test(path) ? url : new URL(url).href
}

function originOf(environ: Environ): string {
  const host = environ['HTTP_HOST']
  const authority =
    typeof host === 'string' && host !== '' ? host : `${bracketed(environ.SERVER_NAME)}:${environ.SERVER_PORT}`
  const scheme = environ['wsgi.url_scheme']
  // Most clients of a server call it by one name; to compare it is cheaper than to look a new string up.
  if (authority === last.authority && scheme === last.scheme) return last.origin
  const given = `${scheme}://${authority}`
  let origin = origins.get(given)
  if (origin === undefined) {
    origin = newOrigin(given, authority)
    if (origins.size < ORIGINS_MAX) origins.set(given, origin)
  }
  last = { scheme, authority, origin }
  return origin
}

function newOrigin(given: string, authority: string): string {
  // A Host such as `a@b` or `a/b` would move the path or make a user; two were joined by a comma.
  if (!/^[^\s,/?#@\\]+$/.test(authority) || !URL.canParse(given)) {
    throw httpError('BAD_HOST', `the Host field is not a host: ${JSON.stringify(authority)}`)
  }
  return new URL(given).origin
}

/** An IPv6 address as it stands in a URL (RFC 3986 §3.2.2). */
function bracketed(name: string): string {
  return name.includes(':') && !name.startsWith('[') ? `[${name}]` : name
}

/**
 * The input as a stream that reads ahead of nobody: the first read is what asks the client for its body (100 Continue). Each chunk is a
 * copy: a gateway's is a piece of a larger buffer, in which other requests' bytes may be, and a byte stream's reader has the whole
 * of it, to look at or to transfer away.
 */
function streamOf(input: Input): ReadableStream<Uint8Array> {
  return new ReadableStream({
    type: 'bytes',
    async pull(controller) {
      const chunk = await input.read1()
      if (chunk.length > 0) controller.enqueue(new Uint8Array(chunk))
      else {
        controller.close()
        // A reader that brought a buffer of its own waits until it is told that nothing was put into it.
        controller.byobRequest?.respond(0)
      }
    },
  })
}
