/**
 * Environs built from a parsed HTTP request, or from the variables of a CGI-like peer (docs/contract.md, RFC 3875 §4.1). What becomes of
 * headers is `request-headers.ts`, what crosses to another process `environ-wire.ts`. It knows neither sockets nor applications.
 */

import { fileWrapper } from '../files/file-wrapper.ts'
import type { Environ, ErrorStream, Input } from './application.ts'
import { peerError } from './coded-errors.ts'
import { Context } from './context.ts'
import { RequestInput } from './input.ts'
import { GATEWAY_INTERFACE, isOwn, SERVER_SOFTWARE } from './own-variables.ts'
import { applyHeaders, applyUpgrade, headerName } from './request-headers.ts'

/** A request's head as HTTP/1.x gives it. Strings are latin1. */
export interface RequestHead {
  method: string
  /** Raw request target: origin, absolute or asterisk form. */
  target: string
  /** The x of HTTP/1.x. */
  minor: 0 | 1
  /** Flat: name, value, … as received. */
  headers: string[]
  /** Whether it asks, validly, for another protocol (RFC 9110 §7.8). */
  upgrade: boolean
}

/** What is true of each request on one connection. */
export interface ConnectionFacts {
  remoteAddress: string
  remotePort: string
  serverName: string
  serverPort: string
  scheme: 'http' | 'https'
}

/** What is true of each request of one process. */
export interface ProcessFacts {
  multithread: boolean
  multiprocess: boolean
  runOnce: boolean
}

/** Stand-ins until an exchange attaches the real ones: reading is at its end, and errors go nowhere. */
const NO_INPUT: Input = new RequestInput(null)
const NO_ERRORS: ErrorStream = { write() {}, writelines() {}, flush() {} }
const VERSION: readonly [1, 0] = Object.freeze([1, 0] as const)
/** Not told yet; whoever builds an environ tells it, or finds that a peer did not. */
const UNTOLD = undefined as unknown as string

/**
 * An environ whose fixed keys are all there, so that V8 gives every one the same hidden class up to its headers; those follow in the
 * order received. (`Object.create(null)` would make a hash table, slower to build and to walk.) Keys are own keys only: a
 * variable named `__proto__` or `constructor` is a variable.
 */
export const Variables: new (process: ProcessFacts) => Environ = function Variables(
  this: Environ,
  process: ProcessFacts,
) {
  this.REQUEST_METHOD = UNTOLD
  this.SCRIPT_NAME = UNTOLD
  this.PATH_INFO = UNTOLD
  this.QUERY_STRING = UNTOLD
  this.REQUEST_URI = UNTOLD
  this.SERVER_NAME = UNTOLD
  this.SERVER_PORT = UNTOLD
  this.SERVER_PROTOCOL = UNTOLD
  this.SERVER_SOFTWARE = SERVER_SOFTWARE
  this.GATEWAY_INTERFACE = GATEWAY_INTERFACE
  this.REMOTE_ADDR = ''
  this.REMOTE_PORT = ''
  this.REQUEST_SCHEME = 'http'
  this['wsgi.version'] = VERSION
  this['wsgi.url_scheme'] = 'http'
  this['wsgi.input'] = NO_INPUT
  this['wsgi.errors'] = NO_ERRORS
  this['wsgi.multithread'] = process.multithread
  this['wsgi.multiprocess'] = process.multiprocess
  this['wsgi.run_once'] = process.runOnce
  this['wsgi.input_terminated'] = true
  this['wsgi.file_wrapper'] = fileWrapper
  this.gantry = UNTOLD as unknown as Context
} as unknown as new (
  process: ProcessFacts,
) => Environ
Variables.prototype = Object.create(null)

/** The last of what every environ has. */
export function finish(environ: Environ, scheme: string, lines: string[]): Environ {
  environ.REQUEST_SCHEME = scheme
  environ['wsgi.url_scheme'] = scheme
  if (scheme === 'https') environ.HTTPS = 'on'
  else if (environ.HTTPS !== undefined) delete environ.HTTPS
  environ.gantry = new Context(lines)
  return environ
}

/**
 * The environ of an HTTP/1.x request.
 *
 * @throws RemoteProtocolError (400) when the target holds an invalid percent escape or NUL
 */
export function environFromHttp(head: RequestHead, facts: ConnectionFacts, process: ProcessFacts): Environ {
  const environ = new Variables(process)
  const path = pathOf(head.target, head.method)
  const question = path.indexOf('?')
  environ.REQUEST_METHOD = head.method
  environ.SCRIPT_NAME = ''
  environ.PATH_INFO = decodePath(question === -1 ? path : path.slice(0, question))
  environ.QUERY_STRING = question === -1 ? '' : path.slice(question + 1)
  environ.REQUEST_URI = head.target
  environ.SERVER_NAME = facts.serverName
  environ.SERVER_PORT = facts.serverPort
  environ.SERVER_PROTOCOL = head.minor === 1 ? 'HTTP/1.1' : 'HTTP/1.0'
  environ.REMOTE_ADDR = facts.remoteAddress
  environ.REMOTE_PORT = facts.remotePort
  let lines = applyHeaders(environ, head.headers)
  if (head.upgrade) lines = applyUpgrade(environ, head.headers, lines)
  return finish(environ, facts.scheme, lines)
}

