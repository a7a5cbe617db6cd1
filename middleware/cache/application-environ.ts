/**
 * The environs with which the cache calls the application: for a client, a copy whose context outlives the client; for
 * a background request, an environ without personal data.
 */

import type { Environ } from '../../protocol/contract/application.ts'
import { cgiVariableNames, WSGI_VARIABLES } from '../../protocol/contract/cgi-variables.ts'
import { Context } from '../../protocol/contract/context.ts'
import { Variables } from '../../protocol/contract/environ.ts'
import { headerVariable, setHeader } from '../../protocol/contract/request-headers.ts'
import { keyedVariables } from './key.ts'
import type { StoredResponse } from './store.ts'

/**
 * Fields that select content and do not identify the client. Other fields are copied only if the stored response's
 * `Vary` names them.
 */
const IMPERSONAL: ReadonlySet<string> = new Set([
  'HTTP_HOST',
  'HTTP_ACCEPT',
  'HTTP_ACCEPT_ENCODING',
  'HTTP_ACCEPT_LANGUAGE',
  'HTTP_ACCEPT_CHARSET',
  ...keyedVariables,
])

/** Variables that no request header sets, and that do not identify the client. */
const STANDARD: readonly string[] = [
  ...cgiVariableNames(({ presence, personal }) => presence !== 'optional' && !personal),
  'HTTPS',
  ...WSGI_VARIABLES.filter((name) => name !== 'wsgi.input' && name !== 'wsgi.errors'),
]
const PERSONAL_PARAMETERS = /(?:for|by)\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^;,\s]*)\s*;?\s*/gi

/** The client's environ without its conditions: the cache needs the whole response, or a 304 for the stored one. */
export function environForClient(environ: Environ, stale: StoredResponse | undefined): Environ {
  const inner = Object.assign(empty(environ), environ)
  const context = new Context(environ.gantry.rawHeaders.flat())
  if (environ.gantry instanceof Context) context.upstreamUse = environ.gantry.upstreamUse
  inner.gantry = context
  return conditioned(inner, stale)
}

/** An environ for a background request. @param carry names of further variables to copy */
export function environForBackground(environ: Environ, stale: StoredResponse, carry: readonly string[]): Environ {
  const inner = empty(environ)
  for (const name of STANDARD) if (environ[name] !== undefined) inner[name] = environ[name]
  for (const name of carry) if (environ[name] !== undefined) inner[name] = environ[name]
  inner.REMOTE_ADDR = ''
  inner.REMOTE_PORT = ''
  const vary = new Set(stale.head.vary)
  const lines: string[] = []
  for (const [name, value] of environ.gantry.rawHeaders) {
    const variable = headerVariable(name)
    if (!IMPERSONAL.has(variable) && !vary.has(variable)) continue
    lines.push(name, value)
    inner[variable] = environ[variable]
  }
  inner.gantry = new Context(lines)
  const forwarded = environ['HTTP_FORWARDED']
  if (typeof forwarded === 'string' && !vary.has('HTTP_FORWARDED')) {
    const rest = forwarded.replace(PERSONAL_PARAMETERS, '').split(/\s*,\s*/)
    const said = rest.map((element) => element.replace(/;\s*$/, '')).filter((element) => element !== '')
    if (said.length > 0) setHeader(inner, 'Forwarded', said.join(', '))
  }
  inner.REQUEST_METHOD = 'GET'
  return conditioned(inner, stale)
}

function empty(environ: Environ): Environ {
  return new Variables({
    multithread: environ['wsgi.multithread'],
    multiprocess: environ['wsgi.multiprocess'],
    runOnce: environ['wsgi.run_once'],
  })
}

function conditioned(inner: Environ, stale: StoredResponse | undefined): Environ {
  setHeader(inner, 'If-None-Match', stale?.head.etag)
  setHeader(inner, 'If-Modified-Since', stale?.head.lastModified)
  return inner
}
