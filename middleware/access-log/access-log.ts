/**
 * Writes one line per request, when it is over. Learns the outcome from the request's context and does not wrap the body,
 * which would delay chunks. `access-line.ts` has the fields, `combined-log.ts` a format, `line-output.ts` the output.
 */

import type { Environ, Middleware, Outcome } from '../../protocol/contract/application.ts'
import type { Context } from '../../protocol/contract/context.ts'
import type { RefusedRequest } from '../../protocol/contract/refused-request.ts'
import { UpstreamUse } from '../../protocol/contract/upstream-use.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import {
  aClock,
  callable,
  checkOptions,
  form,
  logger,
  type OptionForms,
  oneOf,
} from '../../protocol/options/check-options.ts'
import { type AccessLine, accessLine, refusedLine } from './access-line.ts'
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
    if ('upstreamUse' in gantry) (gantry as Context).upstreamUse ??= new UpstreamUse()
    gantry.onFinished((outcome) => {
      if (!skip?.(environ, outcome)) record(accessLine(environ, outcome, gantry))
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

/**
 * For the `onRefused` of a gateway: writes the access lines of requests that no application saw; undefined without a
 * log.
 */
export function refusedLog(log: Logger | undefined): ((refused: RefusedRequest) => void) | undefined {
  return log && ((refused) => log.info(refusedLine(refused), 'request'))
}
