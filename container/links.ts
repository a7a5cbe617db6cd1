/**
 * The container's frame links: each serves one proxy, whoever dialled, from the slots that all share. It says who is linked and
 * who has gone; who listens, dials and drains is `serve.ts`.
 */

import type { Socket } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Application } from '../protocol/contract/application.ts'
import type { ProcessFacts } from '../protocol/contract/environ.ts'
import { AbortError } from '../protocol/contract/errors.ts'
import type { ExchangeHost } from '../protocol/contract/exchange.ts'
import { type Identity, isSameProcess } from '../protocol/frames/codec/hello.ts'
import { isSilent, type LivenessTimes, USUAL_TIMES } from '../protocol/frames/codec/liveness.ts'
import { Silence } from '../protocol/frames/codec/silence.ts'
import type { Token } from '../protocol/frames/codec/tokens.ts'
import { type ServerLink, type SlotHolder, type SlotSource, serveFrames } from '../protocol/frames/server.ts'
import { UnauthenticatedSockets } from '../protocol/frames/unauthenticated.ts'
import { PeerLinks } from '../protocol/frames/watch.ts'
import { LoggedOnce } from '../protocol/log/logged-once.ts'
import type { Logger } from '../protocol/log/logger.ts'
import type { Clock } from '../protocol/net/clock.ts'
import { whyUnreachable } from '../protocol/net/unreachable.ts'
import type { LinkEvents } from './join.ts'
import type { Slots } from './slots.ts'

export interface LinksOptions {
  readonly application: Application
  readonly clock: Clock
  readonly log: Logger
  readonly facts: ProcessFacts
  readonly identity: Identity
  /** The secret of links over TCP. */
  readonly token: Token | undefined
  /** What a peer may send ahead and at once, bytes. */
  readonly frames: { readonly window: number; readonly data: number; readonly head: number }
  readonly liveness?: LivenessTimes | undefined
  readonly slots: Slots
  /** A host for the exchanges of one link. */
  readonly host: (settled: () => void) => ExchangeHost
  /** A link is closed and its applications have settled. */
  readonly onLeft: () => void
}

/** One connection to a proxy. */
export interface LinkEnd {
  /** Where the proxy is, for logs. */
  readonly address: string
  readonly unix: boolean
  /** Whether this side opened the connection. */
  readonly dialled: boolean
  readonly events?: LinkEvents
  /** Timeout of the proxy's handshake, milliseconds. */
  readonly handshakeTimeout?: number
  /** Bytes that were read already. */
  readonly first?: Buffer
}

export class Links {
  readonly #options: LinksOptions
  readonly #links: Set<ServerLink> = new Set()
  readonly #peers: PeerLinks = new PeerLinks()
  readonly #lag: () => number = eventLoopLag()
  /** Hosts whose links do not come about: a proxy with another token dials several times a second. */
  readonly #failing: LoggedOnce = new LoggedOnce()
  readonly #unproven: UnauthenticatedSockets = new UnauthenticatedSockets()
  #draining = false

  constructor(options: LinksOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#links.size
  }

