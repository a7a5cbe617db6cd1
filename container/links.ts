/**
 * The container's frame links. Each link serves one proxy, whichever side dialled, and all links share the slots. Logs
 * when a proxy is linked and when a link closes; `serve.ts` listens, dials and drains.
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
import type { Slots } from './slots.ts'
import type { LinkEvents } from './worker-link.ts'

interface LinksOptions {
  readonly application: Application
  readonly clock: Clock
  readonly log: Logger
  readonly facts: ProcessFacts
  readonly identity: Identity
  /** The secret of links over TCP. */
  readonly token: Token | undefined
  /** How much a peer may send ahead, and in one frame, bytes. */
  readonly frames: { readonly window: number; readonly data: number; readonly head: number }
  readonly liveness?: LivenessTimes | undefined
  readonly slots: Slots
  /** Makes the host for the exchanges of one link. */
  readonly host: (settled: () => void) => ExchangeHost
  /** Called when a link is closed and its applications have settled. */
  readonly onEnded: () => void
}

/** One connection to a proxy. */
interface LinkConnection {
  /** The proxy's address, for logs. */
  readonly address: string
  readonly unix: boolean
  /** Whether this side opened the connection. */
  readonly dialled: boolean
  readonly events?: LinkEvents
  /** Timeout of the proxy's handshake, milliseconds. */
  readonly handshakeTimeout?: number
  /** Bytes that were already read. */
  readonly first?: Buffer
}

export class Links {
  readonly #options: LinksOptions
  readonly #links: Set<ServerLink> = new Set()
  readonly #peers: PeerLinks = new PeerLinks()
  readonly #lag: () => number = eventLoopLag()
  /** Hosts whose links fail before they are ready: a proxy with another token dials several times a second. */
  readonly #failing: LoggedOnce = new LoggedOnce()
  readonly #unproven: UnauthenticatedSockets = new UnauthenticatedSockets()
  #draining = false

  constructor(options: LinksOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#links.size
  }

  /** The number of links that accept requests. */
  get ready(): number {
    let ready = 0
    for (const { state } of this.#links) if (state === 'ready') ready++
    return ready
  }

  /** The number of upgraded streams on all links. */
  get upgraded(): number {
    let upgraded = 0
    for (const link of this.#links) upgraded += link.upgraded
    return upgraded
  }

  /** Sends GOAWAY on every link, including links that become ready later. */
  drain(): void {
    this.#draining = true
    for (const link of [...this.#links]) link.drain()
  }

  /** Closes WebSockets with code 1001, with a grace period, and aborts every other request at once. */
  abort(error: AbortError): void {
    for (const link of [...this.#links]) if (!link.goAway(error)) link.destroy(error)
  }

  serve(socket: Socket, { address, unix, dialled, events, handshakeTimeout, first }: LinkConnection): ServerLink {
    const { application, clock, log, facts, identity, token, frames, slots, host, onEnded } = this.#options
    // A link with bytes already read begins to read in the next event-loop iteration: bytes that arrive until then must
    // wait.
    if (first) socket.pause()
    // A proxy whose host is lost closes nothing, and would keep its share of the slots.
    if (!unix) socket.setKeepAlive(true, 15_000)
    const ended = (): void => {
      this.#links.delete(link)
      onEnded()
    }
    const linkSlots = new LinkSlots(slots, ended)
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
        host: host(() => linkSlots.settled()),
        process: facts,
        // The permissions of a Unix socket authenticate its peers.
        token: unix ? undefined : token,
        identity,
        dialled,
        slots: linkSlots,
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
            if (isSilent(life) !== isSilent(before)) events?.onAnswering(!isSilent(life))
          },
        },
        lag: this.#lag,
        onReady: (one) => {
          ready = true
          this.#unproven.authenticated(socket)
          this.#failing.forget(peer)
          // The same names that the proxy's access lines have for this container.
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
          // A link that was ready counts until its applications have settled.
          if (!linkSlots.joined) ended()
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

/** `4f2a09`, or `4f2a09/1` with the worker's index if the proxy has several workers. */
function nameOf(peer: Identity | undefined): string | undefined {
  return peer && peer.workers > 1 ? `${peer.id}/${peer.worker}` : peer?.id
}

/** The slots of one link, among all that share them. */
class LinkSlots implements SlotSource {
  readonly #slots: Slots
  readonly #onEnded: () => void
  #holder: SlotHolder | undefined

  constructor(slots: Slots, onEnded: () => void) {
    this.#slots = slots
    this.#onEnded = onEnded
  }

  get joined(): boolean {
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
    this.#onEnded()
  }
}

const LAG_RESOLUTION = 20

/** The longest delay of the event loop since the last call, in milliseconds. */
function eventLoopLag(): () => number {
  const delays = monitorEventLoopDelay({ resolution: LAG_RESOLUTION })
  delays.enable()
  return () => {
    const milliseconds = delays.max / 1e6
    delays.reset()
    return Math.max(0, Math.round(milliseconds - LAG_RESOLUTION))
  }
}
