/**
 * Writes one line per request, when it is over. Learns the outcome from the request's context and does not wrap the
 * body, which would delay chunks. `access-line.ts` has the fields, `combined-log.ts` a format, `line-output.ts` the
 * output.
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

/** The options of `accessLog`. */
export interface AccessLogOptions {
  /**
   * `json`: one object per line, with `time` (ms since the epoch) and the fields of `AccessLine`. `combined`: the
   * format of that name of Apache and nginx, which every log analyser reads. Default `json`, as in the processes' logs.
   */
  readonly format?: 'json' | 'combined' | undefined
  /**
   * Receives the lines, each with its newline: a stream or a function. The lines of one event-loop iteration arrive as
   * one text. Default: standard output.
   */
  readonly to?: LineTarget | undefined
  /** A logger that gets the fields of each line with the message `request`, instead of `format` and `to`. */
  readonly log?: Pick<Logger, 'info'> | undefined
  /**
   * Returns whether a request gets no line, for example a health probe. Called when the request is over, with the
   * environ as it is then: `mount` has shortened PATH_INFO. Default: every request gets a line.
   */
  readonly skip?: ((environ: Environ, outcome: Outcome) => boolean) | undefined
  /** The clock, for tests. Default: the system clock. */
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
 * Writes a line for each request when it is over.
 *
 * Put it outermost: time spent in middleware outside is not measured, while requests that middleware inside answers
 * itself get a line too.
 *
 * @throws TypeError if an option is unknown or invalid, or `log` is combined with `format` or `to`
 * @example
 * ```ts
 * import type { Application } from 'gantry'
 * import { accessLog } from 'gantry/middleware'
 *
 * const hello: Application = (_environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from('Hello\n')]
 * }
 * export const application: Application = accessLog({
 *   format: 'combined',
 *   skip: (environ) => environ.PATH_INFO === '/healthz',
 * })(hello)
 * ```
 */
export function accessLog(options: AccessLogOptions = {}): Middleware {
  checkOptions('accessLog', options, OPTIONS)
  const { skip } = options
  const record = recorder(options)
  return (application) => (environ, startResponse) => {
    // The environ is read at the end, with the changes of inner middleware (mount, basicAuth). The context is the one
    // from here.
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
      throw new TypeError('accessLog: with `log` the logger decides on `format` and `to`; pass one or the other')
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
