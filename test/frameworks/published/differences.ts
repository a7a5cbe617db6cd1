/** Tests of published packages that pass on node:http and not in the pair, and why. */

export interface PublishedDifference {
  /** The end of the file's path. */
  readonly file: string
  /** What its name contains; every test of the file, unless told. */
  readonly test?: string
  readonly reason: string
}

const connections = "limits and the closing of connections are the proxy's, not the application's server's"
const malformed = 'the proxy refuses what is malformed, or too large, before an application hears of it'
const unanswered =
  'a response that is cut before anything of it has left is answered with an error page, not with silence'
const forwarded = "X-Forwarded-* of a client are replaced by the proxy's own, unless --trusted-peers has the client"
const host =
  'a request without a Host is refused by the proxy (RFC 9112 §3.2), whatever the application would make of it'
const halfClose = "the end of a client's sending aborts its request, unless --half-close serve is given"
const raw =
  'an answer that is written to req.socket by hand is no response: the request fails, and the connection is kept'

export const publishedDifferences: readonly PublishedDifference[] = [
  { file: 'fastify/test/404s.test.js', test: 'Unknown method', reason: malformed },
  { file: 'fastify/test/client-timeout.test.js', test: 'requestTimeout', reason: connections },
  { file: 'fastify/test/close-pipelining.test.js', reason: connections },
  { file: 'fastify/test/close.test.js', test: 'onnection', reason: connections },
  { file: 'fastify/test/custom-http-server.test.js', test: 'closeIdleConnections', reason: connections },
  { file: 'fastify/test/header-overflow.test.js', reason: malformed },
  { file: 'fastify/test/max-requests-per-socket.test.js', reason: connections },
  { file: 'fastify/test/reply-error.test.js', test: 'client error', reason: malformed },
  { file: 'fastify/test/reply-error.test.js', test: 'fallback error handler aborts', reason: unanswered },
  {
    file: 'fastify/test/reply-trailers.test.js',
    test: 'trailers over a real socket',
    reason: 'the field Trailer is hop by hop in the contract: the trailers come without being announced',
  },
  { file: 'fastify/test/request-error.test.js', test: 'in-stream error', reason: unanswered },
  { file: 'fastify/test/request-error.test.js', test: 'non-numeric content-length', reason: malformed },
  { file: 'fastify/test/request-header-host.test.js', reason: host },
  { file: 'fastify/test/route-hooks.test.js', test: 'onTimeout', reason: unanswered },
  { file: 'fastify/test/skip-reply-send.test.js', test: 'Hijacking', reason: raw },
  { file: 'fastify/test/trust-proxy.test.js', reason: forwarded },
  { file: 'fastify/test/url-rewriting.test.js', test: 'Should throw an error', reason: unanswered },
  { file: '@fastify/websocket/test/hooks.test.js', test: 'Should not hijack reply', reason: halfClose },
  { file: '@fastify/websocket/test/router.test.js', test: 'depending on the headers', reason: host },
]

export function publishedDifference(file: string, test: string): PublishedDifference | undefined {
  return publishedDifferences.find((one) => file.endsWith(one.file) && test.includes(one.test ?? ''))
}
