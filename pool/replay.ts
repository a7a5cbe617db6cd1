/**
 * Whether the pool may send a failed request again: a pure decision. It trusts `ran: 'no'`, which `frames/call.ts` and
 * `caller.ts` set, and `proxy/upstreams/http-errors.ts`: a mistake there or here could run a POST twice. `connect()` of
 * `frames/connect.ts` has no pool, and its own rule.
 */

import { httpError } from '../protocol/contract/coded-errors.ts'
import { HttpError } from '../protocol/contract/errors.ts'
import { IDEMPOTENT_METHODS } from '../protocol/contract/methods.ts'

/** What is known about a failed attempt; `CallError` of the frames is one. */
export interface Failure extends Error {
  readonly code: string
  /**
   * `no`: the container has certainly not run the request (refused, or above GOAWAY's last accepted stream). `maybe`:
   * everything else. When a link dies, a STARTED frame may be lost with it, so its absence proves nothing.
   */
  readonly ran: 'no' | 'maybe'
  /** The response had begun. */
  readonly responded: boolean
  /**
   * The container ended the request itself and still serves (RESET APPLICATION, DEADLINE, PROTOCOL): the application
   * ran and failed, and would fail in another container too. Such a request is not sent again; nginx's
   * `proxy_next_upstream error timeout` does not repeat requests after an application's errors either.
   */
  readonly final?: boolean
}

export interface Facts {
  readonly method: string
  /** The client has received a response head: it cannot get a second response. */
  readonly responded: boolean
  /** All bytes of the request's body that were read from the client are still buffered, and can be sent again. */
  readonly whole: boolean
  /** Attempts so far, including this one. */
  readonly attempts: number
  /** Attempts that may have run, including this one if it may have. */
  readonly losses: number
  /** How many attempts that may have run are followed by another attempt. */
  readonly retries: number
}

/**
 * How often a request is sent in total if containers refuse it. With the pauses between attempts (`pool.ts`) a
 * container that accepts connections and refuses every request costs about five seconds: well within the queue's
 * timeout.
 */
export const MOST_ATTEMPTS = 12

/**
 * The default of `--retries`: how often a request that may have run is sent again. Once: a request that crashes its
 * container must not crash all containers (RFC 9110 §9.2.2 advises against retrying a retry).
 */
export const RETRIES = 1

/** The value of Retry-After in 503 responses, seconds. */
export const RETRY_AFTER = '1'

export function isFailure(error: unknown): error is Failure {
  return error instanceof Error && 'ran' in error && (error.ran === 'no' || error.ran === 'maybe')
}

/**
 * Decides what follows a failed attempt.
 *
 * @param member the name of the member, for messages
 * @returns undefined: send the request again; else the error that is the response
 */
export function judge(failure: Failure, facts: Facts, member: string = 'the container'): HttpError | undefined {
  if (failure.code === 'TOO_LARGE') return httpError('HEAD_TOO_LARGE', failure.message, { cause: failure })
  if (facts.responded || failure.responded) return lost(failure, member)
  if (!facts.whole || failure.final) return lost(failure, member)
  // The timeout has passed: the client has waited long enough, and another member would be as slow.
  if (failure instanceof HttpError && failure.status === 504 && failure.ran !== 'no') return failure
  if (failure.ran === 'no') return facts.attempts < MOST_ATTEMPTS ? undefined : refused(failure, member)
  if (!IDEMPOTENT_METHODS.has(facts.method)) return lost(failure, member)
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
