/**
 * Environs: built from a parsed HTTP request, from the variables of a CGI-like peer, or from a frame, and taken apart
 * again for a frame. Here stand the rules that decide which header becomes which variable (contract.md, RFC 3875 §4.1);
 * no other file names an `HTTP_*` key by hand.
 *
 * Header lines travel beside the variables (`environ.gantry.rawHeaders`), in the order, case and repetition in which they were
 * received, and `HTTP_*` are derived from them. It knows neither sockets nor applications.
 */

import type { Environ, ErrorStream, Input } from './application.ts'
import { Context } from './context.ts'
import { RemoteProtocolError } from './errors.ts'
import { fileWrapper } from './file-wrapper.ts'
import { RequestInput } from './input.ts'

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

export const SERVER_SOFTWARE = 'gantry'

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
const Variables = function Variables(this: Environ, process: ProcessFacts) {
  this.REQUEST_METHOD = UNTOLD
  this.SCRIPT_NAME = UNTOLD
  this.PATH_INFO = UNTOLD
  this.QUERY_STRING = UNTOLD
  this.REQUEST_URI = UNTOLD
  this.SERVER_NAME = UNTOLD
  this.SERVER_PORT = UNTOLD
  this.SERVER_PROTOCOL = UNTOLD
  this.SERVER_SOFTWARE = SERVER_SOFTWARE
  this.GATEWAY_INTERFACE = 'CGI/1.1'
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

// ---- which header becomes which variable ---------------------------------------------------------------------------

/** Fields that speak to the next hop alone (RFC 9110 §7.6.1), with what PEP 3333 and RFC 2616 §13.5.1 name. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** `''`: the header does not cross. Names are cached as they are spelled; a flood of new names is not kept. */
const cache: Map<string, string> = new Map()
const CACHE_MAX = 2048

function variableOf(name: string): string {
  const cached = cache.get(name)
  if (cached !== undefined) return cached
  const variable = derive(name)
  // Copied: a name cut out of a head would keep the whole head in memory for as long as the cache lives.
  if (cache.size < CACHE_MAX && name.length <= 64) cache.set(Buffer.from(name, 'latin1').toString('latin1'), variable)
  return variable
}

function derive(name: string): string {
  const lower = name.toLowerCase()
  if (lower === 'content-type') return 'CONTENT_TYPE'
  if (lower === 'content-length') return 'CONTENT_LENGTH'
  // A name with `_` would shadow its dashed twin; HTTP_PROXY would steer HTTP clients of the application (httpoxy).
  if (lower.includes('_') || lower === 'proxy' || HOP_BY_HOP.has(lower)) return ''
  return headerVariable(name)
}

/** The variable of a header: `HTTP_ACCEPT` of `Accept`; `CONTENT_TYPE` and `CONTENT_LENGTH` have no prefix. */
export function headerVariable(name: string): string {
  const upper = name.toUpperCase().replaceAll('-', '_')
  return upper === 'CONTENT_TYPE' || upper === 'CONTENT_LENGTH' ? upper : `HTTP_${upper}`
}

/** The header of an `HTTP_*` variable, where the name as sent is not known: `accept-language` of `HTTP_ACCEPT_LANGUAGE`. */
export function headerName(variable: string): string {
  return (variable.startsWith('HTTP_') ? variable.slice(5) : variable).toLowerCase().replaceAll('_', '-')
}

/** How repeated fields are put together (RFC 9110 §5.3; RFC 6265 §5.4 for Cookie). */
function joined(variable: string, first: string, next: string): string {
  return variable === 'HTTP_COOKIE' ? `${first}; ${next}` : `${first}, ${next}`
}

/** Names that a `Connection` field declares hop-by-hop; what frames or routes a message cannot be struck out that way. */
function nominated(value: string, before: Set<string> | undefined): Set<string> | undefined {
  let names = before
  for (const part of value.split(',')) {
    const name = part.trim().toLowerCase()
    if (name === '' || name === 'close' || name === 'keep-alive' || name === 'upgrade') continue
    if (name === 'host' || name === 'content-length' || name === 'content-type') continue
    names ??= new Set()
    names.add(name)
  }
  return names
}

/** Sets the variables of header lines, and gives the lines that crossed: the same list when all did. */
function applyHeaders(environ: Environ, headers: string[]): string[] {
  let kept: string[] | undefined
  let dropped: Set<string> | undefined
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at]!
    if (name.length === 10 && name.toLowerCase() === 'connection') {
      dropped = nominated(headers[at + 1]!, dropped)
    }
  }
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at]!
    const variable = variableOf(name)
    if (variable === '' || dropped?.has(name.toLowerCase())) {
      kept ??= headers.slice(0, at)
      continue
    }
    const value = headers[at + 1]!
    const before = environ[variable] as string | undefined
    environ[variable] = before === undefined ? value : joined(variable, before, value)
    if (kept) kept.push(name, value)
  }
  return kept ?? headers
}

