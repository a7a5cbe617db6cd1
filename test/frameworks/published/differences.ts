/** Tests of published packages and of checkouts that pass on node:http and not in the pair, and why. */

/** Why a test fails in the pair. */
interface Reason {
  /**
   * The row of "What differs" in docs/frameworks/README.md; undefined: the test is about itself, and no application
   * sees it.
   */
  readonly row: string | undefined
  readonly reason: string
}

export interface PublishedDifference extends Reason {
  /** The end of the file's path. */
  readonly file: string
  /** A part of the test's name. Default: every test of the file. */
  readonly test?: string
}

const limits: Reason = {
  row: "`maxRequestsPerSocket`, `keepAliveTimeout` and other limits of the server's connections",
  reason: "limits of connections are the proxy's, not the application's server's",
}
const closing: Reason = {
  row: "the server's `connection` event",
  reason: "a client's connection is the proxy's: the application's server neither refuses nor closes it",
}
const malformed: Reason = {
  row: "the server's `connection` event",
  reason: 'the proxy refuses a malformed request; an application has no clientError to answer',
}
const longHead: Reason = {
  row: 'a head of more than 16 KiB',
  reason: 'the proxy accepts longer heads than node does',
}
const unanswered: Reason = {
  row: 'a response destroyed before its head',
  reason: 'a response that ends before anything of it was sent is answered with an error page, not with silence',
}
const forwarded: Reason = {
  row: '`X-Forwarded-For`, `-Proto` and `-Host` from a client',
  reason: "X-Forwarded-* are the proxy's own, unless --trusted-peers has the client",
}
const host: Reason = {
  row: 'a malformed `Host` (`a b`)',
  reason: 'an empty Host, or one that names no host, is refused by the proxy (RFC 9112 §3.2)',
}
const hostlessUpgrade: Reason = {
  row: 'an upgrade without `Host`',
  reason: 'the proxy asks for a Host (RFC 9112 §3.2) whether or not the request asks for an upgrade',
}
const hostless: Reason = {
  row: "the server's options of sockets and of parsing",
  reason: 'requireHostHeader is an option of the parser, which is the proxy',
}
const halfClose: Reason = {
  row: 'a client that half-closes',
  reason: "the end of a client's sending aborts its request, unless --half-close serve is given",
}
const byHand: Reason = {
  row: 'a response written to `req.socket` by hand, and `req.socket.end()`',
  reason: "the client gets the response, but its connection is the proxy's and is kept",
}
const framing: Reason = {
  row: 'other hop-by-hop fields that a response sets (`Transfer-Encoding`, `Trailer`, `Upgrade`, `TE`, `Proxy-Authenticate`)',
  reason: 'the gateway frames the response, and sends trailers without announcing them',
}
const length: Reason = {
  row: 'a body written and ended at once, without length',
  reason: 'a response that is whole has its Content-Length; a 205 has one of 0 (RFC 9110 §15.3.6)',
}
const badEscape: Reason = { row: 'a target with a bad `%` escape', reason: 'the proxy refuses the target' }
const backslash: Reason = {
  row: 'a target with `\\` in its path, with `#`, or with a raw byte of 0x80 or above',
  reason: 'the proxy refuses the target',
}
const status: Reason = {
  row: 'a status above 599',
  reason: 'RFC 9110 §15: a status has a code from 100 to 599; any other is answered with 500',
}
const switching: Reason = {
  row: '`res.writeHead(101)` without an upgrade',
  reason: 'a client that asked for no upgrade would take what follows for the response',
}
const harness: Reason = {
  row: undefined,
  reason: 'the test is sent before the pair in its process has started, or counts calls that the pair replaces',
}

/** Tests of checkouts; each word of a list is part of a test's name. */
function checkout(name: string, reason: Reason, tests: readonly string[]): PublishedDifference[] {
  return tests.map((test) => ({ file: `checkouts/${name}`, test, ...reason }))
}

