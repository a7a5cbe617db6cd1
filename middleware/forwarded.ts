/**
 * Resolves the client of a request (`protocol/client/resolve-client.ts`) and describes it to the next hop in
 * `X-Forwarded-For`, `-Proto`, `-Host`, `Forwarded` and `X-Request-Id`. Our gateways resolve by themselves; `forwarded`
 * is for applications that are served without them.
 */

import { isForwardedFieldName } from '../protocol/client/forwarded-fields.ts'
import { TrustedPeers } from '../protocol/client/peers.ts'
import { ForwardedRules, forwardedElement, resolveClient } from '../protocol/client/resolve-client.ts'
import type { Environ, Middleware } from '../protocol/contract/application.ts'
import { REQUEST_ID } from '../protocol/contract/context.ts'
import type { ConnectionFacts, RequestHead } from '../protocol/contract/environ.ts'
import { headerSetter } from '../protocol/contract/request-headers.ts'
import { checkOptions, form, isFunction, isText, type OptionForms } from '../protocol/options/check-options.ts'

/** The options of `forwarded`. */
export interface ForwardedOptions {
  /**
   * The peers whose fields are trusted: ranges as in `--trusted-peers` (`['loopback', '10.0.0.0/8']`), or an object
   * that decides by address.
   */
  readonly trustedPeers: readonly string[] | Pick<TrustedPeers, 'has'>
  /** The fields that are trusted, as in `--forwarded-fields`. Default `['X-Forwarded-For', 'X-Forwarded-Proto']`. */
  readonly fields?: readonly string[] | undefined
}

const OPTIONS: OptionForms<ForwardedOptions> = {
  trustedPeers: {
    ...form("an array of ranges such as ['loopback', '10.0.0.0/8'], or an object with has(address)", isPeers),
    required: true,
  },
  fields: form("an array of forwarded fields' names such as ['X-Forwarded-For']", areFieldNames),
}

function isPeers(value: unknown): boolean {
  return Array.isArray(value) ? value.every(isText) : isFunction((value as Partial<TrustedPeers> | null)?.has)
}

function areFieldNames(value: unknown): boolean {
  return Array.isArray(value) && value.every((name) => isText(name) && isForwardedFieldName(String(name).toLowerCase()))
}

/**
 * Sets `REMOTE_ADDR`, the scheme and the host from the forwarded fields of trusted peers, removes the fields of all
 * other peers, and sets the fields to the result. Use it as the outermost middleware, where `REMOTE_ADDR` is still the
 * peer's.
 *
 * @throws TypeError if an option is unknown, missing or invalid; RangeError if a range is invalid
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { forwarded } from 'gantry/middleware'
 *
 * const hello: Application = (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from(`Hello ${environ.REMOTE_ADDR}\n`)]
 * }
 * export const application: Application = forwarded({ trustedPeers: ['loopback', '10.0.0.0/8'] })(hello)
 * ```
 */
export function forwarded(options: ForwardedOptions): Middleware {
  checkOptions('forwarded', options, OPTIONS)
  const { trustedPeers: given, fields } = options
  const rules = new ForwardedRules('has' in given ? given : new TrustedPeers(given), fields)
  return (application) => (environ, startResponse) => {
    resolveClient(environ, rules)
    announce(environ)
    return application(environ, startResponse)
  }
}

/** Sets the fields with which a proxy describes the resolved client to the next hop. */
export function announceClient(): Middleware {
  return (application) => (environ, startResponse) => {
    announce(environ)
    return application(environ, startResponse)
  }
}

/**
 * For the `requestId` of a gateway: returns the `X-Request-Id` of a trusted peer, and undefined for other peers, so
 * that the gateway makes an id.
 */
export function requestIdFrom(
  trustedPeers: Pick<TrustedPeers, 'has'>,
): (head: Pick<RequestHead, 'headers'>, connection: Pick<ConnectionFacts, 'remoteAddress'>) => string | undefined {
  return ({ headers }, { remoteAddress }) => {
    let found: string | undefined
    for (let at = 0; at < headers.length; at += 2) {
      const name = headers[at]!
      if (name.length !== 12 || name.toLowerCase() !== 'x-request-id') continue
      // With two fields it is unknown which one the trusted peer set.
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

function announce(environ: Environ): void {
  const scheme = environ['wsgi.url_scheme']
  const host = text(environ['HTTP_HOST'])
  const address = addressOf(environ.REMOTE_ADDR)
  setForwarded(environ, forwardedElement(address, host, scheme))
  setProto(environ, scheme)
  setHost(environ, host)
  setFor(environ, address)
  setRequestId(environ, environ.gantry.requestId)
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/**
 * The client's IP address, where an IPv4 address has no IPv6 prefix (dual-stack sockets add one); undefined for a Unix
 * peer.
 */
function addressOf(remote: string): string | undefined {
  if (remote === '' || remote.startsWith('unix')) return undefined
  return remote.startsWith('::') && /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(remote)
    ? remote.slice('::ffff:'.length)
    : remote
}
