/**
 * Who may see an application's source in an error page. A page of another site cannot read ours, unless its name is made to lead here
 * (DNS rebinding): then the browser takes us for that site. It says so in `Host`, which scripts cannot set.
 */

import { isIP } from 'node:net'
import type { Environ } from '../protocol/contract/application.ts'

/** Whether the request names this server by an address or a name that nobody else can have made to lead here. */
export function isKnownHost(environ: Environ): boolean {
  const host = environ['HTTP_HOST']
  // HTTP/1.0 and programs; browsers always send it.
  if (typeof host !== 'string') return true
  const name = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(host.toLowerCase())
  const text = name?.[1] ?? name?.[2] ?? ''
  // RFC 6761 §6.3: browsers resolve these to loopback by themselves.
  return isIP(text) !== 0 || text === 'localhost' || text.endsWith('.localhost')
}

/** Whether a script of another site has sent it. */
export function isForeign(environ: Environ): boolean {
  const site = environ['HTTP_SEC_FETCH_SITE']
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true
  const origin = environ['HTTP_ORIGIN']
  if (typeof origin !== 'string') return false
  return URL.parse(origin)?.host !== environ['HTTP_HOST']
}
