/**
 * The environment of a CGI program (RFC 3875 §4.1), in both directions: which variables of a process belong to a
 * request, and which variables of an environ a program receives.
 */

import type { Environ } from '../../contract/application.ts'
import { cgiVariableNames, GATEWAY_INTERFACE, HEADER_VARIABLE } from '../../contract/cgi-variables.ts'
import { peerError } from '../../contract/coded-errors.ts'

const KNOWN: ReadonlySet<string> = new Set(cgiVariableNames())
/** The variables about TLS that Apache's mod_ssl sets (`SSLOptions +StdEnvVars`). */
const TLS_VARIABLE = /^SSL_[A-Z0-9_]+$/
/** A CGI program has no connection that could be upgraded, and the server has obeyed `Connection`. */
const NOT_HERE: ReadonlySet<string> = new Set(['HTTP_UPGRADE', 'HTTP_CONNECTION'])

/** The request in the environment of a CGI program. */
interface CgiRequest {
  /** Flat: name, value. */
  readonly variables: string[]
  /** Bytes of the body; -1: up to the end of the input. Apache and nginx pass a chunked body on in this way. */
  readonly length: number
}

/**
 * Finds the request in the environment of a process. Other variables (PATH, HOME, an API key) stay in `process.env`:
 * applications show their environ on error pages, and send it to other processes.
 *
 * @param environment flat: name, value; native strings
 * @param further names of further variables that the application receives
 * @throws RemoteProtocolError (400) if CONTENT_LENGTH is invalid
 */
export function requestVariables(environment: readonly string[], further: readonly string[] = []): CgiRequest {
  const variables: string[] = []
  const found = new Map<string, string>()
  for (let at = 0; at < environment.length; at += 2) {
    const name = environment[at]!
    const value = environment[at + 1]!
    if (
      !(KNOWN.has(name) || HEADER_VARIABLE.test(name) || TLS_VARIABLE.test(name) || further.includes(name)) ||
      NOT_HERE.has(name)
    )
      continue
    found.set(name, value)
    if (name !== 'PATH_INFO') variables.push(name, value)
  }
  // For the root of the server, both are empty: PEP 3333 requires one of them.
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

/** The facts beside the environ that a program's environment is made from. */
interface ProgramFacts {
  /** Absolute path. */
  readonly program: string
  readonly documentRoot: string | undefined
  /** Whether the program receives the client's credentials (RFC 3875 §4.1.18: a server should not pass them on). */
  readonly authorization: boolean
  /** Whether the length of the body is unknown. */
  readonly chunked: boolean
}

/**
 * Headers that a program does not receive: `Proxy` would redirect its HTTP clients (httpoxy), and it has no connection.
 */
const KEPT_BACK: ReadonlySet<string> = new Set(['HTTP_PROXY', 'HTTP_CONNECTION', 'HTTP_UPGRADE'])
const CREDENTIALS: ReadonlySet<string> = new Set(['HTTP_AUTHORIZATION', 'HTTP_PROXY_AUTHORIZATION'])

/** Makes the environment of a program: native strings by name. */
export function programVariables(environ: Environ, facts: ProgramFacts): Map<string, string> {
  const variables = new Map<string, string>()
  for (const name of Object.keys(environ)) {
    const value = environ[name]
    if (typeof value !== 'string') continue
    if (KEPT_BACK.has(name) || (!facts.authorization && CREDENTIALS.has(name))) continue
    if (HEADER_VARIABLE.test(name) || KNOWN.has(name)) variables.set(name, value)
  }
  variables.set('GATEWAY_INTERFACE', GATEWAY_INTERFACE)
  variables.set('SCRIPT_FILENAME', facts.program)
  if (facts.chunked) variables.set('HTTP_TRANSFER_ENCODING', 'chunked')
  // §4.1.6: it belongs to PATH_INFO, and the environ's value may belong to another path.
  variables.delete('PATH_TRANSLATED')
  if (facts.documentRoot !== undefined) {
    variables.set('DOCUMENT_ROOT', facts.documentRoot)
    if (environ.PATH_INFO) variables.set('PATH_TRANSLATED', `${facts.documentRoot}${withoutDots(environ.PATH_INFO)}`)
  }
  return variables
}

/** Resolves `.` and `..`, so that the path stays below the directory before it. */
function withoutDots(path: string): string {
  const segments: string[] = []
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop()
    else if (segment !== '' && segment !== '.') segments.push(segment)
  }
  return `/${segments.join('/')}${path.endsWith('/') && segments.length > 0 ? '/' : ''}`
}
