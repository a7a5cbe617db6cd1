/**
 * Parses the values of forwarded fields: an entry of `X-Forwarded-For`, an element of `Forwarded` (RFC 7239 §4, §6), a
 * scheme, a host. The result for a malformed value is undefined. `peers.ts` decides which peers are trusted.
 */

import { isIP, isIPv4, isIPv6, SocketAddress } from 'node:net'
import { isHost } from '../contract/host.ts'

/** The peer of a proxy, as the proxy describes it. */
export interface ForwardedElement {
  /** An IP address. An IPv4-mapped address is written as IPv4; IPv6 is in its canonical form (RFC 5952). */
  readonly address: string
  /** `''` if the port is not known. */
  readonly port: string
  readonly scheme?: 'http' | 'https' | undefined
  readonly host?: string | undefined
}

/**
 * `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:443`. A zone (`%eth0`) has a meaning
 * only on one host, and is removed.
 */
const NODE = /^[\t ]*(?:\[([^\]]+)\]|((?:[0-9]+\.){3}[0-9]+)|([^\][:]*:[^\][]*:[^\][]*))(?::([0-9]{1,5}))?[\t ]*$/
const ZONE = /%[\w.-]{1,64}$/
/** Longer than any address with its brackets, zone and port. Longer values are not parsed. */
const NODE_MAX = 128

/**
 * Parses an entry of `X-Forwarded-For`. Undefined for `unknown` and obfuscated nodes (`_hidden`, RFC 7239 §6.3).
 */
export function parseNode(text: string): ForwardedElement | undefined {
  const match = text.length <= NODE_MAX ? NODE.exec(text) : null
  if (!match) return undefined
  const [, bracketed, four, six, port = ''] = match
  if (port !== '' && Number(port) > 65_535) return undefined
  // Copied: tables of clients keep addresses, and a slice of the request head would keep the whole head in memory.
  if (four !== undefined) {
    return isIPv4(four) ? { address: Buffer.from(four, 'latin1').toString('latin1'), port } : undefined
  }
  // Without brackets, NODE may have matched the last group as a port.
  const written = bracketed ?? (port === '' ? six! : `${six}:${port}`)
  const address = canonical(written.trim().replace(ZONE, ''))
  return address === undefined ? undefined : { address, port: bracketed === undefined ? '' : port }
}

function canonical(text: string): string | undefined {
  if (!isIPv6(text)) return undefined
  const { address } = new SocketAddress({ address: text, family: 'ipv6' })
  const mapped = /^::ffff:([0-9.]+)$/i.exec(address)?.[1]
  return mapped !== undefined && isIP(mapped) === 4 ? mapped : address
}

/** Parses `http` and `https` in any case, and the schemes of WebSockets, which Traefik sends. */
export function parseScheme(text: string | undefined): 'http' | 'https' | undefined {
  switch (text?.trim().toLowerCase()) {
    case 'http':
    case 'ws':
      return 'http'
    case 'https':
    case 'wss':
      return 'https'
    default:
      return undefined
  }
}

/** Parses a value of the form of `Host`. */
export function parseHost(text: string | undefined): string | undefined {
  const host = text?.trim()
  return host !== undefined && isHost(host) ? host : undefined
}

/**
 * Splits a list whose elements may hold quoted commas; yields the last element first. The list is read from its right
 * end, so that an unclosed quote of a client cannot hide what a proxy has appended.
 */
export function* elementsFromRight(list: string): Generator<string> {
  let end = list.length
  let quoted = false
  for (let at = list.length - 1; at >= 0; at--) {
    const code = list.charCodeAt(at)
    if (code === 0x22) {
      if (!quoted || !isEscaped(list, at)) quoted = !quoted
    } else if (code === 0x2c && !quoted) {
      yield list.slice(at + 1, end)
      end = at
    }
  }
  yield list.slice(0, end)
}

function isEscaped(text: string, at: number): boolean {
  let backslashes = 0
  while (text.charCodeAt(at - 1 - backslashes) === 0x5c) backslashes++
  return backslashes % 2 === 1
}

/** `name=value` of an element. Some proxies send values with a colon unquoted, against the grammar. */
const PARAMETER = /[\t ]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]+)[\t ]*(?:;|$)/y

/** Parses one element of `Forwarded`; undefined if it is malformed, repeats a parameter, or has no address. */
export function readElement(text: string): ForwardedElement | undefined {
  const parameters = new Map<string, string>()
  for (let at = 0; at < text.length; at = PARAMETER.lastIndex) {
    PARAMETER.lastIndex = at
    const match = PARAMETER.exec(text)
    if (!match) return undefined
    const name = match[1]!.toLowerCase()
    if (parameters.has(name)) return undefined
    parameters.set(name, unquoted(match[2]!))
  }
  const node = parseNode(parameters.get('for') ?? '')
  return node && { ...node, scheme: parseScheme(parameters.get('proto')), host: parseHost(parameters.get('host')) }
}

function unquoted(value: string): string {
  return value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, '$1') : value
}
