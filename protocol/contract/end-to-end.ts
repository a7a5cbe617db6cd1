/**
 * Which fields of a response speak of the connection and not of the response (RFC 9110 §7.6.1). Applications for node:http and
 * fetch handlers set them freely; an exchange refuses them. Pure.
 */

import type { Headers } from './application.ts'
import { NEVER_FORWARDED } from './hop-by-hop.ts'

/** A nomination cannot strike out what frames or describes the message. */
const KEPT: ReadonlySet<string> = new Set(['close', 'content-length', 'content-type', 'content-encoding', 'set-cookie'])

/**
 * The fields without those that stay on this hop, also those that `Connection` names. Under Transfer-Encoding a
 * Content-Length means nothing (RFC 9112 §6.3) and goes too.
 *
 * @param upgrade keep `Connection` and `Upgrade`, which a 101 alone may carry
 */
export function endToEnd(headers: Headers, upgrade: boolean = false): Headers {
  let named: Set<string> | undefined
  let coded = false
  let clean = true
  for (const [name, value] of headers) {
    const lower = name.toLowerCase()
    if (!NEVER_FORWARDED.has(lower)) continue
    clean = false
    if (lower === 'transfer-encoding') coded = true
    if (lower !== 'connection') continue
    for (const part of value.split(',')) {
      const token = part.trim().toLowerCase()
      if (!KEPT.has(token)) (named ??= new Set()).add(token)
    }
  }
  if (clean) return headers
  return headers.filter(([name]) => {
    const lower = name.toLowerCase()
    if (upgrade && (lower === 'connection' || lower === 'upgrade')) return true
    return !NEVER_FORWARDED.has(lower) && !named?.has(lower) && !(coded && lower === 'content-length')
  })
}
