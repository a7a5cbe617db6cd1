/** The hop-by-hop fields (RFC 9110 §7.6.1), for every protocol that drops or refuses them. */

/**
 * The fields that an application must not set. They include those of RFC 2616 §13.5.1, as `wsgiref.util.is_hop_by_hop`
 * does.
 */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailers',
  'transfer-encoding',
  'upgrade',
])

/** The fields that are not forwarded. `Trailer` is one of them, since the sender of trailers announces them itself. */
export const NEVER_FORWARDED: ReadonlySet<string> = new Set([...HOP_BY_HOP, 'trailer'])

/**
 * Whether only a gateway may send this response header (`wsgiref.util.is_hop_by_hop`).
 *
 * @param name in any case
 * @example
 * ```ts
 * import { isHopByHop } from 'gantry/protocol'
 *
 * console.log(isHopByHop('Transfer-Encoding')) // true
 * console.log(isHopByHop('Content-Type')) // false
 * ```
 */
export function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name.toLowerCase())
}
