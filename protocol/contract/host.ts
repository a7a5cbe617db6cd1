/** The syntax of a `Host` field and of the authority of an absolute-form target (RFC 3986 §3.2.2, §3.2.3). */

/**
 * A registered name with its sub-delims, or an IP literal, and an optional port. The comma is the one sub-delim that is
 * refused: another server may have joined two `Host` fields with it.
 */
const HOST = /^(?:(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?$/
/** Longer than the longest DNS name (255 bytes) with a port. */
const LONGEST = 300

/** The last valid host: most requests of a connection have the same one. */
let known: string | undefined

/** Whether `host` is a valid value of `Host`. */
export function isHost(host: string): boolean {
  if (host === known) return true
  if (host.length > LONGEST) return false
  const match = HOST.exec(host)
  if (!match || (match[1] && Number(match[1]) > 65535)) return false
  // Copied: a slice of the request head would keep the whole head in memory.
  known = Buffer.from(host, 'latin1').toString('latin1')
  return true
}
