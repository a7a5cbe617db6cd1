/** Checks the environ that a server passes to an application. Later changes by the application are not checked. */

import type { Environ } from '../application.ts'
import { cgiVariableNames, isReservedVariable, WSGI_VARIABLES } from '../cgi-variables.ts'
import { REQUEST_ID } from '../context.ts'
import { NEVER_FORWARDED } from '../hop-by-hop.ts'
import { headerVariable, joined as join } from '../request-headers.ts'
import { TOKEN } from '../token.ts'
import { type Fail, show } from './rules.ts'

const always: readonly string[] = cgiVariableNames(({ presence }) => presence !== 'optional')

/** The `wsgi.*` variables of the contract; the rule ENVIRON_WSGI checks these. */
const wsgiVariables: ReadonlySet<string> = new Set(WSGI_VARIABLES)

export const wide: RegExp = /[^\x00-\xff]/
/** PEP 3333: "must not include any control characters". */
export const control: RegExp = /[\x00-\x1f\x7f]/

/** Header variables that no environ has; Connection and Upgrade are allowed in an upgrade request. */
const neverVariables: readonly string[] = [
  'HTTP_PROXY',
  ...[...NEVER_FORWARDED].filter((name) => name !== 'connection' && name !== 'upgrade').map(headerVariable),
]

const forms: ReadonlyArray<readonly [name: string, form: RegExp, expected: string]> = [
  ['REQUEST_METHOD', TOKEN, 'a token'],
  ['SERVER_NAME', /./, 'not empty'],
  ['SERVER_PORT', /^\d+$/, 'decimal digits'],
  ['SERVER_PROTOCOL', /^HTTP\/\d(\.\d)?$/, 'HTTP/x.y'],
  ['GATEWAY_INTERFACE', /^CGI\/1\.1$/, 'CGI/1.1'],
  ['CONTENT_LENGTH', /^\d+$/, 'decimal digits; the variable is absent if the client sent no Content-Length'],
  ['HTTPS', /^on$/, "'on'; the variable is absent without TLS"],
  ['REQUEST_SCHEME', /^https?$/, 'http or https'],
]

function isFunction(value: unknown): boolean {
  return typeof value === 'function'
}

/** Whether the variables are those of an upgrade request. */
export function isUpgrade(environ: Environ): boolean {
  return environ['HTTP_UPGRADE'] !== undefined
}

/** Checks all rules of the environ. */
export function checkEnviron(environ: Environ, fail: Fail): void {
  if (typeof environ !== 'object' || environ === null || Array.isArray(environ)) {
    fail('ENVIRON_OBJECT', `got ${show(environ)}`)
    return
  }
  // The prototype must be Object.prototype, or an empty object as in Gantry's own environs. The prototype of an
  // instance of a class or of a Map has a prototype itself.
  const prototype = Object.getPrototypeOf(environ)
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    fail('ENVIRON_OBJECT', `got ${show(environ)}`)
  }
  if (!Object.isExtensible(environ)) fail('ENVIRON_OBJECT', 'it is frozen')
  for (const name of always) if (!Object.hasOwn(environ, name)) fail('ENVIRON_MISSING', `${name} is missing`)
  for (const name of Object.keys(environ)) {
    const value = environ[name]
    if (typeof value === 'string' && isFromPeer(name)) fail('ENVIRON_RESERVED', `${name} is ${show(value)}`)
    if (name.includes('.') || name === 'gantry') continue
    if (typeof value !== 'string') fail('ENVIRON_STRING', `${show(name)} is ${show(value)}`)
    else if (wide.test(value) || wide.test(name)) fail('ENVIRON_STRING', `${show(name)} is ${show(value)}`)
    else if (value.includes('\0')) fail('ENVIRON_VALUE', `${show(name)} contains a NUL`)
  }
  for (const name of ['HTTP_CONTENT_TYPE', 'HTTP_CONTENT_LENGTH']) {
    if (name in environ) fail('ENVIRON_CONTENT_HEADER', `${name} is set`)
  }
  for (const [name, form, expected] of forms) {
    const value = environ[name]
    if (value !== undefined && !form.test(String(value))) {
      fail('ENVIRON_VALUE', `${name} is ${show(value)}, expected ${expected}`)
    }
  }
  checkPath(environ, fail)
  checkConnection(environ, fail)
  checkWsgi(environ, fail)
  checkContext(environ, fail)
}

/** A server's own extensions are objects and functions; only strings can come from a client or a peer. */
function isFromPeer(name: string): boolean {
  return isReservedVariable(name) && !wsgiVariables.has(name) && name !== 'gantry'
}

function checkPath(environ: Environ, fail: Fail): void {
  const { SCRIPT_NAME: script, PATH_INFO: path } = environ
  for (const [name, value] of [
    ['SCRIPT_NAME', script],
    ['PATH_INFO', path],
  ]) {
    if (value && !value.startsWith('/')) fail('ENVIRON_PATH', `${name} is ${show(value)}`)
  }
  if (script === '/') fail('ENVIRON_PATH', "SCRIPT_NAME is '/'; expected '', and PATH_INFO '/'")
  // RFC 9112 §3.2.4: a client that uses a proxy sends an absolute target without a path instead of `*`.
  const whole =
    environ.REQUEST_METHOD === 'OPTIONS' && /^(?:\*|[a-z][a-z\d+.-]*:\/\/[^/?]*)$/i.test(environ.REQUEST_URI)
  if (script === '' && path === '' && !whole && environ.REQUEST_URI !== '*') {
    fail('ENVIRON_PATH', `both are empty for the target ${show(environ.REQUEST_URI)}`)
  }
}

