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

const framing = "a response's Transfer-Encoding is the gateway's own: what it has whole gets a Content-Length"
const target = 'a target with a bad % escape is refused by the proxy'
const method = 'a method of other protocols (SOURCE, of Icecast) is refused'
const artefact = 'the test depends on when a server in the same process has begun to listen, or on how much it keeps'

/** Tests of checkouts; each word of a list is part of a test's name. */
function checkout(name: string, reason: string, tests: readonly string[]): PublishedDifference[] {
  return tests.map((test) => ({ file: `checkouts/${name}`, test, reason }))
}

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
  ...checkout('express', forwarded, [
    ...['.host when "trust proxy" is enabled', '.hostname when "trust proxy" is enabled', 'X-Forwarded-For is present'],
    ...['.protocol when "trust proxy" is enabled', 'X-Forwarded-Proto is present', 'with trusted X-Forwarded-Host'],
  ]),
  ...checkout('express', "the client's address has no IPv6 prefix", ['should return the remote address']),
  ...checkout('express', target, ['URL malformed']),
  ...checkout('express', method, ['SOURCE']),
  ...checkout('express', host, ['accepting html should escape', 'evil javascript', 'accepting text should encode']),
  ...checkout('express', framing, ['when Transfer-Encoding header is present']),
  ...checkout('express', 'an upgrade that nobody asked for is a fault', ['status code to 101']),
  ...checkout('koa', forwarded, ['should get secure from request']),
  ...checkout('koa', framing, ['should not add Content-Length when Transfer-Encoding', 'when 205']),
  ...checkout('koa', halfClose, ['when continuous requests']),
  ...checkout('koa', artefact, ['when response finished']),
  ...checkout('node-server', host, ['w/o host header']),
  ...checkout('node-server', target, ['mixed separators']),
  ...checkout('node-server', connections, ['lingering close']),
  ...checkout('node-server', artefact, ['Memory leak test']),
]

export function publishedDifference(file: string, test: string): PublishedDifference | undefined {
  return publishedDifferences.find((one) => file.endsWith(one.file) && test.includes(one.test ?? ''))
}
