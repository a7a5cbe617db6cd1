/**
 * Tells the application who the client is: `X-Forwarded-For`, `-Proto`, `-Host`, `Forwarded` (RFC 7239) and `X-Request-Id`.
 *
 * What a client says of itself in these fields is dropped, unless its address is trusted: then it is a proxy, and its word
 * is kept and added to. It decides nothing by them, and changes no variable but those of the fields.
 */

import type { Environ, Middleware } from '../protocol/application.ts'
import { checkOptions, form, isFunction, isText, type OptionForms } from '../protocol/check-options.ts'
import type { ConnectionFacts, RequestHead } from '../protocol/environ.ts'
import { TrustedPeers } from '../protocol/peers.ts'
import { headerSetter } from '../protocol/request-headers.ts'

export interface ForwardedOptions {
  /** Whose fields are kept: ranges as `--trusted-peers` takes them (`['loopback', '10.0.0.0/8']`), or who decides by address. */
  readonly trustedPeers: readonly string[] | Pick<TrustedPeers, 'has'>
}

/** What proxies say of a client beyond the fields that are set here, and frameworks believe: never taken from a stranger. */
const alsoBelieved = [
  'X-Forwarded-Port',
  'X-Forwarded-Prefix',
  'X-Forwarded-Server',
  'X-Forwarded-Ssl',
  'X-Real-IP',
].map(headerSetter)

/** Peers that are remembered: `TrustedPeers` wants to be asked once a connection, and this sees requests. */
const REMEMBERED = 1_000

/** What a peer's address says. */
interface Peer {
  readonly trusted: boolean
  /** In `X-Forwarded-For`; undefined for a Unix peer, which has none. */
  readonly address: string | undefined
  /** In `Forwarded`. */
  readonly node: string
}

const OPTIONS: OptionForms<ForwardedOptions> = {
  trustedPeers: {
    ...form("an array of ranges such as ['loopback', '10.0.0.0/8'], or an object with has(address)", isPeers),
    required: true,
  },
}

function isPeers(value: unknown): boolean {
  return Array.isArray(value) ? value.every(isText) : isFunction((value as Partial<TrustedPeers> | null)?.has)
}

/** @throws TypeError for an option that is none, or missing; RangeError for a range that is none */
export function forwarded(options: ForwardedOptions): Middleware {
  checkOptions('forwarded', options, OPTIONS)
  const { trustedPeers: given } = options
  const trustedPeers = 'has' in given ? given : new TrustedPeers(given)
  const known = new Map<string, Peer>()
  const peerOf = (remote: string): Peer => {
    let peer = known.get(remote)
    if (peer === undefined) {
      const address = addressOf(remote)
      peer = { trusted: trustedPeers.has(remote), address, node: address === undefined ? 'unknown' : nodeOf(address) }
      if (known.size >= REMEMBERED) known.clear()
      known.set(remote, peer)
    }
    return peer
  }
  return (application) => (environ, startResponse) => {
    const peer = peerOf(environ.REMOTE_ADDR)
    if (peer.trusted) addFields(environ, peer)
    else setFields(environ, peer)
    return application(environ, startResponse)
  }
}

/** An id that may go into a log line and a header field as it is. */
export const REQUEST_ID: RegExp = /^[\w.-]{1,128}$/

/** The `requestId` of a gateway's options: a trusted peer's `X-Request-Id`; undefined, and one is made, for all others. */
export function requestIdFrom(
  trustedPeers: Pick<TrustedPeers, 'has'>,
): (head: Pick<RequestHead, 'headers'>, connection: Pick<ConnectionFacts, 'remoteAddress'>) => string | undefined {
  return ({ headers }, { remoteAddress }) => {
    let found: string | undefined
    for (let at = 0; at < headers.length; at += 2) {
      const name = headers[at]!
      if (name.length !== 12 || name.toLowerCase() !== 'x-request-id') continue
      // Two are nobody's.
      if (found !== undefined) return undefined
      found = headers[at + 1]!
    }
    if (found === undefined || !REQUEST_ID.test(found)) return undefined
    return trustedPeers.has(remoteAddress) ? found : undefined
  }
}

const setForwarded = headerSetter('Forwarded')
const setFor = headerSetter('X-Forwarded-For')
const setProto = headerSetter('X-Forwarded-Proto')
const setHost = headerSetter('X-Forwarded-Host')
const setRequestId = headerSetter('X-Request-Id')

/** Of a stranger: what is known here, and nothing that it said. */
function setFields(environ: Environ, { address, node }: Peer): void {
  const scheme = environ['wsgi.url_scheme']
  const host = text(environ['HTTP_HOST'])
  setForwarded(environ, forwardedElement(node, host, scheme))
  setProto(environ, scheme)
  setHost(environ, host)
  for (const set of alsoBelieved) set(environ, undefined)
  setFor(environ, address)
  setRequestId(environ, environ.gantry.requestId)
}

/** Of a proxy that is trusted: what it said, and what is known here. */
function addFields(environ: Environ, { address, node }: Peer): void {
  const scheme = environ['wsgi.url_scheme']
  const host = text(environ['HTTP_HOST'])
  const before = text(environ['HTTP_X_FORWARDED_FOR'])
  const element = forwardedElement(node, host, scheme)
  // RFC 7239 §7.4: who knows only the old fields is understood by those who know only the new one.
  const elements = text(environ['HTTP_FORWARDED']) ?? before?.split(',').map(forwardedFor).join(', ')
  setForwarded(environ, elements ? `${elements}, ${element}` : element)
  // These two say what the client asked for: the outermost proxy knows, and applications read one value.
  if (text(environ['HTTP_X_FORWARDED_PROTO']) === undefined) setProto(environ, scheme)
  if (text(environ['HTTP_X_FORWARDED_HOST']) === undefined) setHost(environ, host)
  // A Unix peer has no address to add.
  setFor(environ, before && address ? `${before}, ${address}` : (before ?? address))
  setRequestId(environ, environ.gantry.requestId)
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** An IP address as others write it: IPv4 without the IPv6 prefix that a dual-stack socket gives it; undefined for a Unix peer. */
function addressOf(remote: string): string | undefined {
  if (remote === '' || remote.startsWith('unix')) return undefined
  return remote.startsWith('::') && /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(remote)
    ? remote.slice('::ffff:'.length)
    : remote
}

function forwardedElement(node: string, host: string | undefined, scheme: string): string {
  return host === undefined ? `for=${node};proto=${scheme}` : `for=${node};host=${quoted(host)};proto=${scheme}`
}

/** One entry of X-Forwarded-For as an element of Forwarded. */
function forwardedFor(entry: string): string {
  return `for=${nodeOf(entry.trim())}`
}

/** RFC 7239 §6: an IPv6 address stands in brackets, and brackets and colons in quotes. */
function nodeOf(address: string): string {
  if (address === '') return 'unknown'
  return address.includes(':') && !address.startsWith('[') && !/^\d+\.\d+\.\d+\.\d+:\d+$/.test(address)
    ? `"[${address}]"`
    : quoted(address)
}

/** A token as it is, anything else as a quoted-string (RFC 9110 §5.6). */
function quoted(value: string): string {
  if (/^[\w!#$%&'*+.^`|~-]+$/.test(value)) return value
  return /["\\]/.test(value) ? `"${value.replace(/["\\]/g, '\\$&')}"` : `"${value}"`
}
