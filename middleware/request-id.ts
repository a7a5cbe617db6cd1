/**
 * Gives a request the same id everywhere: in `environ.gantry.requestId` and thereby the logs, and in the `X-Request-Id`
 * of the request and the response. It generates no ids; the gateway does.
 */

import type { TrustedPeers } from '../protocol/client/peers.ts'
import type { Headers, Middleware } from '../protocol/contract/application.ts'
import { Context, REQUEST_ID } from '../protocol/contract/context.ts'
import { setHeader } from '../protocol/contract/request-headers.ts'
import { checkOptions, having, type OptionForms } from '../protocol/options/check-options.ts'

/** The options of `requestId`. */
export interface RequestIdOptions {
  /**
   * The peers whose `X-Request-Id` is accepted, if it has 1 to 128 characters of `A-Z a-z 0-9 _ . -`. Default: none,
   * because a client that chooses ids can make the log lines of its requests look like those of other requests.
   */
  readonly trustedPeers?: Pick<TrustedPeers, 'has'> | undefined
}

const OPTIONS: OptionForms<RequestIdOptions> = {
  trustedPeers: having("new TrustedPeers(['loopback']), or another object", 'has'),
}

const NAME = 'X-Request-Id'

/**
 * Sets `X-Request-Id` on the request and on the response; on the response it replaces a value of the application.
 *
 * Gateways of both processes accept a trusted peer's id themselves (`--trusted-peers`): the option is for applications
 * that are served without them. If the application throws, the error page has the field only if `errorPage` is inside
 * this middleware; the page of a gateway shows the id in its body.
 *
 * @throws TypeError if an option is unknown or invalid
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { requestId } from 'gantry/middleware'
 *
 * const hello: Application = (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from(`request ${environ.gantry.requestId}\n`)]
 * }
 * export const application: Application = requestId()(hello)
 * ```
 */
export function requestId(options: RequestIdOptions = {}): Middleware {
  checkOptions('requestId', options, OPTIONS)
  const { trustedPeers } = options
  return (application) => (environ, startResponse) => {
    const { gantry } = environ
    const given = environ['HTTP_X_REQUEST_ID']
    // Two fields are joined with a comma, which does not match: no peer's id is used then.
    if (typeof given === 'string' && REQUEST_ID.test(given) && trustedPeers?.has(environ.REMOTE_ADDR)) {
      if (gantry instanceof Context) gantry.adoptRequestId(given)
    }
    const id = gantry.requestId
    if (given !== id) setHeader(environ, NAME, id)
    return application(environ, (status, headers, excInfo) => startResponse(status, withId(headers, id), excInfo))
  }
}

function withId(headers: Headers, id: string): Headers {
  const kept = headers.some(isId) ? headers.filter((field) => !isId(field)) : headers.slice()
  kept.push([NAME, id])
  return kept
}

function isId([name]: readonly [string, string]): boolean {
  return name.length === NAME.length && name.toLowerCase() === 'x-request-id'
}
