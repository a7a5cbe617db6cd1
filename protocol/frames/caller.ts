/**
 * One link on which this process calls a remote container: its state, its slots, and its calls.
 * Does not know which container is the best one to call, when to try again, or what a pool is.
 */

import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Body, Environ, StartResponse } from '../contract/application.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock, Timer } from '../net/clock.ts'
import { Call, CallError, type CallOwner, type SlotUser } from './call.ts'
import { Connection, type Event } from './codec/connection.ts'
import { Goaway, NONCE } from './codec/constants.ts'
import { type Identity, NOBODY } from './codec/hello.ts'
import type { FrameStream } from './codec/stream.ts'
import type { Token } from './codec/tokens.ts'
import { variablesForWire } from './environ-wire.ts'
import { Link, type LinkOwner, lost } from './link.ts'
import { Pings } from './pings.ts'
import type { ReplayableBody } from './replayable-body.ts'
import { LinkWatch, type WatchedLink, type WatchOptions } from './watch.ts'

export { CallError, type CallErrorCode, type SlotUser } from './call.ts'
export { ReplayableBody } from './replayable-body.ts'

/** `draining`: a GOAWAY was seen or sent, streams finish, nothing new is taken. */
export type CallerState = 'connecting' | 'ready' | 'draining' | 'closed'

export interface CallerOptions {
  clock: Clock
  log: Logger
  /**
   * Shared secrets. Both sides have one in common, or neither side has any. This side proves the first one, and accepts
   * each of them.
   */
  token?: Token | undefined
  /** What this side says of itself. */
  identity?: Identity | undefined
  /** Whether this side opened the connection (default), or accepted it (a container that joined). The dialler proves the secret first. */
  dialled?: boolean | undefined
  /** Bytes of response body a peer may send ahead per stream. Default 128 KiB. */
  window?: number | undefined
  /** Longest DATA taken from the peer, bytes. Default 64 KiB. */
  data?: number | undefined
  /** Longest head taken from the peer, bytes. Default 256 KiB. */
  head?: number | undefined
  /** Milliseconds for HELLO and authentication. Default 5000. */
  handshakeTimeout?: number | undefined
  /** The times by which the link's life is watched; undefined: it is not watched. */
  watch?: WatchOptions | undefined
  /** `state`, `grant` or `inFlight` changed. May be called within `call()`. Do not throw. */
  onChange?: (() => void) | undefined
  /** Once, when the link is closed for whatever reason, after every call was settled. */
  onClosed?: ((error?: Error) => void) | undefined
}

/** How long a lower demand is held back, ms: it goes up and down with every request. */
const DEMAND_DELAY = 100

export class Caller implements LinkOwner, CallOwner, WatchedLink {
  readonly link: Link
  readonly #connection: Connection
  readonly #clock: Clock
  readonly #log: Logger
  readonly #onChange: () => void
  readonly #onClosed: (error?: Error) => void
  #state: CallerState = 'connecting'
  #grant = 0
  /** The output queue is too long: `grant` is 0 until it has been sent. */
  #congested = false
  #inFlight = 0
  #upgraded = 0
  #closing: string | undefined
  #failure: Error | undefined
  #lag = 0
  /** Demand: told to the peer, wanted now, the highest since it was last told. */
  #told = 0
  #demand = 0
  #peak = 0
  #demandTimer: Timer | undefined
  readonly #pings: Pings
  readonly #watch: LinkWatch | undefined

