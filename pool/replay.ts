/**
 * Whether a request that failed may be sent again: a pure decision. This is the one place that could run a POST twice,
 * so it knows nothing but the facts it is given.
 */

import { httpError } from '../protocol/contract/coded-errors.ts'
import { HttpError } from '../protocol/contract/errors.ts'

/** What is known of an attempt that failed; `CallError` of the frames is one. */
export interface Failure extends Error {
  readonly code: string
  /**
   * `no`: the container has surely not run it (refused, or above GOAWAY's last taken stream). `maybe`: anything else; when
   * a link dies a STARTED can have been lost with it, so that nothing is known even without one.
   */
  readonly ran: 'no' | 'maybe'
  /** A response had begun. */
  readonly responded: boolean
  /**
   * The container ended the request itself and still serves (RESET APPLICATION, DEADLINE, PROTOCOL): the application
   * ran and failed, and would fail in another container too. The request is not repeated; nginx's `proxy_next_upstream
   * error timeout` does not repeat requests for an application's errors either.
   */
  readonly final?: boolean
}

export interface Facts {
  readonly method: string
  /** The client has been given a head: whatever happened, there is no second answer. */
  readonly responded: boolean
  /** All the bytes of the request's body that were taken from the client are still there to be sent again. */
  readonly whole: boolean
  /** Attempts made so far, this one included. */
  readonly attempts: number
  /** Attempts that may have run, this one included when it is one. */
  readonly losses: number
  /** How many failed attempts are followed by another attempt. */
  readonly retries: number
}

/** RFC 9110 §9.2.2: what a proxy may repeat although it may have run. */
export const idempotent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])

/**
 * How often a request is sent in all when containers keep refusing it. With the pauses between attempts (`pool.ts`) that is
 * about five seconds of a container that takes connections and refuses all work, well within the queue's timeout.
 */
export const MOST_ATTEMPTS = 12

/**
 * Default of `--retries`: how often a request that may have run is sent again. One, so that a request that crashes its
 * container does not crash all containers (RFC 9110 §9.2.2 advises against retrying a retry).
 */
export const RETRIES = 1

/** Seconds; for a client that was told to come back. */
export const RETRY_AFTER = '1'

export function isFailure(error: unknown): error is Failure {
  return error instanceof Error && 'ran' in error && (error.ran === 'no' || error.ran === 'maybe')
}

/** Send it again (`undefined`), or answer with this error. `member` is for its message alone. */
export function judge(failure: Failure, facts: Facts, member: string = 'the container'): HttpError | undefined {
  if (failure.code === 'TOO_LARGE') return httpError('HEAD_TOO_LARGE', failure.message, { cause: failure })
  if (facts.responded || failure.responded) return lost(failure, member)
  if (!facts.whole || failure.final) return lost(failure, member)
  // It took too long: the client has waited its time, and another member would take as long.
  if (failure instanceof HttpError && failure.status === 504 && failure.ran !== 'no') return failure
  if (failure.ran === 'no') return facts.attempts < MOST_ATTEMPTS ? undefined : refused(failure, member)
  if (!idempotent.has(facts.method)) return lost(failure, member)
  if (facts.losses > facts.retries || facts.attempts >= MOST_ATTEMPTS) return lost(failure, member)
  return undefined
}

function lost(failure: Failure, member: string): HttpError {
  if (failure instanceof HttpError) return failure
  return httpError('UPSTREAM_LOST', `${member} failed before its response was complete: ${failure.message}`, {
    cause: failure,
  })
}

function refused(failure: Failure, member: string): HttpError {
  return httpError(
    'UPSTREAM_REFUSED',
    `no upstream accepted the request; the last one tried was ${member}: ${failure.message}`,
    {
      cause: failure,
      headers: [['Retry-After', RETRY_AFTER]],
    },
  )
}
