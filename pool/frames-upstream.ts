/**
 * A link to a container as an upstream of the pool. A silent link accepts no new request.
 * `protocol/frames/codec/liveness.ts` decides when a link is dead; the dialer decides what happens then.
 */

import type { Duplex } from 'node:stream'
import type { Environ, StartResponse } from '../protocol/contract/application.ts'
import { Caller, type ReplayableBody, type SlotUser } from '../protocol/frames/caller.ts'
import type { Identity } from '../protocol/frames/codec/hello.ts'
import { isAnswering, isSilent, type Life, type LivenessTimes, USUAL_TIMES } from '../protocol/frames/codec/liveness.ts'
import { Silence } from '../protocol/frames/codec/silence.ts'
import type { Token } from '../protocol/frames/codec/tokens.ts'
import type { PeerLinks } from '../protocol/frames/watch.ts'
import type { Logger } from '../protocol/log/logger.ts'
import type { Clock } from '../protocol/net/clock.ts'
import type { Attempt, Upstream, UpstreamState } from './upstream.ts'

/** What all links of one proxy share. */
export interface LinkOptions {
  readonly clock: Clock
  readonly log: Logger
  /** Both sides prove that they have it on links over TCP. A Unix socket is protected by its permissions. */
  readonly token?: Token | undefined
  readonly identity?: Identity | undefined
  /** Bytes of response body per stream that a container may send ahead. */
  readonly window?: number | undefined
  /** Longest DATA and longest head accepted from a container, bytes. */
  readonly data?: number | undefined
  readonly head?: number | undefined
  readonly liveness?: LivenessTimes | undefined
  /** All links of this proxy, by container. */
  readonly peers?: PeerLinks | undefined
}

export interface LinkEnds {
  /** The address of the peer, for logs. */
  readonly address: string
  /** Whether the peer must prove that it has the secret. */
  readonly authenticated: boolean
  /** Whether this side opened the connection. */
  readonly dialled: boolean
  /** Called when the container drains, or the link closes: it gets no new request. */
  readonly onLeaving?: (() => void) | undefined
  readonly onReady?: (() => void) | undefined
  /** Called when the link becomes silent, or answers again. */
  readonly onAnsweringChange?: ((isAnswering: boolean) => void) | undefined
  /** Timeout of the container's handshake, milliseconds. */
  readonly handshakeTimeout?: number | undefined
  /** Called once. */
  readonly onClosed: (error?: Error) => void
}

export class FramesUpstream implements Upstream {
  onChange: () => void = () => {}
  readonly #address: string
  readonly #caller: Caller
  readonly #log: Logger
  readonly #ends: LinkEnds
  readonly #silence: Silence = new Silence()
  /** The link was silent for too long and is being closed; this was logged. */
  #died = false
  #lastState: UpstreamState = 'connecting'

  constructor(stream: Duplex, options: LinkOptions, ends: LinkEnds) {
    this.#address = ends.address
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
      handshakeTimeout: ends.handshakeTimeout,
      watch: {
        times: options.liveness ?? USUAL_TIMES,
        peers: options.peers,
        onLife: (life, before) => this.#lived(life, before),
      },
      onChange: () => this.#changed(),
      onClosed: (error) => this.#closed(error),
    })
  }

  /** `unix:/run/app.sock`; after the handshake also the peer's id and worker: `10.0.0.2:8000 (4f2a/0)`. */
  get name(): string {
    const peer = this.#caller.peer
    return peer ? `${this.#address} (${peer.id}/${peer.worker})` : this.#address
  }

  get address(): string {
    return this.#address
  }

  get state(): UpstreamState {
    return this.#caller.state
  }

  get grant(): number {
    return this.#caller.isAnswering ? this.#caller.grant : 0
  }

  get inFlight(): number {
    return this.#caller.inFlight
  }

  get peer(): Identity | undefined {
    return this.#caller.peer
  }

  get closing(): string | undefined {
    return this.#caller.closing
  }

  get failure(): Error | undefined {
    return this.#died ? undefined : this.#caller.failure
  }

  demand(slots: number): void {
    this.#caller.demand(slots)
  }

  call(environ: Environ, startResponse: StartResponse, body: ReplayableBody, user: SlotUser): Attempt {
    const response = this.#caller.call(environ, startResponse, body, user)
    // The caller reports when a slot is freed, but not when it is taken.
    this.onChange()
    return { response, abort: (reason) => body.abort(reason) }
  }

  close(reason: string): void {
    this.#caller.close(reason)
  }

  destroy(reason: string): void {
    this.#caller.destroy(new Error(reason))
  }

  /** Whether the container has answered recently. */
  get isAnswering(): boolean {
    return this.#caller.isAnswering
  }

  /** A new connection to the same address was refused or timed out: closes the link if it is silent too. */
  unreachable(): void {
    this.#caller.unreachable()
  }

  inspect(): string {
    return this.#caller.inspect()
  }

  #changed(): void {
    const { state } = this.#caller
    if (state !== this.#lastState) {
      this.#lastState = state
      if (state === 'ready') this.#ends.onReady?.()
      else if (state === 'draining') this.#ends.onLeaving?.()
    }
    this.onChange()
  }

  #closed(error?: Error): void {
    this.#lastState = 'closed'
    this.onChange()
    this.#ends.onClosed(error)
  }

  #lived(life: Life, before: Life): void {
    const answering = isAnswering(life)
    const member = this.name
    switch (this.#silence.news(life)) {
      case 'silent':
        this.#log.warn(
          { member, inFlight: this.inFlight },
          'container does not answer: it gets no new requests until it does',
        )
        break
      case 'answers':
        this.#log.info({ member }, 'container answers again')
        break
      case 'dead':
        this.#died = true
        this.#log.warn(
          { member, inFlight: this.inFlight },
          'container is lost: it does not answer on this link, and a second connection was refused, timed out, or showed that this link is broken',
        )
    }
    if (answering !== isAnswering(before)) this.onChange()
    if (isSilent(life) !== isSilent(before)) this.#ends.onAnsweringChange?.(!isSilent(life))
  }
}
