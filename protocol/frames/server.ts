/**
 * One link on which a remote proxy calls the application of this process: every REQUEST becomes an exchange.
 * Does not know how slots are shared among links (a `SlotSource` does), nor who listens or dials.
 */

import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Application, Environ } from '../contract/application.ts'
import type { ProcessFacts } from '../contract/environ.ts'
import { type AbortCode, AbortError, RemoteProtocolError } from '../contract/errors.ts'
import type { ExchangeHost } from '../contract/exchange.ts'
import { setHeader } from '../contract/request-headers.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock } from '../net/clock.ts'
import { Connection, type Event } from './codec/connection.ts'
import { BACKLOG_MAX, Goaway, NONCE, Reset, UPGRADED_MAX } from './codec/constants.ts'
import type { Identity } from './codec/hello.ts'
import { isSilent } from './codec/liveness.ts'
import type { FrameStream } from './codec/stream.ts'
import type { Token } from './codec/tokens.ts'
import { environFromWire } from './environ-wire.ts'
import { Link, type LinkOwner, lost } from './link.ts'
import { Pings } from './pings.ts'
import { type RequestOwner, ServedRequest } from './served-request.ts'
import { LinkWatch, type WatchedLink, type WatchOptions } from './watch.ts'

/** A link, as what shares slots sees it. */
export interface SlotHolder {
  /** Slots the peer could use: in flight and queued. It may claim anything up to 2³²−1. */
  readonly demand: number
  /** Slots taken now: applications that have not settled. Can be above the grant after that was lowered. */
  readonly running: number
  /** Sets how many slots this link may have taken at once. Above it requests are refused. */
  grant(slots: number): void
}

/** How a worker's slots are shared over its links. It calls `holder.grant`, also from within `join`. */
export interface SlotSource {
  /** A link is ready. */
  join(holder: SlotHolder): void
  /** A link is closed and its applications have settled: its slots are free. */
  leave(holder: SlotHolder): void
  /** `demand` changed, or `running` fell while it was at or above the grant. */
  changed(holder: SlotHolder): void
}

/** Grants every link the same, whatever the others have: for tests, and for a server with one link. */
export function fixedSlots(slots: number): SlotSource {
  return {
    join: (holder) => holder.grant(slots),
    leave: () => {},
    changed: () => {},
  }
}

export interface ServeOptions {
  clock: Clock
  log: Logger
  /** What the exchanges report to. */
  host: ExchangeHost
  process: ProcessFacts
  /**
   * Shared secrets. Both sides have one in common, or neither side has any. This side proves the first one, and accepts
   * each of them.
   */
  token?: Token | undefined
  identity: Identity
  /** Whether this side opened the connection (a container that joins a proxy), or accepted it (default). */
  dialled?: boolean | undefined
  slots: SlotSource
  /** Bytes of request body a peer may send ahead per stream. Default 128 KiB. */
  window?: number | undefined
  /** Longest DATA taken from the peer, bytes. Default 64 KiB. */
  data?: number | undefined
  /** Longest head taken from the peer, bytes. Default 256 KiB. */
  head?: number | undefined
  /** Milliseconds for HELLO and authentication. Default 5000. */
  handshakeTimeout?: number | undefined
  /** The times by which the link's life is watched; undefined: it is not watched. */
  watch?: WatchOptions | undefined
  /** Load for PONG: how late the event loop is, in milliseconds. */
  lag?: (() => number) | undefined
  /** The handshake is done. */
  onReady?: ((link: ServerLink) => void) | undefined
  /** Once, when the connection is closed. Its exchanges were aborted, and can still be settling. */
  onClosed?: ((error?: Error) => void) | undefined
}

export interface ServerLink {
  readonly state: 'connecting' | 'ready' | 'draining' | 'closed'
  /** Of a closed link: whether a side had sent GOAWAY, so that its end was expected. */
  readonly announced: boolean
  readonly peer: Identity | undefined
  /** Applications that have not settled, upgraded ones too. */
  readonly active: number
  /** Upgraded streams (WebSockets, say), which hold no slot. */
  readonly upgraded: number
  /** A new connection to the proxy's address was refused or timed out: closes the link if it is silent as well. */
  unreachable(): void
  /** GOAWAY: what was taken is finished, then the link closes. */
  drain(reason?: string): void
  /**
   * Closes the link's WebSockets with code 1001 and aborts every other request with `error`.
   *
   * @returns false, without doing anything, if the link has no WebSocket left to close
   */
  goAway(error: AbortError): boolean
  /** Closes now; its exchanges are aborted. */
  destroy(error?: Error): void
  inspect(): string
}

/** Serves `application` to the peer of `stream`, which it owns from here on. `first`: bytes already read from it. */
export function serveFrames(
  stream: Duplex,
  application: Application,
  options: ServeOptions,
  first?: Uint8Array,
): ServerLink {
  return new Server(stream, application, options, first)
}

type RequestEvent = Extract<Event, { type: 'request' }>

