/**
 * What the pool needs of whatever runs requests: a link to a container, or an HTTP server behind the same contract. The
 * kinds are in `upstreams/`; who makes them, and when again, is `dialer.ts` and `join-listener.ts`.
 */

import type { Body, Environ, StartResponse } from '../protocol/contract/application.ts'
import type { ReplayableBody, SlotUser } from '../protocol/frames/caller.ts'
import type { Identity } from '../protocol/frames/codec/hello.ts'

export type UpstreamState = 'connecting' | 'ready' | 'draining' | 'closed'

/** One try to have one request run. */
export interface Attempt {
  /**
   * The body, once `startResponse` was called. Rejects with a `Failure` (replay.ts) when the request was not answered;
   * with anything else when the request itself is at fault or its client is gone, which no other member can mend.
   */
  readonly response: Promise<Body>
  /** It keeps the time to the response's head and between chunks itself. */
  readonly timed?: boolean
  /** Gives it up: the container is told in the same tick. `response` or the body's pending read rejects. */
  abort(reason: Error): void
}

export interface Upstream {
  /** For logs: the address, and who answers there. */
  readonly name: string
  /** The address alone, if `name` contains more than that. */
  readonly address?: string
  readonly state: UpstreamState
  /** False: it accepts requests, but none has reached it yet. Links are ready only after their peer has answered. */
  readonly reached?: boolean | undefined
  /** Requests it lets us have in flight at once. */
  readonly grant: number
  /** Requests that hold a slot now. */
  readonly inFlight: number
  /** Who runs there, where that is known. */
  readonly peer?: Identity | undefined
  /** Why this side has begun to close it. */
  readonly closing?: string | undefined
  /** Why it was closed, if neither side had said that it would be and nothing else logs it. */
  readonly failure?: Error | undefined
  /** Set by the pool; to be called whenever `state`, `grant` or `inFlight` changed. */
  onChange: () => void
  /** How many slots could be used: in flight and waiting. */
  demand(slots: number): void
  /**
   * Never throws. Takes a slot before it returns, and notifies `user` when the slot is free again, unless the attempt
   * fails at once.
   */
  call(environ: Environ, startResponse: StartResponse, body: ReplayableBody, user: SlotUser): Attempt
  /** Takes nothing new, finishes what runs, then closes. */
  close(reason: string): void
  /** Closes now; what runs fails. */
  destroy(reason: string): void
}
