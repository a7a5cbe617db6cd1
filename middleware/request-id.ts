/**
 * One id for a request, wherever it is named: `environ.gantry.requestId` and thereby every log line, the `X-Request-Id` that the
 * application reads, and the one that the client is answered with.
 *
 * Gateways of the two processes take a trusted peer's id by themselves (`--trusted-peers`); this also does it where an application is
 * served without them. It makes no ids.
 */

import type { TrustedPeers } from '../protocol/client/peers.ts'
import type { Headers, Middleware } from '../protocol/contract/application.ts'
import { Context, REQUEST_ID } from '../protocol/contract/context.ts'
import { setHeader } from '../protocol/contract/request-headers.ts'
import { checkOptions, having, type OptionForms } from '../protocol/options/check-options.ts'

export interface RequestIdOptions {
  /**
   * Whose `X-Request-Id` is taken, if it is 1 to 128 of `A-Z a-z 0-9 _ . -`. Default: nobody's, since whoever chooses ids can make one
   * request's log lines look like another's.
   */
  readonly trustedPeers?: Pick<TrustedPeers, 'has'> | undefined
}

const OPTIONS: OptionForms<RequestIdOptions> = {
  trustedPeers: having("new TrustedPeers(['loopback']), or another object", 'has'),
}

const NAME = 'X-Request-Id'

/**
 * The response's id replaces one that the application gave. An application that throws has it too if `errorPage` is further in; the page
 * that a gateway makes by itself only shows it.
 *
 * @throws TypeError for an option that is none
 */
export function requestId(options: RequestIdOptions = {}): Middleware {
  checkOptions('requestId', options, OPTIONS)
  const { trustedPeers } = options
  return (application) => (environ, startResponse) => {
    const { gantry } = environ
    const given = environ['HTTP_X_REQUEST_ID']
    // Two of them were joined with a comma, and are nobody's.
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
