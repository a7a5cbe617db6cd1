/**
 * Parses and prints the addresses that users write: `unix:/path` · `unix:/directory/` (each socket in it) ·
 * `tcp:HOST:PORT` · `HOST:PORT` · `:PORT` · `[::1]:PORT` · `http://…` and `https://…` (an upstream that speaks HTTP).
 * Resolves no names.
 */

import type { OtherCode } from '../contract/error-codes.ts'

export interface UnixAddress {
  readonly kind: 'unix'
  readonly path: string
}

/**
 * All sockets in a directory, which may be added and removed at any time. Written with a trailing slash, which `path`
 * keeps.
 */
interface UnixDirectoryAddress {
  readonly kind: 'unix-directory'
  readonly path: string
}

export interface TcpAddress {
  readonly kind: 'tcp'
  /** A name, or an IP address without brackets. Empty (`:PORT`): listen on all interfaces, or dial this host. */
  readonly host: string
  /** 0 to 65535. 0: the operating system chooses a port; only for listening. */
  readonly port: number
}

/** An upstream that speaks HTTP. `url` is normalised, without credentials, query and fragment. */
export interface HttpAddress {
  readonly kind: 'http'
  readonly url: string
}

/** An address to listen on or to dial, as `parseAddress` returns it. */
export type Address = UnixAddress | UnixDirectoryAddress | TcpAddress | HttpAddress
/** The kind of an address. */
export type AddressKind = Address['kind']

/** The address cannot be used. `text` is the given address without credentials; the message says what was expected. */
export class AddressError extends Error {
  override readonly name: string = 'AddressError'
  readonly code: OtherCode = 'BAD_ADDRESS'
  readonly text: string

  constructor(given: string, expected: string) {
    const text = withoutCredentials(given)
    super(`${JSON.stringify(text)} is not an address: ${expected}`)
    this.text = text
  }
}

/** An address for messages: without the user name and the password that a URL may have before its host. */
export function withoutCredentials(text: string): string {
  // Up to the last @, since a password that was not escaped may contain one. So may the path of a Unix socket.
  return text.startsWith('unix:') ? text : text.replace(/^([a-z][a-z\d+.-]*:\/\/)?.+@/is, '$1…@')
}

/** How each kind is written, for help and error messages. */
export const addressForms: Readonly<Record<AddressKind, string>> = {
  unix: 'unix:/path',
  'unix-directory': 'unix:/directory/',
  tcp: 'HOST:PORT',
  http: 'http://HOST[:PORT]',
}

// `sun_path` has 108 bytes on Linux and 104 on macOS, with its NUL. The operating system truncates a longer path, or
// refuses it with an EINVAL that does not name the path.
const UNIX_PATH_LIMIT = process.platform === 'linux' ? 107 : 103

/**
 * Parses an address.
 *
 * @throws AddressError if `text` is not an address: the message says what was expected
 * @example
 * ```ts
 * import { parseAddress } from 'gantry/protocol'
 *
 * console.log(parseAddress('unix:/run/app.sock').kind) // unix
 * ```
 */
