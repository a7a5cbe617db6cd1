/**
 * Which requests may see the application's source code. A page of another site cannot read our responses, unless its
 * host name resolves to this server (DNS rebinding). `Host`, which scripts cannot set, shows that.
 */

import { isIP } from 'node:net'
import type { Environ } from '../protocol/contract/application.ts'

/** Whether `Host` is an IP address or a localhost name: no other site can make these resolve to this server. */
export function isKnownHost(environ: Environ): boolean {
  const host = environ['HTTP_HOST']
  // HTTP/1.0 clients and other programs may omit Host; browsers always send it.
  if (typeof host !== 'string') return true
  const name = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(host.toLowerCase())
  const text = name?.[1] ?? name?.[2] ?? ''
  // RFC 6761 §6.3: browsers resolve these to loopback by themselves.
  return isIP(text) !== 0 || text === 'localhost' || text.endsWith('.localhost')
}

/** Whether a script of another site has sent the request. */
export function isForeign(environ: Environ): boolean {
  const site = environ['HTTP_SEC_FETCH_SITE']
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true
  const origin = environ['HTTP_ORIGIN']
  if (typeof origin !== 'string') return false
  return URL.parse(origin)?.host !== environ['HTTP_HOST']
}
