/** What a `Host` field, and the authority of an absolute-form target, may be (RFC 3986 §3.2.2, §3.2.3). Pure. */

/**
 * A registered name with its sub-delims, or an IP literal, and an optional port. Of the sub-delims a comma alone is
 * refused: two `Host` fields that another server has joined look like it.
 */
const HOST = /^(?:(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?$/
/** Longer than a name may be in the DNS (255), with a port. */
const LONGEST = 300

/** The last one that passed: most requests of a connection have the same. */
let known: string | undefined

export function isHost(host: string): boolean {
  if (host === known) return true
  if (host.length > LONGEST) return false
  const match = HOST.exec(host)
  if (!match || (match[1] && Number(match[1]) > 65535)) return false
  // Copied: a value cut out of a head would keep the whole head in memory.
  known = Buffer.from(host, 'latin1').toString('latin1')
  return true
}