export const publishedDifferences: readonly PublishedDifference[] = [
  { file: 'fastify/test/404s.test.js', test: 'Unknown method', ...malformed },
  { file: 'fastify/test/client-timeout.test.js', test: 'requestTimeout', ...limits },
  { file: 'fastify/test/close-pipelining.test.js', ...closing },
  { file: 'fastify/test/close.test.js', test: 'Current opened connection', ...closing },
  { file: 'fastify/test/close.test.js', test: 'rejected incoming connections', ...closing },
  { file: 'fastify/test/custom-http-server.test.js', test: 'closeIdleConnections', ...harness },
  { file: 'fastify/test/header-overflow.test.js', ...longHead },
  { file: 'fastify/test/max-requests-per-socket.test.js', ...limits },
  { file: 'fastify/test/reply-error.test.js', test: 'client error', ...malformed },
  { file: 'fastify/test/reply-error.test.js', test: 'fallback error handler aborts', ...unanswered },
  { file: 'fastify/test/reply-trailers.test.js', test: 'trailers over a real socket', ...framing },
  { file: 'fastify/test/request-error.test.js', test: 'in-stream error', ...unanswered },
  { file: 'fastify/test/request-error.test.js', test: 'non-numeric content-length', ...malformed },
  { file: 'fastify/test/request-header-host.test.js', test: 'requireHostHeader', ...hostless },
  { file: 'fastify/test/request-header-host.test.js', test: 'Host header is empty', ...host },
  { file: 'fastify/test/request-header-host.test.js', test: 'removed by schema', ...limits },
  { file: 'fastify/test/route-hooks.test.js', test: 'onTimeout', ...unanswered },
  { file: 'fastify/test/skip-reply-send.test.js', test: 'Hijacking', ...byHand },
  { file: 'fastify/test/trust-proxy.test.js', ...forwarded },
  { file: 'fastify/test/url-rewriting.test.js', test: 'Should throw an error', ...unanswered },
  { file: '@fastify/websocket/test/hooks.test.js', test: 'Should not hijack reply', ...halfClose },
  { file: '@fastify/websocket/test/router.test.js', test: 'depending on the headers', ...hostlessUpgrade },
  ...checkout('express', forwarded, [
    ...['.host when "trust proxy" is enabled', '.hostname when "trust proxy" is enabled', 'X-Forwarded-For is present'],
    ...['.protocol when "trust proxy" is enabled', 'X-Forwarded-Proto is present', 'with trusted X-Forwarded-Host'],
    'X-Forwarded-For is not present should return the remote address',
  ]),
  ...checkout('express', badEscape, ['URL malformed']),
  ...checkout('express', host, ['accepting html should escape', 'evil javascript', 'accepting text should encode']),
  ...checkout('express', framing, ['when Transfer-Encoding header is present']),
  ...checkout('express', switching, ['status code to 101']),
  ...checkout('express', status, ['status code to 700', 'status code to 800', 'status code to 900']),
  ...checkout('koa', forwarded, ['should get secure from request']),
  ...checkout('koa', framing, ['should not add Content-Length when Transfer-Encoding']),
  ...checkout('koa', length, ['when 205']),
  ...checkout('koa', status, ['with custom status=700', 'with custom status without message']),
  ...checkout('koa', halfClose, ['when continuous requests']),
  ...checkout('koa', harness, ['when response finished', 'when socket closed before response sent']),
  ...checkout('node-server', host, ['w/o host header']),
  ...checkout('node-server', backslash, ['mixed separators']),
  ...checkout('node-server', closing, ['lingering close']),
]

export function publishedDifference(file: string, test: string): PublishedDifference | undefined {
  return publishedDifferences.find((one) => file.endsWith(one.file) && test.includes(one.test ?? ''))
}

/**
 * Entries of `files` that no test needed: these tests have node:http's results now. Those without a row depend on the
 * speed of the machine.
 */
export function unneeded(files: (file: string) => boolean, needed: ReadonlySet<PublishedDifference>): string[] {
  const stale = publishedDifferences.filter((one) => one.row !== undefined && files(one.file) && !needed.has(one))
  return stale.map(({ file, test }) => `listed, but as on node:http: ${file}${test === undefined ? '' : `: ${test}`}`)
}