class Server implements ServerLink, SlotHolder, LinkOwner, RequestOwner, WatchedLink {
  readonly link: Link
  readonly host: ExchangeHost
  readonly #connection: Connection
  readonly #application: Application
  readonly #options: ServeOptions
  readonly #pings: Pings
  readonly #watch: LinkWatch | undefined
  #state: ServerLink['state'] = 'connecting'
  #announced = false
  /** With the slots: between `join` and `leave`. */
  #joined = false
  #granted = 0
  /** What the peer was told it has. */
  #told = 0
  #demand = 0
  #running = 0
  #active = 0
  readonly #upgraded: Set<ServedRequest> = new Set()

  constructor(stream: Duplex, application: Application, options: ServeOptions, first: Uint8Array | undefined) {
    this.#application = application
    this.#options = options
    this.host = options.host
    this.#pings = new Pings(options.clock)
    const { watch } = options
    this.#watch =
      watch &&
      new LinkWatch(this, options.clock, {
        ...watch,
        onLife: (life, before) => {
          if (isSilent(life) !== isSilent(before) && this.#joined) options.slots.changed(this)
          watch.onLife?.(life, before)
        },
      })
    this.#connection = new Connection({
      role: 'server',
      dialled: options.dialled ?? false,
      token: options.token,
      secret: options.token !== undefined,
      nonce: randomBytes(NONCE),
      identity: options.identity,
      window: options.window,
      data: options.data,
      head: options.head,
    })
    this.link = new Link(stream, this.#connection, this, options, first)
  }

  get state(): ServerLink['state'] {
    return this.#state
  }

  get announced(): boolean {
    return this.#announced
  }

  get peer(): Identity | undefined {
    return this.#state === 'connecting' ? undefined : this.#connection.peer
  }

  get active(): number {
    return this.#active
  }

  get leaving(): boolean {
    return this.#connection.leaving
  }

  get busy(): boolean {
    return this.#active > 0
  }

  unreachable(): void {
    this.#watch?.unreachable()
  }

