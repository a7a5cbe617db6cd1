/** Fields that speak to the next hop alone (RFC 9110 §7.6.1), once, for every wire that drops or refuses them. */

/** With those that RFC 2616 §13.5.1, and so `wsgiref.util.is_hop_by_hop`, count among them: an application gives none of these. */
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

/** What does not cross from one message to the next: an announcement of trailers neither, since who sends them says so anew. */
export const NEVER_FORWARDED: ReadonlySet<string> = new Set([...HOP_BY_HOP, 'trailer'])

/** Whether a response header is one that only a gateway may send (wsgiref.util.is_hop_by_hop); case does not matter. */
export function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name.toLowerCase())
}
