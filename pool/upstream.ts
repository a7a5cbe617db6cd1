/**
 * What runs a pool's requests: a link to a container (`frames-upstream.ts`), or an HTTP server as an application
 * (`proxy/upstreams/`). The proxy's `discovery/` makes links and replaces them.
 */

import type { Body, Environ, StartResponse } from '../protocol/contract/application.ts'
import type { ReplayableBody, SlotUser } from '../protocol/frames/caller.ts'
import type { Identity } from '../protocol/frames/codec/hello.ts'

export type UpstreamState = 'connecting' | 'ready' | 'draining' | 'closed'

/** One attempt to run one request. */
export interface Attempt {
  /**
   * The body, after `startResponse` was called. Rejects with a `Failure` (replay.ts) if the member failed; with any
   * other error if the request itself is at fault or its client has disconnected, so that no other member can help.
   */
  readonly response: Promise<Body>
  /** The upstream enforces the timeouts for the response's head and between chunks itself. */
  readonly timed?: boolean
  /** Aborts the attempt: the container is notified in the same tick. `response` or the body's pending read rejects. */
  abort(reason: Error): void
}

export interface Upstream {
  /** For logs: the address, and the peer's id if it is known. */
  readonly name: string
  /** The address alone, if `name` contains more than that. */
  readonly address?: string
  readonly state: UpstreamState
  /**
   * False: it accepts requests, but no request has reached it yet. Links are ready only after their peer has answered.
   */
  readonly reached?: boolean | undefined
  /** How many requests of this pool it may run at once. */
  readonly grant: number
  /** How many requests hold a slot now. */
  readonly inFlight: number
  /** The identity of the process at the other end, if it is known. */
  readonly peer?: Identity | undefined
  /** Why this side has begun to close the link. */
  readonly closing?: string | undefined
  /** Why the link was closed, if neither side had announced it and nothing else logs it. */
  readonly failure?: Error | undefined
  /** Set by the pool. The upstream calls it whenever `state`, `grant` or `inFlight` has changed. */
  onChange: () => void
  /** The pool could use this many slots, for running and waiting requests. */
  demand(slots: number): void
  /**
   * Never throws. Takes a slot before it returns, and notifies `user` when the slot is free again, unless the attempt
   * fails immediately.
   */
  call(environ: Environ, startResponse: StartResponse, body: ReplayableBody, user: SlotUser): Attempt
  /** Accepts no new requests, finishes running ones, then closes. */
  close(reason: string): void
  /** Closes now; running requests fail. */
  destroy(reason: string): void
}