function checkConnection(environ: Environ, fail: Fail): void {
  for (const name of neverVariables) if (name in environ) fail('ENVIRON_HOP_BY_HOP', `${name} is set`)
  const upgrade = environ['HTTP_UPGRADE']
  const connection = environ['HTTP_CONNECTION']
  if (upgrade === undefined && connection !== undefined) {
    fail('ENVIRON_HOP_BY_HOP', `HTTP_CONNECTION is ${show(connection)}, and HTTP_UPGRADE is missing`)
  }
  if (upgrade !== undefined && (connection !== 'Upgrade' || environ.REQUEST_METHOD !== 'GET')) {
    fail('ENVIRON_HOP_BY_HOP', `an upgrade is a GET with HTTP_CONNECTION 'Upgrade', not ${show(connection)}`)
  }
}

function checkWsgi(environ: Environ, fail: Fail): void {
  const version = environ['wsgi.version']
  if (!Array.isArray(version) || version.length !== 2 || version[0] !== 1 || version[1] !== 0) {
    fail('ENVIRON_WSGI', `wsgi.version is ${show(version)}, expected [1, 0]`)
  }
  const scheme = environ['wsgi.url_scheme']
  if (scheme !== 'http' && scheme !== 'https') fail('ENVIRON_WSGI', `wsgi.url_scheme is ${show(scheme)}`)
  if (environ.REQUEST_SCHEME !== scheme || (environ.HTTPS === 'on') !== (scheme === 'https')) {
    fail(
      'ENVIRON_VALUE',
      `wsgi.url_scheme ${show(scheme)}, REQUEST_SCHEME ${show(environ.REQUEST_SCHEME)} and HTTPS ${show(environ.HTTPS)} disagree`,
    )
  }
  for (const name of ['wsgi.multithread', 'wsgi.multiprocess', 'wsgi.run_once', 'wsgi.input_terminated'] as const) {
    if (typeof environ[name] !== 'boolean')
      fail('ENVIRON_WSGI', `${name} is ${show(environ[name])}, expected a boolean`)
  }
  if (environ['wsgi.input_terminated'] !== true) fail('ENVIRON_WSGI', 'wsgi.input_terminated is not true')
  if (!isFunction(environ['wsgi.file_wrapper'])) fail('ENVIRON_WSGI', 'wsgi.file_wrapper is not a function')
  const input = environ['wsgi.input']
  for (const name of ['read', 'read1', 'readline', 'readlines', Symbol.asyncIterator] as const) {
    if (!isFunction(input?.[name])) fail('ENVIRON_WSGI', `wsgi.input has no ${String(name)}`)
  }
  const errors = environ['wsgi.errors']
  for (const name of ['write', 'writelines', 'flush'] as const) {
    if (!isFunction(errors?.[name])) fail('ENVIRON_WSGI', `wsgi.errors has no ${name}`)
  }
}

function checkContext(environ: Environ, fail: Fail): void {
  const context = environ.gantry
  if (typeof context !== 'object' || context === null) {
    fail('ENVIRON_CONTEXT', `gantry is ${show(context)}`)
    return
  }
  if (!(context.signal instanceof AbortSignal)) fail('ENVIRON_CONTEXT', `signal is ${show(context.signal)}`)
  if (typeof context.requestId !== 'string' || !REQUEST_ID.test(context.requestId)) {
    fail('ENVIRON_CONTEXT', `requestId is ${show(context.requestId)}`)
  }
  if (typeof context.draining !== 'boolean') fail('ENVIRON_CONTEXT', `draining is ${show(context.draining)}`)
  for (const name of ['earlyHints', 'trailers', 'upgrade', 'onFinished'] as const) {
    if (!isFunction(context[name])) fail('ENVIRON_CONTEXT', `${name}() is missing`)
  }
  checkRawHeaders(environ, fail)
}

/** The header variables must be exactly those that follow from the header lines. */
function checkRawHeaders(environ: Environ, fail: Fail): void {
  const raw = environ.gantry.rawHeaders
  if (!Array.isArray(raw)) {
    fail('ENVIRON_CONTEXT', `rawHeaders is ${show(raw)}`)
    return
  }
  const joined = new Map<string, string>()
  for (const line of raw) {
    const [name, value] = line
    if (typeof name !== 'string' || typeof value !== 'string' || line.length !== 2) {
      fail('RAW_HEADERS', `a line is ${show(line)}`)
      continue
    }
    if (!TOKEN.test(name) || name.includes('_') || wide.test(value) || control.test(value.replaceAll('\t', ''))) {
      fail('RAW_HEADERS', `a line is ${show(name)}: ${show(value)}`)
    }
    const variable = headerVariable(name)
    const before = joined.get(variable)
    joined.set(variable, before === undefined ? value : join(variable, before, value))
  }
  for (const [variable, value] of joined) {
    if (environ[variable] !== value) {
      fail('RAW_HEADERS', `${variable} is ${show(environ[variable])}, but the lines have ${show(value)}`)
    }
  }
  for (const name of Object.keys(environ)) {
    const header = name.startsWith('HTTP_') || name === 'CONTENT_TYPE' || name === 'CONTENT_LENGTH'
    if (header && !joined.has(name)) fail('RAW_HEADERS', `there is no line for ${name}`)
  }
}