export function parseAddress(text: string): Address {
  if (/^https?:\/\//i.test(text)) return parseHttp(text)
  // Node would bind a file of that name. An abstract socket has no permissions: all users of the host could connect.
  if (/^(?:unix:(?:\/\/)?)?@/.test(text)) {
    throw new AddressError(
      text,
      'abstract sockets are not supported, because they have no file permissions; write unix:/path (or unix:./@name for a file of that name)',
    )
  }
  const scheme = /^([a-z][a-z\d+.-]*):\/\//i.exec(text)?.[1]
  if (scheme === 'unix' && !text.startsWith('unix:///'))
    throw new AddressError(text, 'write unix:/path, with one slash')
  if (scheme !== undefined && scheme !== 'unix') {
    throw new AddressError(text, `the scheme ${scheme} is not supported; expected ${forms()}`)
  }
  if (text.startsWith('unix:')) return parseUnix(text)
  return parseTcp(text, text.startsWith('tcp:') ? text.slice(4) : text)
}

/**
 * Prints an address so that `parseAddress` can read it.
 *
 * @example
 * ```ts
 * import { printAddress } from 'gantry/protocol'
 *
 * console.log(printAddress({ kind: 'tcp', host: '::1', port: 8000 })) // [::1]:8000
 * ```
 */
export function printAddress(address: Address): string {
  switch (address.kind) {
    case 'unix':
    case 'unix-directory':
      return `unix:${address.path}`
    case 'tcp':
      if (address.host.includes(':')) return `[${address.host}]:${address.port}`
      // Without the prefix, a host of this name would be parsed as a scheme.
      return `${address.host === 'unix' || address.host === 'tcp' ? 'tcp:' : ''}${address.host}:${address.port}`
    case 'http':
      return address.url
  }
}

function forms(): string {
  return Object.values(addressForms).join(', ')
}

function parseUnix(text: string): UnixAddress | UnixDirectoryAddress {
  // unix:///run/x is accepted too: it is the form of a URL.
  const path = text.slice('unix:'.length).replace(/^\/+/, '/')
  if (path === '') throw new AddressError(text, 'expected a path after unix:')
  if (path.includes('\0')) throw new AddressError(text, 'a path must not contain a NUL character')
  if (path.endsWith('/')) return { kind: 'unix-directory', path }
  const bytes = Buffer.byteLength(path)
  if (bytes > UNIX_PATH_LIMIT) {
    throw new AddressError(text, `the path has ${bytes} bytes; the path of a socket has at most ${UNIX_PATH_LIMIT}`)
  }
  return { kind: 'unix', path }
}

function parseTcp(text: string, rest: string): TcpAddress {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d+)$/.exec(rest)
  if (!match) {
    if (/^(\[[^\]]*\]|[^:[\]/]*):[^:/]+$/.test(rest)) throw new AddressError(text, 'expected a number after the colon')
    if (/^[\da-f:.]*:[\da-f:.]*:[\da-f:.]*$/i.test(rest)) {
      throw new AddressError(text, 'write an IPv6 address in brackets: [::1]:8000')
    }
    if (/^\d+$/.test(rest)) throw new AddressError(text, `write a port alone as :${rest}`)
    if (/^(\[[^\]]*\]|[^:[\]/]+)$/.test(rest)) throw new AddressError(text, 'the port is missing; write HOST:PORT')
    throw new AddressError(text, `expected ${forms()}`)
  }
  const [, bracketed, plain, digits] = match
  const port = Number(digits)
  if (port > 65535) throw new AddressError(text, 'expected a port of at most 65535')
  if (bracketed !== undefined) {
    if (!/^[\da-f:.]*:[\da-f:.]*(%[\w.-]+)?$/i.test(bracketed))
      throw new AddressError(text, 'expected an IPv6 address in brackets')
    return { kind: 'tcp', host: bracketed, port }
  }
  const host = plain === '*' ? '' : (plain ?? '')
  if (host !== '' && !/^[\w.-]+$/.test(host)) throw new AddressError(text, 'expected a host name or an IP address')
  return { kind: 'tcp', host, port }
}

function parseHttp(text: string): HttpAddress {
  if (!URL.canParse(text)) throw new AddressError(text, `expected ${addressForms.http}`)
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') {
    throw new AddressError(text, 'credentials in an upstream URL are not supported')
  }
  if (url.search !== '' || url.hash !== '') throw new AddressError(text, 'expected a URL without query and fragment')
  return { kind: 'http', url: url.href }
}

/** Whether `value`, which another process sent, has the form of an address. */
export function isAddress(value: unknown): value is Address {
  const { kind, path, host, port, url } = Object(value) as Record<string, unknown>
  switch (kind) {
    case 'unix':
    case 'unix-directory':
      return typeof path === 'string'
    case 'tcp':
      return typeof host === 'string' && Number.isInteger(port)
    case 'http':
      return typeof url === 'string' && URL.canParse(url)
    default:
      return false
  }
}

/** The argument of `net.Server.listen` for an address. */
export function listenTarget(address: UnixAddress | TcpAddress): { path: string } | { host?: string; port: number } {
  if (address.kind === 'unix') return { path: address.path }
  // Without a host Node listens on `::`, dual-stack, or on 0.0.0.0 if IPv6 is disabled.
  return address.host === '' ? { port: address.port } : { host: address.host, port: address.port }
}

/** The argument of `net.connect` for an address. */
export function dialTarget(address: UnixAddress | TcpAddress): { path: string } | { host: string; port: number } {
  if (address.kind === 'unix') return { path: address.path }
  return { host: address.host === '' ? 'localhost' : address.host, port: address.port }
}