  /** Links on which requests can come. */
  get ready(): number {
    let ready = 0
    for (const { state } of this.#links) if (state === 'ready') ready++
    return ready
  }

  /** Upgraded streams on all links. */
  get upgraded(): number {
    let upgraded = 0
    for (const link of this.#links) upgraded += link.upgraded
    return upgraded
  }

  /** GOAWAY on every link, and on those that become ready from here on. */
  drain(): void {
    this.#draining = true
    for (const link of [...this.#links]) link.drain()
  }

  /** Closes WebSockets with code 1001, with a grace period, and aborts every other request at once. */
  abort(error: AbortError): void {
    for (const link of [...this.#links]) if (!link.goAway(error)) link.destroy(error)
  }

  serve(socket: Socket, { address, unix, dialled, events, handshakeTimeout, first }: LinkEnd): ServerLink {
    const { application, clock, log, facts, identity, token, frames, slots, host, onLeft } = this.#options
    // A link begins to listen in the next turn if it is given bytes: what comes until then is to wait for it.
    if (first) socket.pause()
    // A proxy whose host is gone says no good-bye, and would keep its share of the slots.
    if (!unix) socket.setKeepAlive(true, 15_000)
    const left = (): void => {
      this.#links.delete(link)
      onLeft()
    }
    const seat = new Seat(slots, left)
    const peer = socket.remoteAddress ?? address
    if (!dialled) this.#unproven.add(socket)
    let ready = false
    const silence = new Silence()
    const link: ServerLink = serveFrames(
      socket,
      application,
      {
        clock,
        log,
        host: host(() => seat.settled()),
        process: facts,
        // A Unix socket's permissions do as much.
        token: unix ? undefined : token,
        identity,
        dialled,
        slots: seat,
        ...frames,
        handshakeTimeout,
        watch: {
          times: this.#options.liveness ?? USUAL_TIMES,
          peers: this.#peers,
          onLife: (life, before) => {
            const fields = { proxy: nameOf(link.peer), address, requests: link.active }
            const news = silence.news(life)
            if (news === 'silent') log.warn(fields, 'a proxy does not answer')
            else if (news === 'answers') log.info(fields, 'a proxy answers again')
            if (isSilent(life) !== isSilent(before)) events?.onTrust(!isSilent(life))
          },
        },
        lag: this.#lag,
        onReady: (one) => {
          ready = true
          this.#unproven.authenticated(socket)
          this.#failing.forget(peer)
          // As this container is named in the proxy's access lines.
          const { id: container, instance } = identity
          log.info({ proxy: nameOf(one.peer), address, container, instance }, 'a proxy is linked')
          events?.onReady()
          if (this.#draining) one.drain()
        },
        onClosed: (error) => {
          const fields = { proxy: nameOf(link.peer), address, error: error?.message }
          // A lost link is a warning, as in the proxy: its requests were aborted. The proxy is not lost if it has
          // another link.
          const isLost =
            error !== undefined && !(error instanceof AbortError) && !link.announced && !this.#reaches(link)
          if (ready) log[isLost ? 'warn' : 'info'](fields, 'the link to a proxy is closed')
          else if (!dialled && error && this.#failing.isFirst(peer, error.message)) {
            log.warn({ address, ...whyUnreachable(error, 'handshake') }, 'a link was closed before it was ready')
          }
          events?.onClosed(error)
          // One that had joined leaves when its applications have settled.
          if (!seat.taken) left()
        },
      },
      first,
    )
    this.#links.add(link)
    return link
  }

  /** Whether another link reaches the same process. */
  #reaches({ peer }: ServerLink): boolean {
    return [...this.#links].some((other) => other.state === 'ready' && isSameProcess(other.peer, peer))
  }
}

/** `4f2a09`, and with the worker's index where there are several: `4f2a09/1`. */
function nameOf(peer: Identity | undefined): string | undefined {
  return peer && peer.workers > 1 ? `${peer.id}/${peer.worker}` : peer?.id
}

/** One link's place among those that share the slots. */
class Seat implements SlotSource {
  readonly #slots: Slots
  readonly #onLeft: () => void
  #holder: SlotHolder | undefined

  constructor(slots: Slots, onLeft: () => void) {
    this.#slots = slots
    this.#onLeft = onLeft
  }

  get taken(): boolean {
    return this.#holder !== undefined
  }

  join(holder: SlotHolder): void {
    this.#holder = holder
    this.#slots.join(holder)
  }

  changed(holder: SlotHolder): void {
    this.#slots.changed(holder)
  }

  settled(): void {
    if (this.#holder) this.#slots.settled(this.#holder)
  }

  leave(holder: SlotHolder): void {
    this.#holder = undefined
    this.#slots.leave(holder)
    this.#onLeft()
  }
}

const LAG_RESOLUTION = 20

/** How late the event loop was at the most since it was last asked, in milliseconds. */
function eventLoopLag(): () => number {
  const delays = monitorEventLoopDelay({ resolution: LAG_RESOLUTION })
  delays.enable()
  return () => {
    const milliseconds = delays.max / 1e6
    delays.reset()
    return Math.max(0, Math.round(milliseconds - LAG_RESOLUTION))
  }
}
