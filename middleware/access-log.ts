/**
 * One line per request, when it is over. It asks the request's context how that was instead of wrapping the body, so that it
 * neither delays a chunk nor stands between an array and its coalescing. How a line is written is in `combined-log.ts`; where it
 * goes, in `line-output.ts`.
 */

import type { Environ, Middleware, Outcome, RequestContext } from '../protocol/application.ts'
import { aClock, callable, checkOptions, form, logger, type OptionForms, oneOf } from '../protocol/check-options.ts'
import { type Clock, systemClock } from '../protocol/clock.ts'
import type { Context } from '../protocol/context.ts'
import type { Logger } from '../protocol/log.ts'
import type { RefusedRequest } from '../protocol/refused-request.ts'
import { UpstreamUse } from '../protocol/upstream-use.ts'
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

/** The line's fields. Times are in milliseconds, to a tenth. docs/logs.md explains each. */
export interface AccessLine {
  requestId: string
  remote: string
  /** `REMOTE_USER`: who `basicAuth`, or a server before this one, found it to be. */
  user?: string
  method?: string
  /** The raw target, as the client sent it. */
  url?: string
  protocol?: string
  /** In place of these three, for a malformed request line: the part of it that has arrived. */
  request?: string
  /** 0: no response was sent. */
  status: number
  bytes: number
  ms?: number
  referer?: string
  userAgent?: string
  /** The code of what cut the response short. */
  aborted?: string
  /** The code of the reason why the gateway refused the request: no application has seen it. */
  refused?: string
  /** The upstream of the last attempt. */
  upstream?: string
  container?: string
  worker?: number
  instance?: string
  /** The number of attempts, if there were several. */
  tries?: number
  /** Time in the queue, before and between attempts. */
  queueMs?: number
  /** From the last dispatch to the response's head, and to its end. */
  upstreamHeadMs?: number
  upstreamMs?: number
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

function accessLine(environ: Environ, outcome: Outcome, gantry: RequestContext): AccessLine {
  const line: AccessLine = {
    requestId: gantry.requestId,
    remote: environ.REMOTE_ADDR,
    method: environ.REQUEST_METHOD,
    url: environ.REQUEST_URI,
    protocol: environ.SERVER_PROTOCOL,
    status: outcome.status,
    bytes: outcome.bytes,
    ms: tenths(outcome.milliseconds),
  }
  const user = environ['REMOTE_USER']
  if (typeof user === 'string') line.user = user
  const referer = environ['HTTP_REFERER']
  if (typeof referer === 'string') line.referer = referer
  const userAgent = environ['HTTP_USER_AGENT']
  if (typeof userAgent === 'string') line.userAgent = userAgent
  if (outcome.aborted) line.aborted = (outcome.aborted as { code?: string }).code ?? outcome.aborted.name
  const use = (gantry as Partial<Context>).upstreamUse
  if (use) addUpstream(line, use)
  return line
}

/** Adds what is known about the upstream. A request that was never sent has no upstream time, rather than zero. */
function addUpstream(line: AccessLine, use: UpstreamUse): void {
  if (use.queued !== undefined) line.queueMs = tenths(use.queued)
  const { name } = use
  if (name === undefined) return
  line.upstream = name.upstream
  if (name.container !== undefined) line.container = name.container
  if (name.worker !== undefined) line.worker = name.worker
  if (name.instance !== undefined) line.instance = name.instance
  if (use.tries > 1) line.tries = use.tries
  const { toHead, toNow } = use
  if (toHead !== undefined) line.upstreamHeadMs = tenths(toHead)
  if (toNow !== undefined) line.upstreamMs = tenths(toNow)
}

function tenths(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10
}

/** Method, target and version; the last two may be missing. */
const REQUEST_LINE = /^([A-Za-z0-9!#$%&'*+.^_`|~-]+) (.*?)(?: (HTTP\/[0-9]\.[0-9]))?$/s

/**
 * For the `onRefused` of a gateway: writes the access lines of requests that no application saw; undefined without a
 * log.
 */
export function refusedLog(log: Logger | undefined): ((refused: RefusedRequest) => void) | undefined {
  return log && ((refused) => log.info(refusedLine(refused), 'request'))
}

function refusedLine(refused: RefusedRequest): AccessLine {
  const { requestId, remote, line: text, status, code, bytes, milliseconds } = refused
  const line: AccessLine = { requestId, remote, status, bytes, refused: code }
  if (milliseconds !== undefined) line.ms = tenths(milliseconds)
  const [, method, url, protocol] = REQUEST_LINE.exec(text) ?? []
  if (method === undefined) line.request = text
  else {
    line.method = method
    line.url = url!
    if (protocol !== undefined) line.protocol = protocol
  }
  return line
}
