/**
 * What an HTTP upstream is sent of a request's fields and target. Pure: it decides how the body is framed on the next connection, so it
 * is here that one request could become two (RFC 9112 §11.2), and nowhere else.
 */

import type { IncomingMessage } from 'node:http'

/**
 * Fields of this hop (RFC 9110 §7.6.1). `Expect` too: the gateway has answered it itself, when the body was first read.
 * `Content-Length` and `Transfer-Encoding` are said anew.
 */
const LEFT_OUT: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

export type RequestFields = Record<string, string | string[]>

/**
 * Fields for `http.request`: each with the case that its first line had, repeated ones as a list.
 *
 * The body is what `req` gives, so it has exactly one framing: the length that the gateway holds it to, chunks where a body of
 * unknown length comes, or none where none does.
 *
 * @param keepHost send the client's `Host`; else node says the target's
 * @param upgrade ask for the protocol that the client asked for
 */
export function upstreamFields(req: IncomingMessage, keepHost: boolean, upgrade: boolean = false): RequestFields {
  const fields: RequestFields = Object.create(null)
  const spelled: Map<string, string> = new Map()
  const { rawHeaders } = req
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!
    const value = rawHeaders[at + 1]!
    const lower = name.toLowerCase()
    if (LEFT_OUT.has(lower) || (lower === 'host' && !keepHost)) continue
    const first = spelled.get(lower)
    if (first === undefined) {
      spelled.set(lower, name)
      fields[name] = value
      continue
    }
    const before = fields[first]!
    if (Array.isArray(before)) before.push(value)
    else fields[first] = [before, value]
  }
  if (upgrade) {
    fields['Connection'] = 'Upgrade'
    fields['Upgrade'] = req.headers.upgrade ?? ''
    return fields
  }
  const length = req.headers['content-length']
  if (length !== undefined) fields['Content-Length'] = length
  else if (req.headers['transfer-encoding'] !== undefined) fields['Transfer-Encoding'] = 'chunked'
  // Node would announce chunks for these; a server may want a length (RFC 9110 §8.6).
  else if (/^(?:POST|PUT|PATCH)$/.test(req.method ?? '')) fields['Content-Length'] = '0'
  return fields
}

/**
 * The request target on the upstream's connection: as the client sent it, byte by byte, behind the URL's own path.
 *
 * @param base the upstream URL's path without a slash at its end
 */
export function upstreamTarget(url: string, base: string): string {
  if (url === '*') return base === '' ? '*' : base
  if (url.charCodeAt(0) === 0x2f) return base + url
  // Absolute form: the origin is ours to choose.
  const rest = url.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/?]*/, '')
  return base + (rest.charCodeAt(0) === 0x2f ? rest : `/${rest}`)
}
