/**
 * Builds environs from a parsed HTTP request or from the variables of a CGI-like peer (docs/contract.md, RFC 3875
 * §4.1). `request-headers.ts` translates headers; `environ-wire.ts` sends environs to another process.
 */

import { fileWrapper } from '../files/file-wrapper.ts'
import type { Environ, ErrorStream, Input } from './application.ts'
import { GATEWAY_INTERFACE, isReservedVariable, SERVER_SOFTWARE } from './cgi-variables.ts'
import { peerError } from './coded-errors.ts'
import { Context } from './context.ts'
import { RequestInput } from './input.ts'
import { applyHeaders, applyUpgrade, headerName } from './request-headers.ts'

/** The parsed head of an HTTP/1.x request. Strings are latin1. */
export interface RequestHead {
  method: string
  /** The raw request target, in origin, absolute or asterisk form. */
  target: string
  /** The x of HTTP/1.x. */
  minor: 0 | 1
  /** A flat list as received: name, value, … */
  headers: string[]
  /** Whether the request is a valid upgrade request (RFC 9110 §7.8). */
  upgrade: boolean
}

/** The facts that all requests of one connection share. */
export interface ConnectionFacts {
  remoteAddress: string
  remotePort: string
  serverName: string
  serverPort: string
  scheme: 'http' | 'https'
}

/** The facts that all requests of one process share: `wsgi.multithread`, `wsgi.multiprocess` and `wsgi.run_once`. */
export interface ProcessFacts {
  multithread: boolean
  multiprocess: boolean
  runOnce: boolean
}

/** Placeholders until an exchange sets the real streams: an input at its end, and an error stream that drops text. */
const NO_INPUT: Input = new RequestInput(null)
const NO_ERRORS: ErrorStream = { write() {}, writelines() {}, flush() {} }
const VERSION: readonly [1, 0] = Object.freeze([1, 0] as const)
/**
 * A variable that is not known yet. The function that builds the environ sets it, or finds that the peer did not send
 * it.
 */
const UNSET = undefined as unknown as string

/**
 * Creates an environ that has all fixed keys, so that V8 gives all environs the same hidden class up to their headers,
 * which follow in the order received. (`Object.create(null)` would make a hash table, which is slower to build and to
 * iterate.) The environ has no inherited keys: `__proto__` and `constructor` are ordinary names of variables.
 */
export const Variables: new (process: ProcessFacts) => Environ = function Variables(
  this: Environ,
  process: ProcessFacts,
) {
  this.REQUEST_METHOD = UNSET
  this.SCRIPT_NAME = UNSET
  this.PATH_INFO = UNSET
  this.QUERY_STRING = UNSET
  this.REQUEST_URI = UNSET
  this.SERVER_NAME = UNSET
  this.SERVER_PORT = UNSET
  this.SERVER_PROTOCOL = UNSET
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
  this.gantry = UNSET as unknown as Context
} as unknown as new (
  process: ProcessFacts,
) => Environ
Variables.prototype = Object.create(null)

/** Sets the variables that depend on the scheme, and the context. The last step of building an environ. */
export function finish(environ: Environ, scheme: string, lines: string[]): Environ {
  environ.REQUEST_SCHEME = scheme
  environ['wsgi.url_scheme'] = scheme
  if (scheme === 'https') environ.HTTPS = 'on'
  else if (environ.HTTPS !== undefined) delete environ.HTTPS
  environ.gantry = new Context(lines)
  return environ
}

/**
 * Makes the environ of an HTTP/1.x request.
 *
 * @param head the parsed head
 * @throws RemoteProtocolError (400) if the target has an invalid percent escape or an encoded NUL
 * @example
 * ```ts
 * import { environFromHttp } from 'gantry/protocol'
 *
 * const environ = environFromHttp(
 *   { method: 'GET', target: '/caf%C3%A9?x=1', minor: 1, headers: ['Host', 'example.org'], upgrade: false },
 *   { remoteAddress: '192.0.2.1', remotePort: '40000', serverName: 'example.org', serverPort: '80', scheme: 'http' },
 *   { multithread: true, multiprocess: false, runOnce: false },
 * )
 * console.log(Buffer.from(environ.PATH_INFO, 'latin1').toString()) // /café
 * console.log(environ.QUERY_STRING) // x=1
 * ```
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

/** Decodes percent escapes once. The result is bytes as latin1. */
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
 * Makes an environ from the variables of a CGI-like peer (uwsgi, CGI), which the codec of that protocol has checked.
 * Joins repeated `HTTP_*` variables, drops hop-by-hop headers, and fills in required variables that are absent.
 *
 * @param variables a flat list: name, value, …
 * @throws RemoteProtocolError (400) if the peer sent a variable that only this process may set
 * @example
 * ```ts
 * import { environFromVariables } from 'gantry/protocol'
 *
 * const variables = ['REQUEST_METHOD', 'GET', 'PATH_INFO', '/', 'HTTP_HOST', 'example.org']
 * const environ = environFromVariables(variables, { multithread: false, multiprocess: true, runOnce: true })
 * console.log(environ.SERVER_PROTOCOL) // HTTP/1.0
 * ```
 */
export function environFromVariables(variables: string[], process: ProcessFacts): Environ {
  const environ = new Variables(process)
  const received: string[] = []
  for (let at = 0; at < variables.length; at += 2) {
    const name = variables[at]!
    const value = variables[at + 1]!
    // CGI servers send these with and without the prefix; PEP 3333 has only the variables without it.
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
  // The peer's own name and version are not those of this server.
  environ.SERVER_SOFTWARE = SERVER_SOFTWARE
  environ.GATEWAY_INTERFACE = GATEWAY_INTERFACE
  const https = environ.HTTPS !== undefined && /^(?:on|1|yes|true)$/i.test(environ.HTTPS)
  if (environ.CONTENT_TYPE === '') delete environ.CONTENT_TYPE
  if (environ.CONTENT_LENGTH === '') delete environ.CONTENT_LENGTH
  if (environ.CONTENT_TYPE !== undefined) lines.push('content-type', environ.CONTENT_TYPE)
  if (environ.CONTENT_LENGTH !== undefined) lines.push('content-length', environ.CONTENT_LENGTH)
  return finish(environ, https || environ.REQUEST_SCHEME === 'https' ? 'https' : 'http', lines)
}

/** Sets a variable that a peer sent. Refuses a variable that only this process may set. */
export function setVariable(environ: Environ, name: string, value: string): void {
  if (isReservedVariable(name)) {
    throw peerError('RESERVED_VARIABLE', `the peer sent the variable ${name}, which only this process may set`)
  }
  environ[name] = value
}