/** The path and query of a request target (RFC 9112 §3.2). */
function pathOf(target: string, method: string): string {
  if (target.charCodeAt(0) === 0x2f) return target
  if (target === '*') return ''
  const scheme = target.indexOf('://')
  if (scheme === -1) throw peerError('BAD_TARGET', `the request target is neither a path nor a URL: ${target}`)
  const authority = scheme + 3
  const at = target.slice(authority).search(/[/?]/)
  if (at === -1) return method === 'OPTIONS' ? '' : '/'
  const rest = target.slice(authority + at)
  return rest.charCodeAt(0) === 0x3f ? `/${rest}` : rest
}

/** Percent-decodes once, to bytes as latin1. */
function decodePath(path: string): string {
  if (!path.includes('%')) return path
  return path.replace(/%(?:([0-9A-Fa-f]{2})|[\s\S]?)/g, (sequence: string, hex: string | undefined) => {
    if (hex === undefined || hex === '00') {
      throw peerError(
        'BAD_ESCAPE',
        `the path contains an invalid percent escape: ${JSON.stringify(sequence)}; write a literal % as %25`,
      )
    }
    return String.fromCharCode(Number.parseInt(hex, 16))
  })
}

/**
 * The environ of a CGI-like peer's variables (uwsgi, SCGI, FastCGI, CGI itself), which that wire's own folder has cleaned.
 * Repeated `HTTP_*` keys are joined; hop-by-hop headers do not cross; what is required and absent is filled in.
 *
 * @param variables flat: name, value, …
 * @throws RemoteProtocolError (400) for a key that only this side may set
 */
export function environFromVariables(variables: string[], process: ProcessFacts): Environ {
  const environ = new Variables(process)
  const received: string[] = []
  for (let at = 0; at < variables.length; at += 2) {
    const name = variables[at]!
    const value = variables[at + 1]!
    // CGI servers say these twice; PEP 3333 knows only the ones without the prefix.
    if (name === 'HTTP_CONTENT_TYPE' || name === 'HTTP_CONTENT_LENGTH') continue
    if (name.startsWith('HTTP_')) received.push(headerName(name), value)
    else setVariable(environ, name, value)
  }
  let lines = applyHeaders(environ, received)
  const upgrade = received.findIndex((text, at) => at % 2 === 0 && text === 'upgrade')
  const connection = received.findIndex((text, at) => at % 2 === 0 && text === 'connection')
  if (upgrade !== -1 && connection !== -1 && /(?:^|,)\s*upgrade\s*(?:,|$)/i.test(received[connection + 1]!)) {
    lines = applyUpgrade(environ, received, lines)
  }
  environ.REQUEST_METHOD ||= 'GET'
  environ.SCRIPT_NAME ??= ''
  environ.PATH_INFO ??= ''
  environ.QUERY_STRING ??= ''
  environ.SERVER_NAME ||= 'localhost'
  environ.SERVER_PORT ||= '80'
  environ.SERVER_PROTOCOL ||= 'HTTP/1.0'
  environ.REQUEST_URI ??= `${environ.SCRIPT_NAME}${environ.PATH_INFO}${environ.QUERY_STRING && `?${environ.QUERY_STRING}`}`
  // What the peer calls itself is its own matter.
  environ.SERVER_SOFTWARE = SERVER_SOFTWARE
  environ.GATEWAY_INTERFACE = GATEWAY_INTERFACE
  const https = environ.HTTPS !== undefined && /^(?:on|1|yes|true)$/i.test(environ.HTTPS)
  if (environ.CONTENT_TYPE === '') delete environ.CONTENT_TYPE
  if (environ.CONTENT_LENGTH === '') delete environ.CONTENT_LENGTH
  if (environ.CONTENT_TYPE !== undefined) lines.push('content-type', environ.CONTENT_TYPE)
  if (environ.CONTENT_LENGTH !== undefined) lines.push('content-length', environ.CONTENT_LENGTH)
  return finish(environ, https || environ.REQUEST_SCHEME === 'https' ? 'https' : 'http', lines)
}

/** A variable from a peer. What only this side may say is refused. */
export function setVariable(environ: Environ, name: string, value: string): void {
  if (isOwn(name)) {
    throw peerError('RESERVED_VARIABLE', `the peer sent the variable ${name}, which only this process may set`)
  }
  environ[name] = value
}
