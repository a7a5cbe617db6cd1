/**
 * The environs that the cache calls an application with: a copy of the client's, whose context outlives that client; and for requests
 * of its own one with nothing of a person in it.
 */

import type { Environ } from '../../protocol/contract/application.ts'
import { cgiVariableNames, WSGI_VARIABLES } from '../../protocol/contract/cgi-variables.ts'
import { Context } from '../../protocol/contract/context.ts'
import { Variables } from '../../protocol/contract/environ.ts'
import { headerVariable, setHeader } from '../../protocol/contract/request-headers.ts'
import { keyedVariables } from './key.ts'
import type { Entry } from './store.ts'

/** What decides about content without saying who asks. The rest goes along only where the stored response's `Vary` names it. */
const IMPERSONAL: ReadonlySet<string> = new Set([
  'HTTP_HOST',
  'HTTP_ACCEPT',
  'HTTP_ACCEPT_ENCODING',
  'HTTP_ACCEPT_LANGUAGE',
  'HTTP_ACCEPT_CHARSET',
  ...keyedVariables,
])

/** Variables that no request header sets, and that do not describe the client. `Variables` sets the other `wsgi.*`. */
const STANDARD: readonly string[] = [
  ...cgiVariableNames(({ presence, personal }) => presence !== 'optional' && !personal),
  'HTTPS',
  ...WSGI_VARIABLES.filter((name) => name !== 'wsgi.input' && name !== 'wsgi.errors'),
]
const PERSONAL_PARAMETERS = /(?:for|by)\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^;,\s]*)\s*;?\s*/gi

/** The client's environ, without its conditions: the whole response is wanted, or news of the stored one. */
export function forClient(environ: Environ, stale: Entry | undefined): Environ {
  const inner = Object.assign(empty(environ), environ)
  const context = new Context(environ.gantry.rawHeaders.flat())
  if (environ.gantry instanceof Context) context.upstreamUse = environ.gantry.upstreamUse
  inner.gantry = context
  return conditioned(inner, stale)
}

/** An environ for nobody. @param carry further variables */
export function forNobody(environ: Environ, stale: Entry, carry: readonly string[]): Environ {
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

function conditioned(inner: Environ, stale: Entry | undefined): Environ {
  setHeader(inner, 'If-None-Match', stale?.head.etag)
  setHeader(inner, 'If-Modified-Since', stale?.head.lastModified)
  return inner
}
