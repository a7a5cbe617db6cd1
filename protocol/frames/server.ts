/**
 * One link on which a remote proxy calls the application of this process: each REQUEST becomes an exchange. A
 * `SlotSource` shares the slots among links; the container listens and dials.
 */

import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Application, Environ } from '../contract/application.ts'
import { AbortError, RemoteProtocolError } from '../contract/errors.ts'
import type { ExchangeHost } from '../contract/exchange.ts'
import { setHeader } from '../contract/request-headers.ts'
import { FrameConnection, type FrameEvent } from './codec/connection.ts'
import { BACKLOG_MAX, Goaway, NONCE, Reset, UPGRADED_MAX } from './codec/constants.ts'
import type { Identity } from './codec/hello.ts'
import { isSilent } from './codec/liveness.ts'
import type { FrameStream } from './codec/stream.ts'
import { environFromWire } from './environ-wire.ts'
import { Link, type LinkOwner, linkLost } from './link.ts'
import { Pings } from './pings.ts'
import { type RequestOwner, ServedRequest } from './served-request.ts'
import type { ServeOptions, ServerLink } from './server-link.ts'
import type { SlotHolder } from './slot-source.ts'
import { LinkWatch, type WatchedLink } from './watch.ts'

export type { ServeOptions, ServerLink } from './server-link.ts'
export { fixedSlots, type SlotHolder, type SlotSource } from './slot-source.ts'

/**
 * Serves an application to the peer of a socket.
 *
 * @param socket connected or connecting; the link owns the socket from now on
 * @param first bytes that were already read from `socket`
 * @example
 * ```ts
 * import { createServer } from 'node:net'
 * import { statusPage } from 'gantry'
 * import { Deadlines, fixedSlots, serveFrames, silent, systemClock } from 'gantry/protocol'
 *
 * const clock = systemClock
 * const host = { clock, deadlines: new Deadlines(clock), log: silent, draining: false, settled() {} }
 * const process = { multithread: false, multiprocess: false, runOnce: false }
 * const identity = { id: 'example', worker: 0, workers: 1, slots: 8, limits: {} }
 * const options = { clock, log: silent, host, process, identity, slots: fixedSlots(8) }
 * const server = createServer((socket) => serveFrames(socket, statusPage(404), options))
 * server.listen('/tmp/example.sock')
 * ```
 */
export function serveFrames(
  socket: Duplex,
  application: Application,
  options: ServeOptions,
  first?: Uint8Array,
): ServerLink {
  return new FrameServer(socket, application, options, first)
}

type RequestEvent = Extract<FrameEvent, { type: 'request' }>

class FrameServer implements ServerLink, SlotHolder, LinkOwner, RequestOwner, WatchedLink {
  readonly link: Link
  readonly host: ExchangeHost
  readonly #connection: FrameConnection
  readonly #application: Application
  readonly #options: ServeOptions
  readonly #pings: Pings
  readonly #watch: LinkWatch | undefined
  #state: ServerLink['state'] = 'connecting'
  #announced = false
  /** Whether the slot source has this link: between `join` and `leave`. */
  #joined = false
  #granted = 0
  /** The slots in the last SLOTS frame. */
  #sentGrant = 0
  #demand = 0
  #running = 0
  #active = 0
  readonly #upgraded: Set<ServedRequest> = new Set()

