/**
 * Static tables of names: on the wire a known name is its index, and an unknown name is text. Only append: the index of
 * a name never changes. A test pins the bytes of both tables.
 */

import { CGI_VARIABLES } from '../../contract/cgi-variables.ts'

/** Header variables of a REQUEST, by index. */
const HEADER_VARIABLES: ReadonlyArray<readonly [index: number, name: string]> = [
  [24, 'HTTP_HOST'],
  [25, 'HTTP_X_FORWARDED_FOR'],
  [26, 'HTTP_X_FORWARDED_PROTO'],
  [27, 'HTTP_X_FORWARDED_HOST'],
  [28, 'HTTP_FORWARDED'],
  [29, 'HTTP_X_REQUEST_ID'],
]

/** Variables of a REQUEST: those of the contract's table that have an index, and header variables. */
export const VARIABLES: readonly string[] = [
  ...CGI_VARIABLES.flatMap(({ name, wire }) => (wire === undefined ? [] : [[wire, name] as const])),
  ...HEADER_VARIABLES,
]
  .sort(([one], [other]) => one - other)
  .map(([, name]) => name)

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
