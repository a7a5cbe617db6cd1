/**
 * A CGI program's environment, both ways: which variables of a process are a request's, and which of an environ a program is given
 * (RFC 3875 §4.1). It starts no process and reads none.
 */

import type { Environ } from '../../contract/application.ts'
import { peerError } from '../../contract/coded-errors.ts'
import { GATEWAY_INTERFACE } from '../../contract/own-variables.ts'

/** RFC 3875 §4.1's, but for the headers. */
const META: readonly string[] = [
  'AUTH_TYPE',
  'CONTENT_LENGTH',
  'CONTENT_TYPE',
  'GATEWAY_INTERFACE',
  'PATH_INFO',
  'PATH_TRANSLATED',
  'QUERY_STRING',
  'REMOTE_ADDR',
  'REMOTE_HOST',
  'REMOTE_IDENT',
  'REMOTE_USER',
  'REQUEST_METHOD',
  'SCRIPT_NAME',
  'SERVER_NAME',
  'SERVER_PORT',
  'SERVER_PROTOCOL',
  'SERVER_SOFTWARE',
]
/** What Apache and nginx (fastcgi_params) say besides. */
const CUSTOMARY: readonly string[] = [
  'CONTEXT_DOCUMENT_ROOT',
  'CONTEXT_PREFIX',
  'DOCUMENT_ROOT',
  'DOCUMENT_URI',
  'HTTPS',
  'REDIRECT_QUERY_STRING',
  'REDIRECT_STATUS',
  'REDIRECT_URL',
  'REMOTE_PORT',
  'REQUEST_SCHEME',
  'REQUEST_URI',
  'SCRIPT_FILENAME',
  'SERVER_ADDR',
  'SERVER_ADMIN',
  'UNIQUE_ID',
]
const KNOWN: ReadonlySet<string> = new Set([...META, ...CUSTOMARY])
/** A header as a variable; of TLS, what mod_ssl says (`SSLOptions +StdEnvVars`). */
const BY_PREFIX = /^(?:HTTP_[A-Za-z0-9_!#$%&'*+.^`|~]+|SSL_[A-Z0-9_]+)$/
/** There is no connection to upgrade, and what else Connection says was the server's to obey. */
const NOT_HERE: ReadonlySet<string> = new Set(['HTTP_UPGRADE', 'HTTP_CONNECTION'])

/** A request as a CGI server puts it. */
export interface CgiRequest {
  /** Flat: name, value. */
  readonly variables: string[]
  /** Bytes of the body; -1: to the end of the input, as Apache and nginx pass a chunked one on without holding it. */
  readonly length: number
}

/**
 * The request in a process's environment. What is none of CGI's variables (PATH, HOME, an API key) stays where it is, in
 * `process.env`: an environ is what applications show on error pages and send to other processes.
 *
 * @param environment flat: name, value; native strings
 * @param further names of others that the application is to have
 * @throws RemoteProtocolError (400) for a CONTENT_LENGTH that is none
 */
export function requestVariables(environment: readonly string[], further: readonly string[] = []): CgiRequest {
  const variables: string[] = []
  const found = new Map<string, string>()
  for (let at = 0; at < environment.length; at += 2) {
    const name = environment[at]!
    const value = environment[at + 1]!
    if (!(KNOWN.has(name) || BY_PREFIX.test(name) || further.includes(name)) || NOT_HERE.has(name)) continue
    found.set(name, value)
    if (name !== 'PATH_INFO') variables.push(name, value)
  }
  // A request for the root of the server's own root comes with neither: PEP 3333 wants one of them.
  const path = found.get('PATH_INFO') ?? ''
  variables.push('PATH_INFO', path === '' && !found.get('SCRIPT_NAME') ? '/' : path)
  return { variables, length: lengthOf(found) }
}

function lengthOf(found: ReadonlyMap<string, string>): number {
  const text = found.get('CONTENT_LENGTH') ?? ''
  if (text === '') return /\bchunked\b/i.test(found.get('HTTP_TRANSFER_ENCODING') ?? '') ? -1 : 0
  if (!/^[0-9]{1,15}$/.test(text)) {
    throw peerError('CGI_CONTENT_LENGTH', `CONTENT_LENGTH is not a number of bytes: ${JSON.stringify(text)}`)
  }
  return Number(text)
}

/** What a program's environment is made from besides the environ. */
export interface ProgramFacts {
  /** Absolute. */
  readonly program: string
  readonly documentRoot: string | undefined
  /** Whether the program sees the client's credentials (RFC 3875 §4.1.18: a server should keep them to itself). */
  readonly authorization: boolean
  /** The body's length is not known beforehand. */
  readonly chunked: boolean
}

/** Headers that a program is not given: `Proxy` would steer its HTTP clients (httpoxy); the connection is not its own. */
const KEPT_BACK: ReadonlySet<string> = new Set(['HTTP_PROXY', 'HTTP_CONNECTION', 'HTTP_UPGRADE'])
const CREDENTIALS: ReadonlySet<string> = new Set(['HTTP_AUTHORIZATION', 'HTTP_PROXY_AUTHORIZATION'])
const HEADER = /^HTTP_[A-Za-z0-9_!#$%&'*+.^`|~]+$/

/** Native strings by name. */
export function programVariables(environ: Environ, facts: ProgramFacts): Map<string, string> {
  const variables = new Map<string, string>()
  for (const name of Object.keys(environ)) {
    const value = environ[name]
    if (typeof value !== 'string') continue
    if (KEPT_BACK.has(name) || (!facts.authorization && CREDENTIALS.has(name))) continue
    if (HEADER.test(name) || KNOWN.has(name)) variables.set(name, value)
  }
  variables.set('GATEWAY_INTERFACE', GATEWAY_INTERFACE)
  variables.set('SCRIPT_FILENAME', facts.program)
  if (facts.chunked) variables.set('HTTP_TRANSFER_ENCODING', 'chunked')
  // §4.1.6: of a path only. The program's own place says nothing of the path behind it.
  variables.delete('PATH_TRANSLATED')
  if (facts.documentRoot !== undefined) {
    variables.set('DOCUMENT_ROOT', facts.documentRoot)
    if (environ.PATH_INFO) variables.set('PATH_TRANSLATED', `${facts.documentRoot}${withoutDots(environ.PATH_INFO)}`)
  }
  return variables
}

/** A path that stays below what it is put behind. */
function withoutDots(path: string): string {
  const segments: string[] = []
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop()
    else if (segment !== '' && segment !== '.') segments.push(segment)
  }
  return `/${segments.join('/')}${path.endsWith('/') && segments.length > 0 ? '/' : ''}`
}
