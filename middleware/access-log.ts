/**
 * One line per request, when it is over. It asks the request's context how that was instead of wrapping the body, so that it
 * neither delays a chunk nor stands between an array and its coalescing. How a line is written is in `combined-log.ts`; where it
 * goes, in `line-output.ts`.
 */

import type { Environ, Middleware, Outcome } from '../protocol/application.ts'
import { aClock, callable, checkOptions, form, logger, type OptionForms, oneOf } from '../protocol/check-options.ts'
import { type Clock, systemClock } from '../protocol/clock.ts'
import type { Logger } from '../protocol/log.ts'
import { combinedLine } from './combined-log.ts'
import { isLineTarget, LineOutput, type LineTarget } from './line-output.ts'

export interface AccessLogOptions {
  /**
   * `json`: one object a line, with the fields of `AccessLine` after `time` (ms since the epoch). `combined`: the format of that name of Apache
   * and nginx, which every log analyser reads. Default `json`, as the processes log.
   */
  readonly format?: 'json' | 'combined' | undefined
  /** Takes each line, with its newline: a stream, or a function. Lines of one turn of the loop come as one text. Default: standard output. */
  readonly to?: LineTarget | undefined
  /** Takes the fields of each line instead, with the message `request`: the logger then decides on format and destination. */
  readonly log?: Pick<Logger, 'info'> | undefined
  /**
   * Requests that are not worth a line, such as health probes. It is asked when they are over, with the environ as it is then: `mount` has
   * shortened PATH_INFO. Default: none.
   */
  readonly skip?: ((environ: Environ, outcome: Outcome) => boolean) | undefined
  /** Default: the system's. */
  readonly clock?: Clock | undefined
}

/** The line's fields. `ms` is to a tenth of a millisecond. */
export interface AccessLine {
  requestId: string
  remote: string
  /** `REMOTE_USER`: who `basicAuth`, or a server before this one, found it to be. */
  user?: string
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

const OPTIONS: OptionForms<AccessLogOptions> = {
  format: oneOf('json', 'combined'),
  to: form('a function, or a stream with write()', isLineTarget),
  log: logger('info'),
  skip: callable('a function of the environ and the outcome'),
  clock: aClock,
}

/**
 * Put it outermost: what is outside of it is not in its times, and an answer that it did not pass on to has a line all the same.
 *
 * @throws TypeError for an option that is none, or when both `log` and another destination are given
 */
export function accessLog(options: AccessLogOptions = {}): Middleware {
  checkOptions('accessLog', options, OPTIONS)
  const { skip } = options
  const record = recorder(options)
  return (application) => (environ, startResponse) => {
    // What middleware further in makes of the environ (mount, basicAuth) is seen here, but not what it makes of its context.
    const { gantry } = environ
    gantry.onFinished((outcome) => {
      if (!skip?.(environ, outcome)) record(accessLine(environ, outcome, gantry.requestId))
    })
    return application(environ, startResponse)
  }
}

function recorder({ log, format, to, clock = systemClock }: AccessLogOptions): (line: AccessLine) => void {
  if (log !== undefined) {
    if (format !== undefined || to !== undefined) {
      throw new TypeError('accessLog: with `log` the logger decides on `format` and `to`; give one or the other')
    }
    return (line) => log.info(line, 'request')
  }
  const output = new LineOutput(to ?? process.stdout)
  if (format === 'combined') return (line) => output.write(combinedLine(line, clock.wall()))
  return (line) => output.write(`${JSON.stringify({ time: Math.round(clock.wall()), ...line })}\n`)
}

function accessLine(environ: Environ, outcome: Outcome, requestId: string = environ.gantry.requestId): AccessLine {
  const line: AccessLine = {
    requestId,
    remote: environ.REMOTE_ADDR,
    method: environ.REQUEST_METHOD,
    url: environ.REQUEST_URI,
    protocol: environ.SERVER_PROTOCOL,
    status: outcome.status,
    bytes: outcome.bytes,
    ms: Math.round(outcome.milliseconds * 10) / 10,
  }
  const user = environ['REMOTE_USER']
  if (typeof user === 'string') line.user = user
  const referer = environ['HTTP_REFERER']
  if (typeof referer === 'string') line.referer = referer
  const userAgent = environ['HTTP_USER_AGENT']
  if (typeof userAgent === 'string') line.userAgent = userAgent
  if (outcome.aborted) line.aborted = (outcome.aborted as { code?: string }).code ?? outcome.aborted.name
  return line
}
