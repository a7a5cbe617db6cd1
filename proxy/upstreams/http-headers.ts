/**
 * The fields and target of a request as they are sent to an HTTP upstream. Pure. This file alone decides how the body
 * is framed on the upstream's connection: a mistake here could turn one request into two (RFC 9112 §11.2).
 */

import type { IncomingMessage } from 'node:http'
import { NEVER_FORWARDED } from '../../protocol/contract/hop-by-hop.ts'

/**
 * Fields of this hop (RFC 9110 §7.6.1), and those that are set again: `Content-Length`, `Transfer-Encoding` and
 * `Expect`.
 */
const LEFT_OUT: ReadonlySet<string> = new Set([...NEVER_FORWARDED, 'content-length', 'expect'])

/** The methods for which Node's client assumes that there is no body, and adds no framing. */
const BODYLESS = /^(?:GET|HEAD|DELETE|OPTIONS|TRACE|CONNECT)$/

export interface UpstreamRequest {
  /** Name, value, name, value, …: in the order, case and repetition in which the client sent them. */
  readonly fields: string[]
  /** Whether a body follows. */
  readonly body: boolean
  /** Whether the body is sent only after the upstream has answered 100 Continue (RFC 9110 §10.1.1). */
  readonly expect: boolean
}

/**
 * What is sent to the upstream before the body. The body comes from `req`, so it has exactly one framing: the length
 * that the gateway enforces, chunks if the length is unknown, or none if there is no body.
 *
 * @param host the value of `Host` if `keepHost` is false or the client sent none
 * @param keepHost send the client's `Host`
 * @param upgrade request the protocol that the client has requested
 */
export function upstreamRequest(
  req: IncomingMessage,
  host: string,
  keepHost: boolean,
  upgrade: boolean = false,
): UpstreamRequest {
  const { rawHeaders, headers, method = '' } = req
  const length = headers['content-length']
  const chunked = length === undefined && headers['transfer-encoding'] !== undefined
  const body = !upgrade && (chunked || (length !== undefined && Number(length) > 0))
  const expect = body && headers.expect?.toLowerCase() === '100-continue'
  const fields: string[] = []
  let named = false
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!
    const lower = name.toLowerCase()
    if (LEFT_OUT.has(lower)) continue
    if (lower === 'host') {
      if (!keepHost) continue
      named = true
    }
    fields.push(name, rawHeaders[at + 1]!)
  }
  if (!named) fields.unshift('Host', host)
  if (upgrade) {
    fields.push('Connection', 'Upgrade', 'Upgrade', headers.upgrade ?? '')
    return { fields, body, expect }
  }
  if (length !== undefined) fields.push('Content-Length', length)
  else if (chunked) fields.push('Transfer-Encoding', 'chunked')
  // Node would announce chunks for these methods; servers may require a length (RFC 9110 §8.6).
  else if (!BODYLESS.test(method)) fields.push('Content-Length', '0')
  if (expect) fields.push('Expect', '100-continue')
  return { fields, body, expect }
}

/** Trailer fields that may follow a body (RFC 9110 §6.5.1), as pairs. */
export function upstreamTrailers(rawTrailers: string[]): [string, string][] {
  const fields: [string, string][] = []
  for (let at = 0; at < rawTrailers.length; at += 2) {
    const lower = rawTrailers[at]!.toLowerCase()
    if (!LEFT_OUT.has(lower) && lower !== 'host') fields.push([rawTrailers[at]!, rawTrailers[at + 1]!])
  }
  return fields
}

/**
 * The request target on the upstream's connection: the URL's own path, then the client's target unchanged.
 *
 * @param base the upstream URL's path without a slash at its end
 */
export function upstreamTarget(url: string, base: string): string {
  if (url === '*') return base === '' ? '*' : base
  if (url.charCodeAt(0) === 0x2f) return base + url
  // Absolute form: this side chooses the origin.
  const rest = url.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/?]*/, '')
  return base + (rest.charCodeAt(0) === 0x2f ? rest : `/${rest}`)
}
