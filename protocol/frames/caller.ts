/**
 * One link on which this process calls a remote container: its state, its slots and its calls. The pool chooses between
 * containers and retries.
 */

import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Body, Environ, StartResponse } from '../contract/application.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock, Timer } from '../net/clock.ts'
import { type CallOwner, FrameCall, type SlotUser } from './call.ts'
import { CallError } from './call-error.ts'
import { FrameConnection, type FrameEvent } from './codec/connection.ts'
import { Goaway, NONCE } from './codec/constants.ts'
import { type Identity, NOBODY } from './codec/hello.ts'
import type { FrameStream } from './codec/stream.ts'
import type { Token } from './codec/tokens.ts'
import { variablesForWire } from './environ-wire.ts'
import { Link, type LinkOwner, linkLost } from './link.ts'
import { Pings } from './pings.ts'
import type { ReplayableBody } from './replayable-body.ts'
import { LinkWatch, type WatchedLink, type WatchOptions } from './watch.ts'

export type { SlotUser } from './call.ts'
export { CallError, type CallErrorCode } from './call-error.ts'
export { ReplayableBody } from './replayable-body.ts'

/** `draining`: GOAWAY was sent or has arrived. Calls in progress finish, and new calls are rejected. */
export type CallerState = 'connecting' | 'ready' | 'draining' | 'closed'

export interface CallerOptions {
  clock: Clock
  log: Logger
  /**
   * The shared secrets. Either both sides have a secret in common, or neither side has any. This side proves the first
   * secret, and accepts each of them.
   */
  token?: Token | undefined
  /** The identity of this side. */
  identity?: Identity | undefined
  /**
   * Whether this side opened the connection (default), or accepted it (from a container that joins). The dialler proves
   * the secret first.
   */
  dialled?: boolean | undefined
  /** Bytes of response body that the peer may send ahead, per stream. Default 128 KiB. */
  window?: number | undefined
  /** The longest DATA that this side accepts, bytes. Default 64 KiB. */
  data?: number | undefined
  /** The longest head that this side accepts, bytes. Default 256 KiB. */
  head?: number | undefined
  /** The timeout of HELLO and authentication, milliseconds. Default 5000. */
  handshakeTimeout?: number | undefined
  /** The timeouts that decide when the link is dead; undefined: the link is not watched. */
  watch?: WatchOptions | undefined
  /** `state`, `grant` or `inFlight` has changed. May be called within `call()`. Must not throw. */
  onChange?: (() => void) | undefined
  /** Called once, when the link is closed for any reason, after every call was settled. */
  onClosed?: ((error?: Error) => void) | undefined
}

/** Delay before a lower demand is sent, milliseconds: the demand goes up and down with every request. */
const DEMAND_DELAY = 100

export class Caller implements LinkOwner, CallOwner, WatchedLink {
  readonly link: Link
  readonly #connection: FrameConnection
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
  /** The demand that was last sent to the peer. */
  #sentDemand = 0
  /** The demand now. */
  #demand = 0
  /** The highest demand since one was last sent. */
  #peak = 0
  #demandTimer: Timer | undefined
  readonly #pings: Pings
  readonly #watch: LinkWatch | undefined