  /** @param stream connected or connecting; the caller owns it from here on */
  constructor(stream: Duplex, options: CallerOptions) {
    this.#clock = options.clock
    this.#log = options.log
    this.#onChange = options.onChange ?? nothing
    this.#onClosed = options.onClosed ?? nothing
    this.#pings = new Pings(options.clock)
    this.#watch = options.watch && new LinkWatch(this, options.clock, options.watch)
    this.#connection = new Connection({
      role: 'caller',
      dialled: options.dialled ?? true,
      token: options.token,
      secret: options.token !== undefined,
      nonce: randomBytes(NONCE),
      identity: options.identity ?? NOBODY,
      window: options.window,
      data: options.data,
      head: options.head,
    })
    this.link = new Link(stream, this.#connection, this, options)
  }

  get state(): CallerState {
    return this.#state
  }

  /** Why this side has begun to close the link. */
  get closing(): string | undefined {
    return this.#closing
  }

  /** Why the link was closed, if not as both sides had meant it. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /** Known from `ready` on. */
  get peer(): Identity | undefined {
    return this.#state === 'connecting' ? undefined : this.#connection.peer
  }

  /**
   * How many requests the peer allows in flight on this link; 0 while the link's output queue is too long for another
   * request.
   */
  get grant(): number {
    return this.#congested ? 0 : this.#grant
  }

  /** Calls that hold a slot: upgraded streams are not counted. */
  get inFlight(): number {
    return this.#inFlight
  }

  /** Upgraded streams. */
  get upgraded(): number {
    return this.#upgraded
  }

  /** Whether the peer answers: a link that is silent must get no new requests. */
  get trusted(): boolean {
    return this.#watch?.trusted ?? true
  }

  /** The peer has sent GOAWAY. */
  get leaving(): boolean {
    return this.#connection.leaving
  }

  /** Whether streams are open, upgraded ones included. */
  get busy(): boolean {
    return this.#connection.size > 0
  }

  /** A new connection to its address was refused or timed out: closes the link if it is silent as well. */
  unreachable(): void {
    this.#watch?.unreachable()
  }

  /** What the peer said with its last PONG: how late its loop was, in milliseconds. */
  get lag(): number {
    return this.#lag
  }

  /** Tells the peer how many slots could be used here: in flight and queued. Cheap to repeat. */
  demand(slots: number): void {
    this.#demand = slots
    if (slots > this.#peak) this.#peak = slots
    if (slots > this.#told) {
      this.#tell(slots)
    } else if (slots < this.#told) {
      this.#demandTimer ??= this.#clock.after(DEMAND_DELAY, () => {
        this.#demandTimer = undefined
        const peak = this.#peak
        this.#peak = this.#demand
        if (peak < this.#told) this.#tell(peak)
        this.demand(this.#demand)
      })
    }
  }

  /**
   * Calls the remote application. Rejects before `startResponse` was called with a `CallError`, or with what was thrown if
   * the request itself is at fault (its client is gone, its input failed, a variable cannot cross); after it the body throws. A response
   * that came whole in one frame gives an array.
   *
   * It neither waits for a slot nor looks at `grant`: what is above it is refused by the peer.
   *
   * @param user notified when the call's slot is free, if the call took one
   */
  call(environ: Environ, startResponse: StartResponse, body: ReplayableBody, user?: SlotUser): Promise<Body> {
    if (this.#state !== 'ready') {
      return Promise.reject(new CallError('NOT_READY', `the link is ${this.#state}`, 'no', false))
    }
    const call = new Call(this, environ, startResponse, body, user)
    this.#inFlight++
    try {
      const { variables, rawHeaders } = variablesForWire(environ)
      call.begin({ requestId: environ.gantry.requestId, variables, headers: rawHeaders })
    } catch (error) {
      this.#inFlight--
      return Promise.reject(error)
    }
    if (this.#connection.worn) this.close('stream numbers are used up', Goaway.RETIRING)
    this.#congested = this.#connection.congested
    this.link.schedule()
    return call.promise
  }

  /** Sends PING; resolves with milliseconds there and back. Rejects when the link closes first. */
  ping(): Promise<number> {
    if (this.#connection.state !== 'open' || this.link.closed) {
      return Promise.reject(new CallError('NOT_READY', `the link is ${this.#state}`, 'no', false))
    }
    return this.#pings.make((token) => {
      this.#connection.ping(token)
      this.link.schedule()
    })
  }

  /** Takes no more calls, finishes those that run, then closes. */
  close(reason: string, code: number = Goaway.DRAINING): void {
    if (this.#state === 'closed' || this.#connection.goingAway) return
    if (this.#connection.state !== 'open') {
      this.destroy()
      return
    }
    this.#closing = reason
    this.#connection.goaway(code, reason)
    this.link.schedule()
    this.#drain()
  }

  /** Closes now: calls in flight fail with `LOST`. */
  destroy(error?: Error): void {
    this.link.destroy(error)
  }

  /** `<Caller ready c1/0 3 of 1000>` */
  inspect(): string {
    const { peer } = this
    const who = peer ? ` ${peer.id}/${peer.worker}` : ''
    const upgraded = this.#upgraded > 0 ? `, ${this.#upgraded} upgraded` : ''
    return `<Caller ${this.#state}${who} ${this.#inFlight} of ${this.#grant}${upgraded}>`
  }

  // ---- of LinkOwner and CallOwner ----------------------------------------------------------------------------------

  heard(): void {
    this.#watch?.heard()
  }

  sent(bytes: number): void {
    this.#watch?.sent(bytes)
  }

  event(event: Event): void {
    switch (event.type) {
      case 'ready':
        this.#state = 'ready'
        this.#watch?.start()
        if (this.#demand > 0) this.#tell(this.#demand)
        this.#onChange()
        break
      case 'slots':
        if (event.count === this.#grant) break
        this.#grant = event.count
        this.#onChange()
        break
      case 'ping':
        this.#connection.pong(event.token, this.#inFlight, 0)
        break
      case 'pong':
        if (this.#pings.answered(event.token)) this.#lag = event.lag
        break
      case 'goaway':
        this.#log.debug({ peer: this.peer?.id, reason: event.text }, 'the container takes no more requests')
        this.#drain(() => {
          for (const stream of event.untaken) (stream.owner as Call).untaken(event.text)
        })
        break
      case 'request':
        break
      default:
        ;(event.stream.owner as Call).event(event)
    }
  }

  relieved(stream: FrameStream): void {
    ;(stream.owner as Call | undefined)?.relieved(stream)
  }

  fault(stream: FrameStream, error: unknown): void {
    this.#log.error({ peer: this.peer?.id, err: error }, 'handling a response failed; its request was aborted')
    ;(stream.owner as Call | undefined)?.abort(error as Error)
  }

  missed(stream: FrameStream): void {
    ;(stream.owner as Call | undefined)?.lost(lost())
  }

  flushing(): void {}

  flushed(): void {
    if (!this.#congested) return
    this.#congested = this.#connection.congested
    if (!this.#congested) this.#onChange()
  }

  closed(error: Error | undefined): void {
    this.#state = 'closed'
    this.#failure = error
    this.#grant = 0
    this.#demandTimer?.cancel()
    this.#watch?.stop()
    const reason = error ?? lost()
    for (const stream of this.#connection.abandon()) (stream.owner as Call | undefined)?.lost(reason)
    this.#pings.fail(new CallError('LOST', reason.message, 'no', false))
    this.#onChange()
    this.#onClosed(error)
  }

  released(): void {
    this.#inFlight--
    // Aborting a call can remove its REQUEST from the output queue, or add a RESET.
    this.#congested = this.#connection.congested
    this.#onChange()
    this.#endIfDone()
  }

  /** A call has become a raw connection: it gave its slot back, and still needs the link. */
  upgradedBegan(): void {
    this.#upgraded++
  }

  upgradedEnded(): void {
    this.#upgraded--
    this.#endIfDone()
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  #tell(demand: number): void {
    if (this.#connection.state !== 'open') return
    this.#told = demand
    this.#connection.slots(demand)
    this.link.schedule()
  }

  /** Takes no more calls. @param between what is told its owners once that is so */
  #drain(between?: () => void): void {
    if (this.#state === 'closed') return
    this.#state = 'draining'
    between?.()
    this.#onChange()
    this.#endIfDone()
  }

  #endIfDone(): void {
    if (this.#state === 'draining' && this.#connection.size === 0) this.link.end()
  }
}

const nothing = (): void => {}