  ping(): Promise<number> {
    if (this.#connection.state !== 'open' || this.link.closed) return Promise.reject(lost())
    return this.#pings.make((token) => {
      this.#connection.ping(token)
      this.link.schedule()
    })
  }

  close(reason: string): void {
    this.drain(reason)
  }

  drain(reason: string = 'the container stops'): void {
    if (this.#state === 'closed' || this.#state === 'draining') return
    this.#state = 'draining'
    if (this.#connection.state !== 'open') {
      this.link.destroy()
      return
    }
    this.#connection.goaway(Goaway.DRAINING, reason)
    this.link.schedule()
    this.#endIfDone()
  }

  get upgraded(): number {
    return this.#upgraded.size
  }

  goAway(error: AbortError): boolean {
    const closing = new Set([...this.#upgraded].filter((request) => request.goAway()))
    if (closing.size === 0) return false
    for (const stream of this.#connection.streams) {
      const request = served(stream)
      if (request && !closing.has(request)) request.giveUp(error)
    }
    return true
  }

  destroy(error?: Error): void {
    this.link.destroy(error)
  }

  inspect(): string {
    const who = this.peer?.id ? ` ${this.peer.id}` : ''
    const upgraded = this.#upgraded.size > 0 ? `, ${this.#upgraded.size} upgraded` : ''
    return `<ServerLink ${this.#state}${who} ${this.#running} of ${this.#granted}${upgraded}>`
  }

  // ---- of SlotHolder -----------------------------------------------------------------------------------------------

  /**
   * A proxy that is silent, or that has announced that it makes no more requests, needs no slots: other proxies get its
   * share.
   */
  get demand(): number {
    return this.#connection.leaving || this.#watch?.silent ? 0 : this.#demand
  }

  get running(): number {
    return this.#running
  }

  grant(slots: number): void {
    this.#granted = slots
    this.link.schedule()
  }

  // ---- of LinkOwner ------------------------------------------------------------------------------------------------

  heard(): void {
    this.#watch?.heard()
  }

  sent(bytes: number): void {
    this.#watch?.sent(bytes)
  }

  event(event: Event): void {
    switch (event.type) {
      case 'ready':
        this.#ready()
        break
      case 'request':
        this.#request(event)
        break
      case 'data':
        served(event.stream)?.receive(event.bytes, event.end)
        break
      case 'trailers':
        served(event.stream)?.trailers(event.fields)
        break
      case 'reset':
        served(event.stream)?.cancel(ABORT_OF[event.code] ?? 'CLIENT_GONE', `the caller gave up: ${event.text}`)
        break
      case 'violation':
        served(event.stream)?.cancel('PROTOCOL', `the caller broke the protocol: ${event.text}`)
        break
      case 'slots':
        this.#demand = event.count
        if (this.#joined) this.#options.slots.changed(this)
        break
      case 'ping':
        this.#connection.pong(event.token, this.#running, this.#options.lag?.() ?? 0)
        break
      case 'pong':
        this.#pings.answered(event.token)
        break
      case 'goaway':
        if (this.#state === 'ready') this.#state = 'draining'
        if (this.#joined) this.#options.slots.changed(this)
        this.#endIfDone()
    }
  }

  relieved(stream: FrameStream): void {
    served(stream)?.relieved()
  }

  fault(stream: FrameStream, error: unknown): void {
    this.#options.log.error({ peer: this.peer?.id, err: error }, 'handling a request failed; it was aborted')
    this.#connection.reset(stream, Reset.APPLICATION, 'the container failed')
    served(stream)?.cancel('APPLICATION', 'the request could not be handled')
    this.link.schedule()
  }

  missed(stream: FrameStream): void {
    served(stream)?.cancel('CLIENT_GONE', 'the link to the proxy was lost')
  }

  /** What the peer is told it has: less what ended for it and still runs, so that it does not ask for a refusal. */
  flushing(): void {
    if (this.#state === 'connecting') return
    const unseen = this.#active - this.#connection.size
    const grant = Math.max(0, this.#granted - Math.max(0, unseen))
    if (grant === this.#told) return
    this.#told = grant
    this.#connection.slots(grant)
  }

  closed(error: Error | undefined): void {
    this.#announced = this.#state === 'draining'
    this.#state = 'closed'
    this.#watch?.stop()
    this.#pings.fail(error ?? lost())
    // Who destroys a link says why by an AbortError; anything else is the peer's doing or the network's.
    const code = error instanceof AbortError ? error.code : 'CLIENT_GONE'
    const reason = error?.message ?? 'the link was closed'
    for (const stream of this.#connection.abandon()) {
      served(stream)?.cancel(code, `the link to the proxy was lost: ${reason}`)
    }
    // What still settles keeps its slots; nothing more is asked for.
    this.#demand = 0
    if (this.#joined) this.#options.slots.changed(this)
    this.#leaveIfDone()
    this.#options.onClosed?.(error)
  }

  // ---- of RequestOwner ---------------------------------------------------------------------------------------------

  released(): void {
    const full = this.#running >= this.#granted
    this.#running--
    if (full && this.#joined) this.#options.slots.changed(this)
    this.link.schedule()
  }

  done(): void {
    this.#active--
    this.#endIfDone()
    this.#leaveIfDone()
  }

  upgradedBegan(request: ServedRequest): void {
    this.#upgraded.add(request)
  }

  upgradedEnded(request: ServedRequest): void {
    this.#upgraded.delete(request)
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  #ready(): void {
    this.#state = 'ready'
    this.#joined = true
    this.#watch?.start()
    this.#options.slots.join(this)
    this.#options.onReady?.(this)
    this.link.schedule()
  }

  #request(event: RequestEvent): void {
    const { stream, fields } = event
    // Closed within the read that brought it: the caller gave up before it ran.
    if (stream.closed) return
    const refused = this.#refusal()
    if (refused !== undefined) {
      this.#connection.reset(stream, Reset.REFUSED, refused)
      return
    }
    let environ: Environ
    try {
      environ = environFromWire(fields.variables, fields.headers, this.#options.process)
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error
      this.#options.log.warn({ code: error.code, peer: this.peer?.id }, `a request was not taken: ${error.message}`)
      this.#connection.reset(stream, Reset.PROTOCOL, error.message)
      return
    }
    if (!stream.asksUpgrade && environ['HTTP_UPGRADE'] !== undefined) {
      // Its caller has no use for a 101 (a request with a body, say).
      setHeader(environ, 'Upgrade', undefined)
      setHeader(environ, 'Connection', undefined)
    }
    const { requestId } = fields
    const request = new ServedRequest(this, stream, this.#application, environ, requestId, event.body, event.end)
    this.#running++
    this.#active++
    request.run()
  }

  /** Why nothing more can run for this link now, if so. */
  #refusal(): string | undefined {
    if (this.#running >= this.#granted) return 'no slot is free'
    if (this.#upgraded.size >= UPGRADED_MAX) return 'too many upgraded connections'
    if (this.#connection.backlog > BACKLOG_MAX) return 'responses are not read'
    return undefined
  }

  #endIfDone(): void {
    if (this.#state === 'draining' && this.#connection.size === 0) this.link.end()
  }

  #leaveIfDone(): void {
    if (this.#state !== 'closed' || !this.#joined || this.#active > 0) return
    this.#joined = false
    this.#options.slots.leave(this)
  }
}

function served(stream: FrameStream): ServedRequest | undefined {
  return stream.owner as ServedRequest | undefined
}

const ABORT_OF: Readonly<Record<number, AbortCode>> = {
  [Reset.CANCELLED]: 'CLIENT_GONE',
  [Reset.DEADLINE]: 'DEADLINE',
  [Reset.DRAIN_TIMEOUT]: 'DRAIN_TIMEOUT',
  [Reset.UPSTREAM]: 'UPSTREAM',
  [Reset.PROTOCOL]: 'PROTOCOL',
}
