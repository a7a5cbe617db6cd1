/**
 * Removes hop-by-hop fields from a response (RFC 9110 §7.6.1). Applications for node:http and fetch handlers set such
 * fields; an exchange refuses them.
 */

import type { Headers } from './application.ts'
import { NEVER_FORWARDED } from './hop-by-hop.ts'

/** Fields that `Connection` cannot declare hop-by-hop: they frame or describe the message. */
const KEPT: ReadonlySet<string> = new Set(['close', 'content-length', 'content-type', 'content-encoding', 'set-cookie'])

/**
 * The end-to-end fields: without hop-by-hop fields and the fields that `Connection` names. If there is a
 * Transfer-Encoding, Content-Length has no meaning (RFC 9112 §6.3) and is removed too.
 *
 * @param upgrade keep `Connection` and `Upgrade`, which only a 101 may have
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