  /** @param socket connected or connecting; the link owns the socket from now on */
  constructor(socket: Duplex, application: Application, options: ServeOptions, first: Uint8Array | undefined) {
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
    this.#connection = new FrameConnection({
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
    this.link = new Link(socket, this.#connection, this, options, first)
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

  get peerGoingAway(): boolean {
    return this.#connection.peerGoingAway
  }

  get busy(): boolean {
    return this.#active > 0
  }

  unreachable(): void {
    this.#watch?.unreachable()
  }

  ping(): Promise<number> {
    if (this.#connection.state !== 'open' || this.link.closed) return Promise.reject(linkLost())
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
    const closing = new Set([...this.#upgraded].filter((request) => request.closeWebSocket()))
    if (closing.size === 0) return false
    for (const stream of this.#connection.streams) {
      const request = served(stream)
      if (request && !closing.has(request)) request.abortBoth(error)
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

  // ---- SlotHolder -----------------------------------------------------------------------------------------------

  /**
   * 0 for a proxy that is silent or has sent GOAWAY: it needs no slots, and other proxies get its share.
   */
  get demand(): number {
    return this.#connection.peerGoingAway || this.#watch?.silent ? 0 : this.#demand
  }

  get running(): number {
    return this.#running
  }

  grant(slots: number): void {
    this.#granted = slots
    this.link.schedule()
  }

  // ---- LinkOwner ------------------------------------------------------------------------------------------------

  bytesReceived(): void {
    this.#watch?.received()
  }

  bytesSent(bytes: number): void {
    this.#watch?.sent(bytes)
  }

  event(event: FrameEvent): void {
    switch (event.type) {
      case 'ready':
        this.#ready()
        break
      case 'request':
        this.#request(event)
        break
      case 'data':
      case 'end':
      case 'abort':
      case 'violation':
        served(event.stream)?.event(event)
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

  resume(stream: FrameStream): void {
    served(stream)?.resume()
  }

  fault(stream: FrameStream, error: unknown): void {
    this.#options.log.error({ peer: this.peer?.id, err: error }, 'handling a request failed; the request was aborted')
    this.#connection.abort(stream, Reset.APPLICATION, 'the container failed')
    served(stream)?.abortExchange('APPLICATION', 'the request could not be handled')
    this.link.schedule()
  }

  undelivered(stream: FrameStream): void {
    served(stream)?.abortExchange('CLIENT_GONE', 'the link to the proxy was lost')
  }

  /**
   * Sends SLOTS. Applications that still run after their stream has closed are subtracted, so that the peer sends no
   * request that would be refused.
   */
  flushing(): void {
    if (this.#state === 'connecting') return
    const runningAfterClose = this.#active - this.#connection.size
    const grant = Math.max(0, this.#granted - Math.max(0, runningAfterClose))
    if (grant === this.#sentGrant) return
    this.#sentGrant = grant
    this.#connection.slots(grant)
  }

  closed(error: Error | undefined): void {
    this.#announced = this.#state === 'draining'
    this.#state = 'closed'
    this.#watch?.stop()
    this.#pings.fail(error ?? linkLost())
    // If this side destroys the link, the error is an AbortError. Any other error is from the peer or the network.
    const code = error instanceof AbortError ? error.code : 'CLIENT_GONE'
    const reason = error?.message ?? 'the link was closed'
    for (const stream of this.#connection.abandon()) {
      served(stream)?.abortExchange(code, `the link to the proxy was lost: ${reason}`)
    }
    // Applications that have not settled keep their slots; no further slots are needed.
    this.#demand = 0
    if (this.#joined) this.#options.slots.changed(this)
    this.#returnSlotsIfDone()
    this.#options.onClosed?.(error)
  }

  // ---- RequestOwner ---------------------------------------------------------------------------------------------

  released(): void {
    const full = this.#running >= this.#granted
    this.#running--
    if (full && this.#joined) this.#options.slots.changed(this)
    this.link.schedule()
  }

  done(): void {
    this.#active--
    this.#endIfDone()
    this.#returnSlotsIfDone()
  }

  upgradeStarted(request: ServedRequest): void {
    this.#upgraded.add(request)
  }

  upgradeEnded(request: ServedRequest): void {
    this.#upgraded.delete(request)
  }

  // ---- internals ----------------------------------------------------------------------------------------------------

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
    // The stream was closed in the same read: the caller aborted the request before it ran.
    if (stream.closed) return
    const refused = this.#refusal()
    if (refused !== undefined) {
      this.#connection.abort(stream, Reset.REFUSED, refused)
      return
    }
    let environ: Environ
    try {
      environ = environFromWire(fields.variables, fields.headers, this.#options.process)
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error
      this.#options.log.warn({ code: error.code, peer: this.peer?.id }, `request refused: ${error.message}`)
      this.#connection.abort(stream, Reset.PROTOCOL, error.message)
      return
    }
    if (!stream.asksUpgrade && environ['HTTP_UPGRADE'] !== undefined) {
      // The caller cannot use a 101 (for example because the request has a body).
      setHeader(environ, 'Upgrade', undefined)
      setHeader(environ, 'Connection', undefined)
    }
    const { requestId } = fields
    const request = new ServedRequest(this, stream, this.#application, environ, requestId, event.body, event.end)
    this.#running++
    this.#active++
    request.run()
  }

  /** Why no further request can run on this link now; undefined if one can. */
  #refusal(): string | undefined {
    if (this.#running >= this.#granted) return 'no slot is free'
    if (this.#upgraded.size >= UPGRADED_MAX) return 'too many upgraded connections'
    if (this.#connection.backlog > BACKLOG_MAX) return 'responses are not read'
    return undefined
  }

  #endIfDone(): void {
    if (this.#state === 'draining' && this.#connection.size === 0) this.link.end()
  }

  #returnSlotsIfDone(): void {
    if (this.#state !== 'closed' || !this.#joined || this.#active > 0) return
    this.#joined = false
    this.#options.slots.leave(this)
  }
}

function served(stream: FrameStream): ServedRequest | undefined {
  return stream.owner as ServedRequest | undefined
}
