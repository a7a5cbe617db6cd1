/**
 * The rules for a request's head, in addition to llhttp's: the request line, `Host`, the framing fields, `Connection`,
 * `Upgrade` and `Expect` (RFC 9112 §3, §6, §9; RFC 9110 §7.2, §7.8, §10.1.1). A head that two servers could read
 * differently is refused.
 */

import { peerError } from '../../contract/coded-errors.ts'
import type { RequestHead } from '../../contract/environ.ts'
import type { PeerCode } from '../../contract/error-codes.ts'
import { isHost } from '../../contract/host.ts'
import { TOKEN } from '../../contract/token.ts'
import type { Http1Limits } from './limits.ts'
import { executeHead, headFields, headReason, headSpans, INVALID_TRANSFER_ENCODING, OK } from './llhttp.ts'
import { CONNECTION, CONTENT_LENGTH, EXPECT, HOST as HOST_FIELD, nameAt, TRANSFER_ENCODING, UPGRADE } from './names.ts'

/** A valid head, and what it says about the body of the message and about the connection. */
export interface ParsedHead extends RequestHead {
  /** Length of the body in bytes; -1: chunked. */
  bodyLength: number
  /** Whether the client wants to keep the connection (RFC 9112 §9.3); never true if it sent `close`. */
  keepAlive: boolean
  /** Whether the client waits for 100 Continue before it sends the body. */
  expectContinue: boolean
}

/**
 * Methods that are passed to applications: Node's `http.METHODS` without CONNECT (tunnels are not supported). llhttp
 * also accepts PRI (HTTP/2's preface) and the methods of RTSP. A test sends each of Node's methods.
 *
 * Other methods get 501 (RFC 9110 §9.1). Node's own server refuses them too, so that applications written for Node
 * never receive one. nginx and gunicorn pass them on; over uwsgi the web server decides.
 */
const METHODS: ReadonlySet<string> = new Set(
  (
    'GET HEAD POST PUT DELETE OPTIONS PATCH TRACE QUERY ' +
    'COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND ACL LINK UNLINK ' +
    'REPORT MKACTIVITY CHECKOUT MERGE MKCALENDAR M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE SOURCE'
  ).split(' '),
)

/** Bytes; longer than any method above. A line whose first space comes later is not a request. */
export const METHOD_MAX = 32
/** Bytes of a request line beside method and target: a space, ` HTTP/1.1` and CRLF. */
export const LINE_REST: number = 1 + 9 + 2

/**
 * Visible ASCII without `#`: RFC 3986's characters, characters that browsers do not escape in a query, and quotes and
 * angle brackets, which tools send unescaped (`?filter={"a":"b"}`) and Node, nginx and gunicorn serve.
 *
 * Servers disagree about `#` and bytes ≥ 0x80: nginx ends the target at `#`, and others make it a part of the path; raw
 * bytes are UTF-8 to some servers and latin1 to others. Node refuses raw bytes as well.
 */