  /** @param socket connected or connecting; the link owns the socket from now on */
  constructor(socket: Duplex, options: CallerOptions) {
    this.#clock = options.clock
    this.#log = options.log
    this.#onChange = options.onChange ?? nothing
    this.#onClosed = options.onClosed ?? nothing
    this.#pings = new Pings(options.clock)
    this.#watch = options.watch && new LinkWatch(this, options.clock, options.watch)
    this.#connection = new FrameConnection({
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
    this.link = new Link(socket, this.#connection, this, options)
  }

  get state(): CallerState {
    return this.#state
  }

  /** Why this side is closing the link; undefined if it is not. */
  get closing(): string | undefined {
    return this.#closing
  }

  /** Why the link was closed, unless both sides had announced the end. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /** The peer's identity; undefined before the state is `ready`. */
  get peer(): Identity | undefined {
    return this.#state === 'connecting' ? undefined : this.#connection.peer
  }

  /**
   * The number of requests that the peer allows in flight on this link; 0 while the output queue is too long for
   * another request.
   */
  get grant(): number {
    return this.#congested ? 0 : this.#grant
  }

  /** The number of calls that hold a slot. Upgraded streams hold none. */
  get inFlight(): number {
    return this.#inFlight
  }

  /** The number of upgraded streams. */
  get upgraded(): number {
    return this.#upgraded
  }

  /** Whether the peer answers. A link whose peer does not answer must get no new requests. */
  get isAnswering(): boolean {
    return this.#watch?.isAnswering ?? true
  }

  /** Whether the peer has sent GOAWAY. */
  get peerGoingAway(): boolean {
    return this.#connection.peerGoingAway
  }

  /** Whether streams are open, including upgraded streams. */
  get busy(): boolean {
    return this.#connection.size > 0
  }

  /** A new connection to the peer's address was refused or timed out: closes the link if it is silent too. */
  unreachable(): void {
    this.#watch?.unreachable()
  }

  /** The event-loop delay in the peer's last PONG, milliseconds. */
  get lag(): number {
    return this.#lag
  }

  /** Tells the peer how many slots this side could use: requests in flight and queued. Cheap to repeat. */
  demand(slots: number): void {
    this.#demand = slots
    if (slots > this.#peak) this.#peak = slots
    if (slots > this.#sentDemand) {
      this.#sendDemand(slots)
    } else if (slots < this.#sentDemand) {
      this.#demandTimer ??= this.#clock.after(DEMAND_DELAY, () => {
        this.#demandTimer = undefined
        const peak = this.#peak
        this.#peak = this.#demand
        if (peak < this.#sentDemand) this.#sendDemand(peak)
        this.demand(this.#demand)
      })
    }
  }

  /**
   * Calls the remote application. It neither waits for a slot nor checks `grant`: the peer refuses requests above the
   * grant. A response that arrives whole in one frame resolves with an array.
   *
   * @param user notified when the call's slot is free, if the call took a slot
   * @throws CallError if the call fails before `startResponse` is called; later the body throws instead
   * @throws the error of the request itself: its client has disconnected, its input failed, or a variable is no string
   */
  call(environ: Environ, startResponse: StartResponse, body: ReplayableBody, user?: SlotUser): Promise<Body> {
    if (this.#state !== 'ready') {
      return Promise.reject(new CallError('NOT_READY', `the link is ${this.#state}`, 'no', false))
    }
    const call = new FrameCall(this, environ, startResponse, body, user)
    this.#inFlight++
    try {
      const { variables, rawHeaders } = variablesForWire(environ)
      call.begin({ requestId: environ.gantry.requestId, variables, headers: rawHeaders })
    } catch (error) {
      this.#inFlight--
      return Promise.reject(error)
    }
    if (this.#connection.exhausted) this.close('the stream numbers are exhausted', Goaway.RETIRING)
    this.#congested = this.#connection.congested
    this.link.schedule()
    return call.promise
  }

  /** Sends PING. Resolves with the round-trip time, milliseconds; rejects if the link closes first. */
  ping(): Promise<number> {
    if (this.#connection.state !== 'open' || this.link.closed) {
      return Promise.reject(new CallError('NOT_READY', `the link is ${this.#state}`, 'no', false))
    }
    return this.#pings.make((token) => {
      this.#connection.ping(token)
      this.link.schedule()
    })
  }

  /** Accepts no more calls, finishes the calls in progress, then closes. */
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

  // ---- LinkOwner and CallOwner ----------------------------------------------------------------------------------

  bytesReceived(): void {
    this.#watch?.received()
  }

  bytesSent(bytes: number): void {
    this.#watch?.sent(bytes)
  }

  event(event: FrameEvent): void {
    switch (event.type) {
      case 'ready':
        this.#state = 'ready'
        this.#watch?.start()
        if (this.#demand > 0) this.#sendDemand(this.#demand)
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
          for (const stream of event.untaken) (stream.owner as FrameCall).notTaken(event.text)
        })
        break
      case 'request':
        break
      default:
        ;(event.stream.owner as FrameCall).event(event)
    }
  }

  resume(stream: FrameStream): void {
    ;(stream.owner as FrameCall | undefined)?.resume(stream)
  }

  fault(stream: FrameStream, error: unknown): void {
    this.#log.error({ peer: this.peer?.id, err: error }, 'handling a response failed; its request was aborted')
    ;(stream.owner as FrameCall | undefined)?.abort(error as Error)
  }

  undelivered(stream: FrameStream): void {
    ;(stream.owner as FrameCall | undefined)?.lost(linkLost())
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
    const reason = error ?? linkLost()
    for (const stream of this.#connection.abandon()) (stream.owner as FrameCall | undefined)?.lost(reason)
    this.#pings.fail(new CallError('LOST', reason.message, 'no', false))
    this.#onChange()
    this.#onClosed(error)
  }

  released(): void {
    this.#inFlight--
    // An aborted call can remove its REQUEST from the output queue, or add a RESET.
    this.#congested = this.#connection.congested
    this.#onChange()
    this.#endIfDone()
  }

  /** A call has become a raw connection: it has returned its slot, and still needs the link. */
  upgradeStarted(): void {
    this.#upgraded++
  }

  upgradeEnded(): void {
    this.#upgraded--
    this.#endIfDone()
  }

  // ---- internals ----------------------------------------------------------------------------------------------------

  #sendDemand(demand: number): void {
    if (this.#connection.state !== 'open') return
    this.#sentDemand = demand
    this.#connection.slots(demand)
    this.link.schedule()
  }

  /** Accepts no more calls. @param rejectCalls called when the state is `draining`, before the owner is notified */
  #drain(rejectCalls?: () => void): void {
    if (this.#state === 'closed') return
    this.#state = 'draining'
    rejectCalls?.()
    this.#onChange()
    this.#endIfDone()
  }

  #endIfDone(): void {
    if (this.#state === 'draining' && this.#connection.size === 0) this.link.end()
  }
}

const nothing = (): void => {}
