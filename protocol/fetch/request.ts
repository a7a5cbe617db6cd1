/** The `Request` of an environ, for a fetch handler. Its body is read from `wsgi.input` only as the handler reads it. */

import { ReadableStream } from 'node:stream/web'
import type { Environ, Input } from '../application.ts'
import { HttpError } from '../errors.ts'
import { hasBody } from '../has-body.ts'
import { requestUrl } from '../node-listener/request-url.ts'

/** What the Fetch standard lets no Request have ("forbidden method"). */
const FORBIDDEN_METHODS: ReadonlySet<string> = new Set(['CONNECT', 'TRACE', 'TRACK'])

/**
 * @throws HttpError 501 for a method that no Request can have, 400 for a Host that no URL can have
 */
export function requestFrom(environ: Environ): Request {
  const method = environ.REQUEST_METHOD
  if (FORBIDDEN_METHODS.has(method.toUpperCase())) {
    throw new HttpError(501, 'METHOD', `${method} cannot be a fetch Request's method`)
  }
  const input = environ['wsgi.input']
  const bodyless = method === 'GET' || method === 'HEAD' || !hasBody(environ, input)
  return new Request(urlOf(environ), {
    method,
    headers: environ.gantry.rawHeaders as [string, string][],
    signal: environ.gantry.signal,
    ...(bodyless ? undefined : { body: streamOf(input), duplex: 'half' }),
  })
}

/** Its address as the client asked for it (PEP 3333 §"URL Reconstruction"), within what it was mounted at. */
function urlOf(environ: Environ): string {
  const host = environ['HTTP_HOST']
  const authority =
    typeof host === 'string' && host !== '' ? host : `${bracketed(environ.SERVER_NAME)}:${environ.SERVER_PORT}`
  const target = requestUrl(environ)
  // An absolute target names its own host; `*` is of no path (RFC 9112 §3.2).
  const path = target.startsWith('/') ? target : target === '*' ? '/' : target.replace(/^[^:]+:\/\/[^/?]*/, '')
  const url = `${environ['wsgi.url_scheme']}://${authority}${path.startsWith('/') ? path : `/${path}`}`
  // A Host such as `a@b` or `a/b` would move the path or make a user.
  if (!/^[^\s/?#@\\]+$/.test(authority) || !URL.canParse(url)) {
    throw new HttpError(400, 'BAD_HOST', `no URL can be made of Host ${JSON.stringify(authority)}`)
  }
  return url
}

/** An IPv6 address as it stands in a URL (RFC 3986 §3.2.2). */
function bracketed(name: string): string {
  return name.includes(':') && !name.startsWith('[') ? `[${name}]` : name
}

/**
 * The input as a stream that reads ahead of nobody: the first read is what asks the client for its body (100 Continue). Not a byte stream
 * (which would serve BYOB readers): that takes the whole buffer of each chunk, in which other requests' bytes may be, so that each
 * would have to be copied.
 */
function streamOf(input: Input): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const chunk = await input.read1()
        if (chunk.length > 0) controller.enqueue(chunk)
        else controller.close()
      },
    },
    { highWaterMark: 0 },
  )
}
