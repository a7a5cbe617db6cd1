/** The fields of an access line, from a request that has ended or was refused. `access-log.ts` writes the lines. */

import type { Environ, Outcome, RequestContext } from '../../protocol/contract/application.ts'
import type { Context } from '../../protocol/contract/context.ts'
import type { RefusedRequest } from '../../protocol/contract/refused-request.ts'
import type { UpstreamUse } from '../../protocol/contract/upstream-use.ts'

/** The fields of an access line. Times are in milliseconds, rounded to a tenth. docs/logs.md explains each field. */
export interface AccessLine {
  requestId: string
  remote: string
  /** `REMOTE_USER`, as set by `basicAuth` or a server in front. */
  user?: string
  method?: string
  /** The raw target, as the client sent it. */
  url?: string
  protocol?: string
  /** Instead of these three fields, for a malformed request line: the part of it that has arrived. */
  request?: string
  /** 0: no response was sent. */
  status: number
  bytes: number
  ms?: number
  referer?: string
  userAgent?: string
  /** The code of the abort, if the response was aborted. */
  aborted?: string
  /** The code of the refusal, if the gateway refused the request before any application saw it. */
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

/** The access line of a request that has ended. */
export function accessLine(environ: Environ, outcome: Outcome, gantry: RequestContext): AccessLine {
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

/** The access line of a request that the gateway answered before an application saw it. */
export function refusedLine(refused: RefusedRequest): AccessLine {
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
