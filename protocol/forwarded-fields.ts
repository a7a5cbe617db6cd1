/**
 * Which header fields say something of a client that a proxy must confirm: `Forwarded` (RFC 7239), `X-Forwarded-*`,
 * `Forwarded-*`, `X-Real-IP` and `X-Scheme`. Names only; what they say is read in `resolve-client.ts`.
 *
 * `X-Real-IP` and `X-Scheme` count, since applications read them as they read `X-Forwarded-*` (Traefik removes both
 * from strangers). Names that one vendor agreed on with its customers (`CF-Connecting-IP`, `True-Client-IP`) do not:
 * Caddy, Traefik and HAProxy pass them on as well.
 */

/**
 * The fields that are believed of trusted peers unless told otherwise: the two that every guide for a proxy tells its
 * reader to set.
 */
export const DEFAULT_FORWARDED_FIELDS: readonly string[] = ['x-forwarded-for', 'x-forwarded-proto']

/** Names that begin like one of them, as they are spelled; a flood of new names is not kept. */
const known: Map<string, boolean> = new Map()
const KNOWN_MAX = 512

/**
 * Whether a field is one of them, in any spelling that an application could take for it: `_` and `.` are `-` to CGI
 * programs and to PHP.
 */
export function isForwardedField(name: string): boolean {
  const letter = name.charCodeAt(0) | 0x20
  if ((letter !== 0x78 && letter !== 0x66) || name.length < 8) return false
  let found = known.get(name)
  if (found === undefined) {
    found = isOfFamily(name)
    // Copied: a name cut out of a head would keep the whole head in memory.
    if (known.size < KNOWN_MAX && name.length <= 64) known.set(Buffer.from(name, 'latin1').toString('latin1'), found)
  }
  return found
}

function isOfFamily(name: string): boolean {
  const plain = name.toLowerCase().replace(/[^a-z0-9]/g, '-')
  return plain === 'x-real-ip' || plain === 'x-scheme' || /^(?:x-)?forwarded(?:-|$)/.test(plain)
}

/** Whether `--forwarded-fields` may name it: the exact name, in lower case. */
export function isForwardedFieldName(name: string): boolean {
  return isForwardedField(name) && /^[a-z0-9-]+$/.test(name) && !name.endsWith('-')
}