// ---- building ------------------------------------------------------------------------------------------------------

/** The last of what every environ has. */
function finish(environ: Environ, scheme: string, lines: string[]): Environ {
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

/** An upgrade reaches the application as `HTTP_UPGRADE` and `HTTP_CONNECTION`; else both are the connection's own. */
function applyUpgrade(environ: Environ, received: string[], lines: string[]): string[] {
  const own = lines === received ? lines.slice() : lines
  for (let at = 0; at < received.length; at += 2) {
    if (received[at]!.toLowerCase() !== 'upgrade') continue
    const before = environ['HTTP_UPGRADE'] as string | undefined
    environ['HTTP_UPGRADE'] = before === undefined ? received[at + 1]! : joined('', before, received[at + 1]!)
    own.push(received[at]!, received[at + 1]!)
  }
  environ['HTTP_CONNECTION'] = 'Upgrade'
  own.push('Connection', 'Upgrade')
  return own
}

/** The path and query of a request target (RFC 9112 §3.2). */
function pathOf(target: string, method: string): string {
  if (target.charCodeAt(0) === 0x2f) return target
  if (target === '*') return ''
  const scheme = target.indexOf('://')
  if (scheme === -1) throw new RemoteProtocolError('BAD_TARGET', `the request target is not a path: ${target}`)
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
      throw new RemoteProtocolError(
        'BAD_ESCAPE',
        `the path holds an invalid percent escape: ${JSON.stringify(sequence)}`,
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
  environ.GATEWAY_INTERFACE = 'CGI/1.1'
  const https = environ.HTTPS !== undefined && /^(?:on|1|yes|true)$/i.test(environ.HTTPS)
  if (environ.CONTENT_TYPE === '') delete environ.CONTENT_TYPE
  if (environ.CONTENT_LENGTH === '') delete environ.CONTENT_LENGTH
  if (environ.CONTENT_TYPE !== undefined) lines.push('content-type', environ.CONTENT_TYPE)
  if (environ.CONTENT_LENGTH !== undefined) lines.push('content-length', environ.CONTENT_LENGTH)
  return finish(environ, https || environ.REQUEST_SCHEME === 'https' ? 'https' : 'http', lines)
}

/** A variable from a peer. What only this side may say is refused. */
function setVariable(environ: Environ, name: string, value: string): void {
  if (name.startsWith('wsgi.') || name.startsWith('gantry')) {
    throw new RemoteProtocolError('RESERVED_VARIABLE', `a peer may not set ${name}`)
  }
  environ[name] = value
}

/**
 * The environ of a REQUEST frame: the reverse of `variablesForWire`.
 *
 * @param variables flat; all that is no header, and `HTTP_*` that differ from what the lines say
 * @param lines flat; raw header lines
 * @throws RemoteProtocolError (400) for a reserved key or a missing one
 */
export function environFromWire(variables: string[], lines: string[], process: ProcessFacts): Environ {
  const environ = new Variables(process)
  for (let at = 0; at < variables.length; at += 2) setVariable(environ, variables[at]!, variables[at + 1]!)
  let upgrade = false
  for (let at = 0; at < lines.length; at += 2) {
    const name = lines[at]!
    const variable = variableOf(name)
    if (variable === '') {
      // Only an upgrade's pair crosses; anything else of this kind is a peer's mistake and is left out.
      const lower = name.toLowerCase()
      if (lower !== 'upgrade' && lower !== 'connection') continue
      upgrade ||= lower === 'upgrade'
      const own = lower === 'upgrade' ? 'HTTP_UPGRADE' : 'HTTP_CONNECTION'
      const before = environ[own] as string | undefined
      environ[own] = before === undefined ? lines[at + 1]! : joined('', before, lines[at + 1]!)
      continue
    }
    const before = environ[variable] as string | undefined
    environ[variable] = before === undefined ? lines[at + 1]! : joined(variable, before, lines[at + 1]!)
  }
  if (!upgrade) delete environ['HTTP_CONNECTION']
  for (const name of REQUIRED) {
    if (environ[name] === undefined) throw new RemoteProtocolError('MISSING_VARIABLE', `a request came without ${name}`)
  }
  environ.REQUEST_URI ??= ''
  environ.SERVER_SOFTWARE = SERVER_SOFTWARE
  return finish(environ, environ.REQUEST_SCHEME === 'https' ? 'https' : 'http', lines)
}

const REQUIRED = [
  'REQUEST_METHOD',
  'SCRIPT_NAME',
  'PATH_INFO',
  'QUERY_STRING',
  'SERVER_NAME',
  'SERVER_PORT',
  'SERVER_PROTOCOL',
] as const

// ---- taking apart --------------------------------------------------------------------------------------------------

/** What a REQUEST frame carries of an environ. */
export interface WireEnviron {
  variables: string[]
  rawHeaders: string[]
}

/**
 * What crosses to another process: the environ's strings outside `wsgi.*` and `gantry`, header lines apart.
 *
 * The lines are those that `environ.gantry` holds, as far as they still say what `HTTP_*` say: middleware may have set a
 * variable by hand, and the variable is what counts.
 *
 * @throws TypeError for a value of another type, naming its key
 */
export function variablesForWire(environ: Environ): WireEnviron {
  const lines = environ.gantry instanceof Context ? environ.gantry.lines : []
  let rawHeaders = lines
  let covered = 0
  let exact = true
  for (let at = 0; at < lines.length; at += 2) {
    const value = environ[wireVariable(lines[at]!)]
    if (value === lines[at + 1]) covered++
    else {
      exact = false
      break
    }
  }
  const variables: string[] = []
  let headers = 0
  for (const key in environ) {
    const value = environ[key]
    if (value === undefined || key.startsWith('wsgi.') || key.startsWith('gantry')) continue
    if (typeof value !== 'string') throw notText(key, value)
    if (isHeader(key)) headers++
    else variables.push(key, value)
  }
  if (!exact || covered !== headers) rawHeaders = reconcile(environ, lines, variables)
  return { variables, rawHeaders }
}

function wireVariable(name: string): string {
  const variable = variableOf(name)
  if (variable !== '') return variable
  const lower = name.toLowerCase()
  return lower === 'upgrade' || lower === 'connection' ? headerVariable(name) : ''
}

/** The lines that still agree with the variables; variables that no lines give are added to `variables`. */
function reconcile(environ: Environ, lines: string[], variables: string[]): string[] {
  const said: Map<string, string> = new Map()
  for (let at = 0; at < lines.length; at += 2) {
    const variable = wireVariable(lines[at]!)
    const before = said.get(variable)
    said.set(variable, before === undefined ? lines[at + 1]! : joined(variable, before, lines[at + 1]!))
  }
  const kept: string[] = []
  for (let at = 0; at < lines.length; at += 2) {
    const variable = wireVariable(lines[at]!)
    if (said.get(variable) === environ[variable]) kept.push(lines[at]!, lines[at + 1]!)
  }
  for (const key in environ) {
    if (!isHeader(key)) continue
    if (environ[key] !== undefined && said.get(key) !== environ[key]) variables.push(key, environ[key] as string)
  }
  return kept
}

/** Whether a variable says what a request header said. */
function isHeader(key: string): boolean {
  return key.startsWith('HTTP_') || key === 'CONTENT_TYPE' || key === 'CONTENT_LENGTH'
}

function notText(key: string, value: unknown): TypeError {
  return new TypeError(
    `environ[${JSON.stringify(key)}] cannot cross to another process: only strings do, and this is ${
      value === null ? 'null' : typeof value
    }. Set it in the process that uses it, or delete it.`,
  )
}

/**
 * Sets or, with undefined, removes a request header, so that `HTTP_*` and `environ.gantry.rawHeaders` stay one truth.
 *
 * @throws TypeError for a name that is no token or holds `_`, or a value with control characters or beyond latin1
 */
export function setHeader(environ: Environ, name: string, value: string | undefined): void {
  const variable = settable(name)
  if (value !== undefined && !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
    throw new TypeError(`the value of ${name} holds control characters or is not latin1: ${JSON.stringify(value)}`)
  }
  const context = environ.gantry instanceof Context ? environ.gantry : undefined
  if (environ[variable] === undefined) {
    // No line says it either, so that there is none to look for: what most calls find.
    if (value === undefined) return
    context?.addLine(name, value)
  } else {
    context?.replaceLines(name, value)
  }
  if (value === undefined) delete environ[variable]
  else environ[variable] = value
}

/** The variables of names that were found good. Bounded: names may come from a request. */
const settableNames: Map<string, string> = new Map()

function settable(name: string): string {
  const known = settableNames.get(name)
  if (known !== undefined) return known
  if (!/^[A-Za-z0-9!#$%&'*+.^`|~-]+$/.test(name)) {
    throw new TypeError(`not a request header's name: ${JSON.stringify(name)} (a token without "_", RFC 9110 §5.1)`)
  }
  const variable = headerVariable(name)
  if (settableNames.size < CACHE_MAX) settableNames.set(name, variable)
  return variable
}
