/**
 * Every error code, once: its HTTP status, what happened, and what to do. `coded-errors.ts` makes errors from the
 * codes, and `docs/errors.md` is generated from the rows. A code is stable: users match on it, and search for it.
 */

import { abortCodes, attemptCodes } from './error-codes/abort-codes.ts'
import { applicationCodes, stateCodes } from './error-codes/application-codes.ts'
import { cgiCodes, middlewareCodes, uwsgiCodes, xsltCodes } from './error-codes/feature-codes.ts'
import { frameCodes, reachCodes } from './error-codes/link-codes.ts'
import { faultCodes, limitCodes, malformedCodes, overloadCodes, upstreamCodes } from './error-codes/request-codes.ts'
import { listenCodes, logCodes, moduleCodes, optionCodes, processCodes } from './error-codes/start-codes.ts'

export interface CodeRow {
  /** The HTTP status of the response, if none has begun. */
  readonly status?: number
  /** What happened: a sentence. */
  readonly means: string
  /** What to do: a sentence. Absent if the section of the page says it for all of its codes. */
  readonly fix?: string
}

type CodeTable<Code extends string = string> = Readonly<Record<Code, CodeRow>>

/** A code of an `HttpError`: each has a status. */
export type HttpCode =
  | keyof typeof malformedCodes
  | keyof typeof limitCodes
  | keyof typeof overloadCodes
  | keyof typeof upstreamCodes
  | keyof typeof faultCodes
  | Exclude<keyof typeof uwsgiCodes, 'UWSGI_PACKET' | 'UWSGI_MODIFIER'>
  | keyof typeof cgiCodes
  | keyof typeof middlewareCodes

/** A code of a `RemoteProtocolError`: the peer of a connection broke its protocol. */
export type PeerCode =
  | HttpCode
  | keyof typeof uwsgiCodes
  | keyof typeof reachCodes
  | keyof typeof frameCodes
  | 'DETACHED'
  | 'CLOSED'
  | 'NOT_UPGRADE'

/** A code of a `LocalProtocolError`: code on this side made a mistake. */
export type LocalCode = keyof typeof applicationCodes | keyof typeof stateCodes | 'GOAWAY'

/** A code of a log line or an error that is not one of the classes of `errors.ts`. */
export type OtherCode =
  | keyof typeof xsltCodes
  | keyof typeof reachCodes
  | keyof typeof processCodes
  | keyof typeof logCodes
  | keyof typeof applicationCodes

export type CodeSubject =
  | 'malformed'
  | 'limit'
  | 'overload'
  | 'upstream'
  | 'fault'
  | 'uwsgi'
  | 'cgi'
  | 'middleware'
  | 'abort'
  | 'attempt'
  | 'reach'
  | 'frame'
  | 'xslt'
  | 'log'
  | 'option'
  | 'module'
  | 'listen'
  | 'process'
  | 'application'
  | 'state'

/** The rows by subject, in the order of the page. */
export const codeTables: Readonly<Record<CodeSubject, CodeTable>> = {
  malformed: malformedCodes,
  limit: limitCodes,
  overload: overloadCodes,
  upstream: upstreamCodes,
  fault: faultCodes,
  uwsgi: uwsgiCodes,
  cgi: cgiCodes,
  middleware: middlewareCodes,
  abort: abortCodes,
  attempt: attemptCodes,
  reach: reachCodes,
  frame: frameCodes,
  xslt: xsltCodes,
  log: logCodes,
  option: optionCodes,
  module: moduleCodes,
  listen: listenCodes,
  process: processCodes,
  application: applicationCodes,
  state: stateCodes,
}

const answered: CodeTable<HttpCode> = {
  ...malformedCodes,
  ...limitCodes,
  ...overloadCodes,
  ...upstreamCodes,
  ...faultCodes,
  ...uwsgiCodes,
  ...cgiCodes,
  ...middlewareCodes,
}

/** 400 (RFC 9110 §15.5.1), the status of a request that broke its protocol, for codes without a status of their own. */
const OTHERWISE = 400

const statuses: ReadonlyMap<string, number> = new Map(
  Object.entries({ ...answered, ...abortCodes }).map(([code, { status }]: [string, CodeRow]) => [
    code,
    status ?? OTHERWISE,
  ]),
)

/** The status that a client gets for `code`. */
export function statusOf(code: PeerCode | 'SLOW_CLIENT'): number {
  return statuses.get(code) ?? OTHERWISE
}