const TARGET = /^[!"$-~]+$/
const ABSOLUTE = /^https?:\/\/([^/?]*)(?:[/?]|$)/i
const DIGITS = /^[0-9]+$/
const VERSION = /^HTTP\/[0-9]\.[0-9]$/

function refuse(code: PeerCode, message: string): never {
  throw peerError(code, message)
}

/** Quotes text for an error message: printable, and short enough for a log. */
function shown(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}

/**
 * Refuses a request line that is longer than the longest method and target.
 *
 * @param prefix the first bytes of the line
 */
export function refuseLongLine(prefix: string, limits: Http1Limits): never {
  const space = prefix.indexOf(' ')
  if (space <= 0 || space > METHOD_MAX || !TOKEN.test(prefix.slice(0, space))) {
    refuse('BAD_REQUEST_LINE', `expected a request line (METHOD TARGET HTTP/1.1), got ${shown(prefix)}`)
  }
  refuse('TARGET_TOO_LONG', `the request target is longer than ${limits.target} bytes (--target-limit)`)
}

export function refuseBareLineFeed(): never {
  refuse('BARE_LF', 'a line of the request head ends in LF without CR; expected CRLF')
}

/** The parts of a request line. */
interface RequestLine {
  method: string
  target: string
  minor: 0 | 1
  /** The host and port of an absolute-form target. */
  authority: string | undefined
}

const line: RequestLine = { method: '', target: '', minor: 1, authority: undefined }

/**
 * Reads `method SP request-target SP HTTP-version` (RFC 9112 §3), strictly: one space each, nothing before or after
 * them.
 *
 * @throws RemoteProtocolError 400, 414, 501 or 505
 */
export function parseRequestLine(text: string, limits: Http1Limits): RequestLine {
  const first = text.indexOf(' ')
  const last = text.length - 9
  if (first <= 0 || last <= first || text.charCodeAt(last) !== 0x20) {
    refuse('BAD_REQUEST_LINE', `expected a request line (METHOD TARGET HTTP/1.1), got ${shown(text)}`)
  }
  const method = text.slice(0, first)
  if (!text.startsWith('HTTP/1.', last + 1)) {
    const version = text.slice(last + 1)
    if (!VERSION.test(version))
      refuse('BAD_REQUEST_LINE', `expected a request line (METHOD TARGET HTTP/1.1), got ${shown(text)}`)
    refuse('VERSION_UNSUPPORTED', `${version} is not supported; expected HTTP/1.1 or HTTP/1.0`)
  }
  const digit = text.charCodeAt(text.length - 1)
  if (digit !== 0x31 && digit !== 0x30) {
    if (digit < 0x30 || digit > 0x39)
      refuse('BAD_REQUEST_LINE', `expected a request line (METHOD TARGET HTTP/1.1), got ${shown(text)}`)
    refuse('VERSION_UNSUPPORTED', `${text.slice(last + 1)} is not supported; expected HTTP/1.1 or HTTP/1.0`)
  }
  if (!METHODS.has(method)) {
    if (!TOKEN.test(method))
      refuse('BAD_METHOD', `the method ${shown(method)} is not a token (RFC 9110, section 5.6.2)`)
    refuse('METHOD_UNKNOWN', `the method ${shown(method)} is not implemented`)
  }
  const target = text.slice(first + 1, last)
  if (target.length > limits.target) {
    refuse(
      'TARGET_TOO_LONG',
      `the request target has ${target.length} bytes; the limit is ${limits.target} (--target-limit)`,
    )
  }
  line.method = method
  line.minor = digit === 0x31 ? 1 : 0
  line.authority = checkTarget(target, method)
  line.target = isServerWide(method, target, line.authority) ? '*' : target
  return line
}

/** Checks a target, which has one of the forms of RFC 9112 §3.2. Authority-form is only for CONNECT, and is refused. */
function checkTarget(target: string, method: string): string | undefined {
  if (!TARGET.test(target))
    refuse(
      'BAD_TARGET',
      `the request target contains an invalid character: ${shown(target)}; expected a percent-encoded URL`,
    )
  if (target.charCodeAt(0) === 0x2f) {
    const slash = target.indexOf('\\')
    if (slash !== -1) refuseBackslash(target, slash)
    return undefined
  }
  if (target === '*') {
    if (method !== 'OPTIONS') refuse('BAD_TARGET', `the request target * is valid for OPTIONS only, got ${method}`)
    return undefined
  }
  const authority = ABSOLUTE.exec(target)?.[1]
  if (authority === undefined)
    refuse('BAD_TARGET', `the request target is neither a path nor an http URL: ${shown(target)}`)
  // RFC 9110 §4.2.4: userinfo in a target is an error, and it hides the host.
  if (!isHost(authority)) refuse('BAD_TARGET', `the request target contains an invalid host: ${shown(authority)}`)
  const slash = target.indexOf('\\')
  if (slash !== -1) refuseBackslash(target, slash)
  return authority
}

/** RFC 9112 §3.2.4: OPTIONS with a URL without path and query means the whole server, as `OPTIONS *`. */
function isServerWide(method: string, target: string, authority: string | undefined): boolean {
  return method === 'OPTIONS' && authority !== undefined && target.endsWith(`://${authority}`)
}

/** Some servers and browsers treat a backslash in a path as a slash. */
function refuseBackslash(target: string, at: number): void {
  const question = target.indexOf('?')
  if (question === -1 || at < question)
    refuse('BAD_TARGET', `the path of the request target contains a backslash: ${shown(target)}; expected / or %5C`)
}

/**
 * Parses a complete head.
 *
 * @param bytes contains the head from `start` to `end`, with its empty line
 * @param lineLength bytes of the request line without its CRLF
 * @throws RemoteProtocolError, with the status of the response, if the head is refused
 */
export function parseHead(
  bytes: Buffer,
  start: number,
  end: number,
  lineLength: number,
  limits: Http1Limits,
): ParsedHead {
  const text = bytes.toString('latin1', start, end)
  const { method, target, minor, authority } = parseRequestLine(text.slice(0, lineLength), limits)
  const result = executeHead(bytes, start, end)
  if (result !== OK) refuseBlock(result, text, minor)
  if (headFields > limits.fields) {
    refuse('TOO_MANY_FIELDS', `the request has ${headFields} header fields; the limit is ${limits.fields}`)
  }
  const headers: string[] = new Array(headFields * 2)
  let host = -1
  let length = -1
  let coding = -1
  let upgrade = -1
  let expect = -1
  let close = false
  let keepAlive = false
  let upgrading = false
  for (let field = 0; field < headFields; field++) {
    const at = field * 4
    const nameStart = headSpans[at]!
    const nameLength = headSpans[at + 1]!
    const valueAt = headSpans[at + 2]!
    let valueEnd = valueAt + headSpans[at + 3]!
    // llhttp does not remove optional white space after a value (RFC 9110 §5.5).
    while (valueEnd > valueAt && isBlank(text.charCodeAt(valueEnd - 1))) valueEnd--
    const { name, field: kind } = nameAt(text, nameStart, nameLength, field)
    const value = text.slice(valueAt, valueEnd)
    headers[field * 2] = name
    headers[field * 2 + 1] = value
    switch (kind) {
      case HOST_FIELD:
        if (host !== -1) refuse('HOST_REPEATED', 'the request has more than one Host field')
        host = field * 2 + 1
        break
      case EXPECT:
        expect = field * 2 + 1
        break
      case UPGRADE:
        upgrade = field * 2 + 1
        break
      case CONNECTION:
        if (value === 'keep-alive') keepAlive = true
        else if (value === 'close') close = true
        else {
          for (const part of value.toLowerCase().split(',')) {
            const token = part.trim()
            if (token === 'close') close = true
            else if (token === 'keep-alive') keepAlive = true
            else if (token === 'upgrade') upgrading = true
          }
        }
        break
      case CONTENT_LENGTH:
        if (length !== -1) refuse('LENGTH_REPEATED', 'the request has more than one Content-Length field')
        length = field * 2 + 1
        break
      case TRANSFER_ENCODING:
        if (coding !== -1)
          refuse('CODING_UNSUPPORTED', 'the request has more than one Transfer-Encoding field; expected one: chunked')
        coding = field * 2 + 1
        break
    }
  }

  if (host !== -1) {
    if (!isHost(headers[host]!)) refuse('BAD_HOST', `the Host field is not a host: ${shown(headers[host]!)}`)
    // RFC 9112 §3.2.2: the authority of an absolute-form target replaces Host.
    if (authority !== undefined) headers[host] = authority
  } else if (minor === 1) refuse('HOST_MISSING', 'the HTTP/1.1 request has no Host field')
  else if (authority !== undefined) headers.push('Host', authority)

  let bodyLength = 0
  if (coding !== -1) {
    if (length !== -1) refuse('LENGTH_AND_CODING', 'the request has both Content-Length and Transfer-Encoding')
    if (minor === 0) refuse('CODING_ON_1_0', 'the HTTP/1.0 request has Transfer-Encoding; expected Content-Length')
    if (headers[coding]!.toLowerCase() !== 'chunked') {
      refuse('CODING_UNSUPPORTED', `the transfer coding ${shown(headers[coding]!)} is not supported; expected chunked`)
    }
    bodyLength = -1
  } else if (length !== -1) {
    bodyLength = DIGITS.test(headers[length]!) ? Number(headers[length]) : Number.NaN
    if (!Number.isSafeInteger(bodyLength))
      refuse('BAD_LENGTH', `the Content-Length is not a number of bytes: ${shown(headers[length]!)}`)
    if (bodyLength > limits.body) {
      refuse('BODY_TOO_LARGE', `the request body has ${bodyLength} bytes; the limit is ${limits.body} (--body-limit)`)
    }
  }

  // A server must ignore the expectation of an HTTP/1.0 client (RFC 9110 §10.1.1).
  let expectContinue = false
  if (expect !== -1 && minor === 1) {
    if (headers[expect]!.toLowerCase() !== '100-continue') {
      refuse(
        'EXPECTATION_UNKNOWN',
        `the expectation ${shown(headers[expect]!)} is not supported; expected 100-continue`,
      )
    }
    expectContinue = bodyLength !== 0
  }

  return {
    method,
    target,
    minor,
    headers,
    // An upgrade to h2c is not supported (RFC 9113 has removed it). A request with a body is served without an upgrade.
    upgrade:
      upgrading &&
      upgrade !== -1 &&
      minor === 1 &&
      bodyLength === 0 &&
      method === 'GET' &&
      headers[upgrade]!.toLowerCase() !== 'h2c',
    bodyLength,
    keepAlive: !close && (minor === 1 || keepAlive),
    expectContinue,
  }
}

/** Refuses a header block that llhttp refused, with the right status. */
function refuseBlock(result: number, text: string, minor: 0 | 1): never {
  // Checked first: a head that arrives in pieces is refused for a bare LF before its end has arrived.
  if (/[^\r]\n/.test(text)) refuseBareLineFeed()
  if (result === INVALID_TRANSFER_ENCODING && minor === 1 && !/\ncontent-length:/i.test(text)) {
    refuse('CODING_UNSUPPORTED', 'the transfer coding of the request is not supported; expected chunked')
  }
  refuse('BAD_HEADERS', `invalid header field: ${headReason}`)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}
