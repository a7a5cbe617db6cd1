/**
 * One link on which this process calls a remote container: requests go out, responses come back.
 * Does not know which container is the best one to call, when to try again, or what a pool is.
 */

import type { Duplex } from 'node:stream'
import type { Body, Environ, Input, StartResponse } from '../application.ts'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { Identity } from './hello.ts'

/**
 * - `REFUSED`: the peer was above its slots; nothing ran.
 * - `GOAWAY`: the peer drains and did not take this request; nothing ran.
 * - `NOT_READY`: the link was not ready when the call was made; nothing was sent.
 * - `TOO_LARGE`: the head is more than the peer takes (431 is the status to give); nothing was sent.
 * - `LOST`: the link died.
 * - `RESET`: the peer gave the request up (its application failed after its head, a deadline, a drain timeout).
 * - `PROTOCOL`: the peer broke the protocol; the link is closed.
 * - `ABORTED`: this side gave it up: `environ.gantry.signal` was aborted.
 */
export type CallErrorCode = 'REFUSED' | 'GOAWAY' | 'NOT_READY' | 'TOO_LARGE' | 'LOST' | 'RESET' | 'PROTOCOL' | 'ABORTED'

/** A call that did not end well: what happened, and whether the application can have run. */
export class CallError extends Error {
  override readonly name: string = 'CallError'
  readonly code: CallErrorCode
  /** `no`: surely never ran, may be sent elsewhere whatever its method (wire.md, *Replay*). */
  readonly ran: 'no' | 'maybe'
  /** Whether a response head had come. */
  readonly responded: boolean

  constructor(code: CallErrorCode, message: string, ran: 'no' | 'maybe', responded: boolean, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.ran = ran
    this.responded = responded
  }
}

/**
 * A request's body that can be sent again: keeps what was sent until the application has started or it was too much.
 * Make one per request, and give the same one to every attempt. Bodies are read from the input once.
 */
export class ReplayableBody {
  readonly #input: Input

  constructor(input: Input) {
    this.#input = input
  }

  /** Whether it can still be sent from its first byte. True for an empty body, always. */
  get whole(): boolean {
    return this.#input !== undefined
  }
}

/** `draining`: a GOAWAY was seen or sent, streams finish, nothing new is taken. */
export type CallerState = 'connecting' | 'ready' | 'draining' | 'closed'

export interface CallerOptions {
  clock: Clock
  log: Logger
  /** Shared secret. Both sides have the same, or neither has one. */
  token?: string | undefined
  /** What this side says of itself. */
  identity?: Identity | undefined
  /** Whether this side opened the connection (default), or accepted it (a container that joined). The dialler proves the secret first. */
  dialled?: boolean | undefined
  /** Bytes of response body a peer may send ahead per stream. Default 128 KiB. */
  window?: number | undefined
  /** Milliseconds for HELLO and authentication. Default 5000. */
  handshakeTimeout?: number | undefined
  /** `state`, `grant` or `inFlight` changed. May be called within `call()`. Do not throw. */
  onChange?: (() => void) | undefined
  /** Once, when the link is closed for whatever reason, after every call was settled. */
  onClosed?: ((error?: Error) => void) | undefined
}

export class Caller {
  constructor(stream: Duplex, options: CallerOptions) {
    void stream
    void options
  }

  get state(): CallerState {
    return 'connecting'
  }
  /** Known from `ready` on. */
  get peer(): Identity | undefined {
    return undefined
  }
  /** How many requests the peer lets this link have in flight. */
  get grant(): number {
    return 0
  }
  /** Calls that hold a slot: upgraded streams are not counted. */
  get inFlight(): number {
    return 0
  }
  /** Upgraded streams. */
  get upgraded(): number {
    return 0
  }
  /** What the peer's loop said with its last PONG: how late it was, in milliseconds. */
  get lag(): number {
    return 0
  }

  /** Tells the peer how many slots could be used here: in flight and queued. Cheap to repeat. */
  demand(slots: number): void {
    void slots
  }

  /**
   * Calls the remote application. Rejects with `CallError` (or what `startResponse` threw) before `startResponse` was
   * called; after it the body throws. A response that came whole in one frame gives an array.
   *
   * It neither waits for a slot nor looks at `grant`: who is above it is refused by the peer.
   */
  call(environ: Environ, startResponse: StartResponse, body: ReplayableBody): Promise<Body> {
    void environ
    void startResponse
    void body
    return Promise.reject(new CallError('NOT_READY', 'the link is not ready', 'no', false))
  }

  /** Sends PING; resolves with milliseconds there and back. Rejects when the link closes first. */
  ping(): Promise<number> {
    return Promise.reject(new CallError('NOT_READY', 'the link is not ready', 'no', false))
  }

  /** Takes no more calls, finishes those that run, then closes. */
  close(reason: string): void {
    void reason
  }

  /** Closes now: calls in flight fail with `LOST`. */
  destroy(error?: Error): void {
    void error
  }

  /** `<Caller ready c1/0 3 of 1000>` */
  inspect(): string {
    return '<Caller>'
  }
}
