/**
 * Which header fields say something of a client that a proxy must confirm: `Forwarded` (RFC 7239), `X-Forwarded-*` and `X-Real-IP`, and
 * `Forwarded-*`, which some libraries read. Names only; what they say is read in `resolve-client.ts`.
 *
 * `X-Real-IP` counts, since applications read it as they read `X-Forwarded-For` (Traefik removes it from strangers too). Names that one
 * vendor agreed on with its customers (`CF-Connecting-IP`, `True-Client-IP`) do not: Caddy, Traefik and HAProxy pass them on as well.
 */

/** The fields that are believed of trusted peers unless told otherwise: the two that every guide for a proxy tells its reader to set. */
export const DEFAULT_FORWARDED_FIELDS: readonly string[] = ['x-forwarded-for', 'x-forwarded-proto']

/**
 * Whether a field is one of them, in any spelling that an application could take for it: `_` and `.` are `-` to CGI programs and to PHP.
 */
export function isForwardedField(name: string): boolean {
  const letter = name.charCodeAt(0) | 0x20
  if (letter !== 0x78 && letter !== 0x66) return false
  if (name.length < 9) return false
  const plain = name.toLowerCase().replace(/[^a-z0-9]/g, '-')
  return plain === 'x-real-ip' || /^(?:x-)?forwarded(?:-|$)/.test(plain)
}

/** Whether `--forwarded-fields` may name it: the exact name, in lower case. */
export function isForwardedFieldName(name: string): boolean {
  return isForwardedField(name) && /^[a-z0-9-]+$/.test(name) && !name.endsWith('-')
}
