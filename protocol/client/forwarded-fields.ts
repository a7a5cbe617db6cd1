/**
 * The names of forwarded fields, with which a proxy describes its client: `Forwarded` (RFC 7239), `X-Forwarded-*`,
 * `Forwarded-*`, `X-Real-IP` and `X-Scheme`. `resolve-client.ts` reads their values.
 */

// `X-Real-IP` and `X-Scheme` are included: applications trust them as they trust `X-Forwarded-*`, and Traefik removes
// both from untrusted clients. Names of a single vendor (`CF-Connecting-IP`, `True-Client-IP`) are not: Caddy, Traefik
// and HAProxy pass them on as well.

/**
 * The fields of trusted peers that are trusted by default: the two that every guide for a proxy tells its reader to
 * set.
 */
export const DEFAULT_FORWARDED_FIELDS: readonly string[] = ['x-forwarded-for', 'x-forwarded-proto']

/** Names that begin like a forwarded field, in the spelling received. The size is bounded, since clients send names. */
const known: Map<string, boolean> = new Map()
const KNOWN_MAX = 512

/**
 * Whether `name` is a forwarded field, in any spelling that an application could read as one: CGI programs and PHP
 * treat `_` and `.` as `-`.
 */
export function isForwardedField(name: string): boolean {
  const letter = name.charCodeAt(0) | 0x20
  if ((letter !== 0x78 && letter !== 0x66) || name.length < 8) return false
  let found = known.get(name)
  if (found === undefined) {
    found = isOfFamily(name)
    // Copied: a slice of the request head would keep the whole head in memory.
    if (known.size < KNOWN_MAX && name.length <= 64) known.set(Buffer.from(name, 'latin1').toString('latin1'), found)
  }
  return found
}

function isOfFamily(name: string): boolean {
  const plain = name.toLowerCase().replace(/[^a-z0-9]/g, '-')
  return plain === 'x-real-ip' || plain === 'x-scheme' || /^(?:x-)?forwarded(?:-|$)/.test(plain)
}

/** Whether `--forwarded-fields` accepts `name`: the exact name of a forwarded field, in lower case. */
export function isForwardedFieldName(name: string): boolean {
  return isForwardedField(name) && /^[a-z0-9-]+$/.test(name) && !name.endsWith('-')
}
