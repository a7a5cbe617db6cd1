/**
 * Static tables of names: on the wire a known name is its index, and an unknown name is text. Only append: the index of
 * a name never changes. A test pins the bytes of both tables.
 */

/** CGI variables of a REQUEST. */
export const VARIABLES: readonly string[] = [
  'REQUEST_METHOD',
  'SCRIPT_NAME',
  'PATH_INFO',
  'QUERY_STRING',
  'REQUEST_URI',
  'SERVER_NAME',
  'SERVER_PORT',
  'SERVER_PROTOCOL',
  'SERVER_SOFTWARE',
  'GATEWAY_INTERFACE',
  'REMOTE_ADDR',
  'REMOTE_PORT',
  'REQUEST_SCHEME',
  'HTTPS',
  'CONTENT_TYPE',
  'CONTENT_LENGTH',
  'DOCUMENT_ROOT',
  'DOCUMENT_URI',
  'REMOTE_USER',
  'AUTH_TYPE',
  'PATH_TRANSLATED',
  'SCRIPT_FILENAME',
  'REMOTE_HOST',
  'REMOTE_IDENT',
  'HTTP_HOST',
  'HTTP_X_FORWARDED_FOR',
  'HTTP_X_FORWARDED_PROTO',
  'HTTP_X_FORWARDED_HOST',
  'HTTP_FORWARDED',
  'HTTP_X_REQUEST_ID',
]

// Header lines keep their case. Over HTTP/1.1 browsers send `Accept` and `sec-ch-ua`; over HTTP/2 undici and curl send
// lower case.
const BOTH_CASES: readonly string[] = [
  'Host',
  'User-Agent',
  'Accept',
  'Accept-Encoding',
  'Accept-Language',
  'Content-Type',
  'Content-Length',
  'Cookie',
  'Connection',
  'Cache-Control',
  'Referer',
  'Origin',
  'Authorization',
  'Upgrade-Insecure-Requests',
  'Sec-Fetch-Site',
  'Sec-Fetch-Mode',
  'Sec-Fetch-User',
  'Sec-Fetch-Dest',
  'If-None-Match',
  'If-Modified-Since',
  'Range',
  'X-Forwarded-For',
  'X-Forwarded-Proto',
  'X-Forwarded-Host',
  'X-Request-Id',
  'Forwarded',
  'Via',
  'Pragma',
  'Expect',
  'Upgrade',
  'Sec-WebSocket-Key',
  'Sec-WebSocket-Version',
  'Sec-WebSocket-Extensions',
  'Sec-WebSocket-Protocol',
  'Sec-WebSocket-Accept',
  'X-Requested-With',
  'DNT',
  'Priority',
  'Date',
  'Server',
  'Set-Cookie',
  'ETag',
  'Last-Modified',
  'Location',
  'Vary',
  'Expires',
  'Age',
  'Content-Encoding',
  'Content-Disposition',
  'Content-Range',
  'Content-Language',
  'Accept-Ranges',
  'Allow',
  'Link',
  'Retry-After',
  'WWW-Authenticate',
  'Strict-Transport-Security',
]

const ONE_CASE: readonly string[] = [
  'sec-ch-ua',
  'sec-ch-ua-mobile',
  'sec-ch-ua-platform',
  'Content-Security-Policy',
  'X-Content-Type-Options',
  'X-Frame-Options',
  'Access-Control-Allow-Origin',
  'traceparent',
]

/**
 * Header names of REQUEST, INFORM, RESPONSE and TRAILERS: first in the case of the RFCs, then the same in lower case,
 * then names that occur in one case only.
 */
export const NAMES: readonly string[] = [...BOTH_CASES, ...BOTH_CASES.map((name) => name.toLowerCase()), ...ONE_CASE]

const index = (names: readonly string[]): ReadonlyMap<string, number> => new Map(names.map((name, at) => [name, at]))

export const VARIABLE_INDEX: ReadonlyMap<string, number> = index(VARIABLES)
export const NAME_INDEX: ReadonlyMap<string, number> = index(NAMES)
