/**
 * One line per request, when it is over. It asks the request's context how that was instead of wrapping the body, so that it
 * neither delays a chunk nor stands between an array and its coalescing.
 */

import type { Environ, Middleware, Outcome } from '../protocol/application.ts'
import type { Logger } from '../protocol/log.ts'

export interface AccessLogOptions {
  log: Pick<Logger, 'info'>
}

/** The line's fields. `ms` is to a tenth of a millisecond. */
export interface AccessLine {
  requestId: string
  remote: string
  method: string
  /** The raw target, as the client sent it. */
  url: string
  protocol: string
  /** 0: no response was sent. */
  status: number
  bytes: number
  ms: number
  referer?: string
  userAgent?: string
  /** The code of what cut the response short. */
  aborted?: string
}

export function accessLog({ log }: AccessLogOptions): Middleware {
  return (application) => (environ, startResponse) => {
    environ.gantry.onFinished((outcome) => log.info(accessLine(environ, outcome), 'request'))
    return application(environ, startResponse)
  }
}

export function accessLine(environ: Environ, outcome: Outcome): AccessLine {
  const line: AccessLine = {
    requestId: environ.gantry.requestId,
    remote: environ.REMOTE_ADDR,
    method: environ.REQUEST_METHOD,
    url: environ.REQUEST_URI,
    protocol: environ.SERVER_PROTOCOL,
    status: outcome.status,
    bytes: outcome.bytes,
    ms: Math.round(outcome.milliseconds * 10) / 10,
  }
  const referer = environ['HTTP_REFERER']
  if (typeof referer === 'string') line.referer = referer
  const userAgent = environ['HTTP_USER_AGENT']
  if (typeof userAgent === 'string') line.userAgent = userAgent
  if (outcome.aborted) line.aborted = (outcome.aborted as { code?: string }).code ?? outcome.aborted.name
  return line
}
