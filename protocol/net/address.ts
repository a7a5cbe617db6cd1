/**
 * Where a process listens or whom it dials, as a person writes it: parsing and printing, nothing else.
 *
 * `unix:/path` · `unix:/directory/` (every socket in it) · `tcp:HOST:PORT` · `HOST:PORT` · `:PORT` · `[::1]:PORT` ·
 * `http://…` and `https://…` (an upstream that speaks HTTP). Does not know which of them a given option takes, resolves
 * no names and opens nothing.
 */

import type { OtherCode } from '../contract/error-codes.ts'

export interface UnixAddress {
  readonly kind: 'unix'
  readonly path: string
}

/** Every socket in a directory, as they come and go. Written with a trailing slash, and `path` keeps it. */
export interface UnixDirectoryAddress {
  readonly kind: 'unix-directory'
  readonly path: string
}

export interface TcpAddress {
  readonly kind: 'tcp'
  /** A name or an IP address without brackets. Empty (`:PORT`): every interface to listen on, this host to dial. */
  readonly host: string
  /** 0 to 65535; 0 lets the system choose, and only makes sense to listen on. */
  readonly port: number
}

/** An upstream that speaks HTTP. `url` is normalised and has no credentials, query or fragment. */
export interface HttpAddress {
  readonly kind: 'http'
  readonly url: string
}

export type Address = UnixAddress | UnixDirectoryAddress | TcpAddress | HttpAddress
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

/** For messages: an address without the user and the password that a URL may have before its host. */
export function withoutCredentials(text: string): string {
  // Up to the last @, since a password that nobody has escaped may hold one. A path may hold it too.
  return text.startsWith('unix:') ? text : text.replace(/^([a-z][a-z\d+.-]*:\/\/)?.+@/is, '$1…@')
}

/** How each kind is written: for help and error messages. */
export const addressForms: Readonly<Record<AddressKind, string>> = {
  unix: 'unix:/path',
  'unix-directory': 'unix:/directory/',
  tcp: 'HOST:PORT',
  http: 'http://HOST[:PORT]',
}

// sun_path holds 108 bytes with its NUL on Linux and 104 on macOS; a longer path is cut or refused by the system with
// an EINVAL that names nothing.
const UNIX_PATH_LIMIT = process.platform === 'linux' ? 107 : 103

/**
 * Reads one address.
 *
 * @throws AddressError that says what came and what was expected.
 */
export function parseAddress(text: string): Address {
  if (/^https?:\/\//i.test(text)) return parseHttp(text)
  // Node would bind a file of that name. An abstract socket has no permissions: every user of the host could connect.
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
    throw new AddressError(text, `unknown scheme ${scheme}; expected ${forms()}`)
  }
  if (text.startsWith('unix:')) return parseUnix(text)
  return parseTcp(text, text.startsWith('tcp:') ? text.slice(4) : text)
}

/** The address as `parseAddress` reads it back. */
export function printAddress(address: Address): string {
  switch (address.kind) {
    case 'unix':
    case 'unix-directory':
      return `unix:${address.path}`
    case 'tcp':
      if (address.host.includes(':')) return `[${address.host}]:${address.port}`
      // A host of such a name alone would be read as the form itself.
      return `${address.host === 'unix' || address.host === 'tcp' ? 'tcp:' : ''}${address.host}:${address.port}`
    case 'http':
      return address.url
  }
}

function forms(): string {
  return Object.values(addressForms).join(', ')
}

function parseUnix(text: string): UnixAddress | UnixDirectoryAddress {
  // unix:///run/x is what URL-minded people write; the path is the same with one slash.
  const path = text.slice('unix:'.length).replace(/^\/+/, '/')
  if (path === '') throw new AddressError(text, 'expected a path after unix:')
  if (path.includes('\0')) throw new AddressError(text, 'expected a path without NUL')
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

/** What `net.Server.listen` takes for an address that can be listened on. */
export function listenTarget(address: UnixAddress | TcpAddress): { path: string } | { host?: string; port: number } {
  if (address.kind === 'unix') return { path: address.path }
  // Without a host Node listens on `::`, dual-stack, or on 0.0.0.0 where IPv6 is switched off.
  return address.host === '' ? { port: address.port } : { host: address.host, port: address.port }
}

/** What `net.connect` takes to dial an address. */
export function dialTarget(address: UnixAddress | TcpAddress): { path: string } | { host: string; port: number } {
  if (address.kind === 'unix') return { path: address.path }
  return { host: address.host === '' ? 'localhost' : address.host, port: address.port }
}
