/**
 * A link to a container as an upstream of the pool. It watches that the container still answers while requests wait for it;
 * who dialled, and what happens when the link is gone, is not its matter.
 */

import type { Duplex } from 'node:stream'
import type { Environ, StartResponse } from '../../protocol/application.ts'
import type { Clock, Timer } from '../../protocol/clock.ts'
import { Caller, type ReplayableBody } from '../../protocol/frames/caller.ts'
import type { Identity } from '../../protocol/frames/hello.ts'
import type { Logger } from '../../protocol/log.ts'
import type { Attempt, Upstream, UpstreamState } from '../upstream.ts'

/** What all links of one proxy share. */
export interface LinkOptions {
  readonly clock: Clock
  readonly log: Logger
  /** Proved to each other on links over TCP; a Unix socket's permissions do as much. */
  readonly token?: string | undefined
  readonly identity?: Identity | undefined
  /** Bytes of response body per stream that a container may send ahead. */
  readonly window?: number | undefined
  /** Longest DATA, and longest head, taken from a container, bytes. */
  readonly data?: number | undefined
  readonly head?: number | undefined
}

export interface LinkEnds {
  /** Where it leads, for logs. */
  readonly address: string
  /** Whether the secret is asked for. */
  readonly authenticated: boolean
  /** Whether this side opened the connection. */
  readonly dialled: boolean
  /** The container has said that it drains, or the link that it closes: nothing new will go there. */
  readonly onLeaving?: (() => void) | undefined
  readonly onReady?: (() => void) | undefined
  /** Once. */
  readonly onClosed: (error?: Error) => void
}

/** Between two PINGs of a link, milliseconds. */
export const PING_INTERVAL = 5_000
/**
 * A container that has not answered a PING for so long gets nothing new until it does: its loop is blocked, or its host is gone, and
 * what is sent there could not be taken back. Shorter than most requests' patience, longer than a large collection.
 */
export const SUSPECT_AFTER = 2_000
/** A link that has answered nothing for so long while requests wait for it is closed: they can then go elsewhere. */
export const DEAD_AFTER = 15_000

export class FramesUpstream implements Upstream {
  onChange: () => void = () => {}
  readonly #address: string
  readonly #caller: Caller
  readonly #clock: Clock
  readonly #log: Logger
  readonly #ends: LinkEnds
  #timer: Timer | undefined
  /** When the PING that is out was sent; undefined: none is. */
  #pinged: number | undefined
  #suspect = false
  #lastState: UpstreamState = 'connecting'

  constructor(stream: Duplex, options: LinkOptions, ends: LinkEnds) {
    this.#address = ends.address
    this.#clock = options.clock
    this.#log = options.log
    this.#ends = ends
    this.#caller = new Caller(stream, {
      clock: options.clock,
      log: options.log,
      token: ends.authenticated ? options.token : undefined,
      identity: options.identity,
      window: options.window,
      data: options.data,
      head: options.head,
      dialled: ends.dialled,
      onChange: () => this.#changed(),
      onClosed: (error) => this.#closed(error),
    })
  }

  /** `unix:/run/app.sock`, and once it is known, who answers there: `10.0.0.2:8000 (4f2a/0)`. */
  get name(): string {
    const peer = this.#caller.peer
    return peer ? `${this.#address} (${peer.id}/${peer.worker})` : this.#address
  }

  get state(): UpstreamState {
    return this.#caller.state
  }

  get grant(): number {
    return this.#suspect ? 0 : this.#caller.grant
  }

  get inFlight(): number {
    return this.#caller.inFlight
  }

  get peer(): Identity | undefined {
    return this.#caller.peer
  }

  demand(slots: number): void {
    this.#caller.demand(slots)
  }

  call(environ: Environ, startResponse: StartResponse, body: ReplayableBody): Attempt {
    const response = this.#caller.call(environ, startResponse, body)
    // The caller tells when a slot is freed, not when it is taken.
    this.onChange()
    return { response, abort: (reason) => body.abort(reason) }
  }

  close(reason: string): void {
    this.#caller.close(reason)
  }

  destroy(reason: string): void {
    this.#caller.destroy(new Error(reason))
  }

  inspect(): string {
    return this.#caller.inspect()
  }

  #changed(): void {
    const { state } = this.#caller
    if (state !== this.#lastState) {
      this.#lastState = state
      if (state === 'ready') {
        this.#timer = this.#clock.after(PING_INTERVAL, this.#ping)
        this.#ends.onReady?.()
      } else if (state === 'draining') this.#ends.onLeaving?.()
    }
    this.onChange()
  }

  #closed(error?: Error): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#lastState = 'closed'
    this.onChange()
    this.#ends.onClosed(error)
  }

  readonly #ping = (): void => {
    this.#pinged = this.#clock.now()
    this.#caller.ping().then(
      () => this.#answered(),
      // The link is closed, which is told elsewhere.
      () => {},
    )
    this.#timer = this.#clock.after(SUSPECT_AFTER, this.#look)
  }

  /** A PING is out. */
  readonly #look = (): void => {
    if (this.#pinged === undefined) {
      this.#timer = this.#clock.after(PING_INTERVAL, this.#ping)
      return
    }
    const silent = this.#clock.now() - this.#pinged
    if (!this.#suspect) {
      this.#suspect = true
      this.#log.warn({ member: this.name, milliseconds: Math.round(silent) }, 'container does not answer')
      this.onChange()
      // Not closed at the first look: it may be this process that stood still, with the answer waiting to be read.
    } else if (silent >= DEAD_AFTER && this.inFlight > 0) {
      this.#caller.destroy(new Error(`it has not answered for ${Math.round(silent / 1000)} s`))
      return
    }
    this.#timer = this.#clock.after(1_000, this.#look)
  }

  #answered(): void {
    this.#pinged = undefined
    if (!this.#suspect) return
    this.#suspect = false
    this.#log.info({ member: this.name }, 'container answers again')
    this.onChange()
  }
}
