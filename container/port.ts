/**
 * The container's port: accepts connections, detects which protocol each uses, and serves HTTP/1.1 and uwsgi within the
 * connection limit. `links.ts` serves the links of proxies, and `slots.ts` grants the slots.
 */

import type { Socket } from 'node:net'
import { accessLog, refusedLog } from '../middleware/access-log/access-log.ts'
import { requestIdFrom } from '../middleware/forwarded.ts'
import type { Drain } from '../process/drain.ts'
import { type ClientKey, ClientShares } from '../protocol/client/client-shares.ts'
import { UNIX_PEER } from '../protocol/client/peers.ts'
import type { Application, Environ } from '../protocol/contract/application.ts'
import { type Context, REQUEST_ID } from '../protocol/contract/context.ts'
import type { ConnectionFacts, ProcessFacts } from '../protocol/contract/environ.ts'
import type { AbortError } from '../protocol/contract/errors.ts'
import type { Exchange, ExchangeHost } from '../protocol/contract/exchange.ts'
import { serveHttp1 } from '../protocol/http1/gateway.ts'
import type { Http1Connection, Http1Options } from '../protocol/http1/options.ts'
import { OverLimitConnections } from '../protocol/http1/over-limit-connections.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { type Address, printAddress, type TcpAddress, type UnixAddress } from '../protocol/net/address.ts'
import type { Deadlines } from '../protocol/net/clock.ts'
import { ConnectionLimit } from '../protocol/net/connection-limit.ts'
import { fitsInReserve, mostConnections, refusalsThatFit } from '../protocol/net/descriptors.ts'
import { type Listener, listen } from '../protocol/net/listen.ts'
import { forwardedSettings, http1Settings } from '../protocol/options/common-options.ts'
import { serveUwsgi } from '../protocol/uwsgi/gateway.ts'
import type { UwsgiConnection, UwsgiOptions } from '../protocol/uwsgi/options.ts'
import type { ServedWire } from './accept-rules.ts'
import { Acceptor } from './acceptor.ts'
import { DirectSlots } from './direct-slots.ts'
import type { ContainerOptions } from './options.ts'
import type { Slots } from './slots.ts'

/**
 * How many connections above the limit may wait until their protocol is known: one of them may be a proxy's link, which
 * does not count.
 */
const UNDECIDED_EXTRA = 32

/** File descriptors for each client: the application may open a second one to serve it. */
const DESCRIPTORS_EACH = 2

/** What the container provides for its port. */
interface PortServices {
  readonly log: Logger
  /** Gets a line for each request; if undefined, no lines are written. */
  readonly accessLog: Logger | undefined
  readonly deadlines: Deadlines
  readonly facts: ProcessFacts
  readonly slots: Slots
  readonly drain: Drain
  /** Whether links over the network can be authenticated. */
  readonly hasToken: boolean
  /** Makes the host for the exchanges of the port. */
  readonly host: (settled: (exchange: Exchange) => void) => ExchangeHost
  /** Takes over a connection that speaks frames. */
  readonly serveLink: (socket: Socket, address: string, unix: boolean, first: Buffer) => void
  /** Called when a connection has ended or has become a link. */
  readonly onEnded: () => void
}

/** All listeners and client connections of one container. */
export class Port {
  readonly #options: ContainerOptions
  readonly #services: PortServices
  readonly #application: Application
  readonly #directSlots: DirectSlots
  readonly #http: Http1Options
  readonly #uwsgi: UwsgiOptions
  /** For requests that the application sends to itself. */
  readonly #selfHttp: Http1Options
  readonly #acceptor: Acceptor
  readonly #listeners: Listener[] = []
  readonly #connections: Set<Http1Connection | UwsgiConnection> = new Set()
  readonly #limit: ConnectionLimit
  readonly #shares: ClientShares
  /** How many connections above the limit may wait until their protocol is known. */
  readonly #undecided: number
  readonly #refusals: OverLimitConnections
  #wasReached = false

  constructor(application: Application, options: ContainerOptions, services: PortServices) {
    const { log, accessLog: lines, deadlines, facts, slots, host, hasToken, onEnded } = services
    const { clock } = deadlines
    this.#options = options
    this.#services = services
    this.#shares = new ClientShares(options.trustedPeers)
    this.#directSlots = new DirectSlots({
      slots,
      shares: this.#shares,
      deadlines,
      rules: options,
      queueSize: options.queueSize,
      queueTimeout: options.queueTimeout,
    })
    const served = this.#directSlots.gate(this.#releasingUpgrades(application))
    this.#application = lines ? accessLog({ log: lines })(served) : served
    const most = mostConnections(options.maxConnections, DESCRIPTORS_EACH, log)
    this.#limit = new ConnectionLimit(most, { clock, log, what: '--max-connections' })
    this.#undecided = Math.min(fitsInReserve(UNDECIDED_EXTRA), most)
    const onRefused = refusedLog(lines)
    this.#refusals = new OverLimitConnections(clock, refusalsThatFit(most, DESCRIPTORS_EACH), onRefused)
    const direct = {
      ...http1Settings(options),
      facts,
      host: host(({ context }) => this.#directSlots.release(context)),
      onRefused,
      onClose: (connection: Http1Connection | UwsgiConnection) => {
        if (this.#connections.delete(connection)) this.#limit.exited(connection)
        this.#limit.left(this.#connections)
        onEnded()
      },
    }
    this.#http = {
      ...direct,
      forwarded: forwardedSettings(options),
      requestId: requestIdFrom(options.trustedPeers),
    }
    this.#selfHttp = { ...this.#http, forwarded: 'keep', host: host(() => {}) }
    this.#uwsgi = { ...direct, requestId: requestIdOf }
    this.#acceptor = new Acceptor({
      rules: { accept: options.accept, trustedPeers: options.trustedPeers, token: hasToken },
      deadlines,
      log,
      serve: (wire, socket, peer, first) => this.#serve(wire, socket, peer, first),
      onEnded,
    })
  }

  /** The addresses on which the port listens, with the port numbers that the system chose. */
  get addresses(): readonly Address[] {
    return this.#listeners.map(({ address }) => address)
  }

  /** The number of connections of clients and web servers. */
  get size(): number {
    return this.#connections.size
  }

  /** The number of WebSockets and other upgraded connections. */
  get upgraded(): number {
    return [...this.#connections].filter((connection) => 'upgraded' in connection && connection.upgraded).length
  }

  /** Whether a client or a web server has connected. */
  get wasReached(): boolean {
    return this.#wasReached || this.#acceptor.waiting > 0
  }

  get isEmpty(): boolean {
    return this.#connections.size === 0 && this.#acceptor.waiting === 0
  }

  /** @throws ListenError if the address is taken or not allowed */
  async listen(address: UnixAddress | TcpAddress): Promise<void> {
    const { socketMode, tcpKeepAlive } = this.#options
    const { log } = this.#services
    const unix = address.kind === 'unix'
    const listener = await listen(address, { log, mode: socketMode, keepAlive: tcpKeepAlive }, (socket) => {
      // Links do not count: above the limit a connection is refused only when its protocol is known.
      if (this.#limit.admit(this.#undecided, this.#acceptor.pending, this.#connections))
        this.#acceptor.receive(socket, unix)
      else this.#refusals.refuse(socket, (first) => this.#acceptor.receive(socket, unix, first))
    })
    this.#listeners.push(listener)
    log.info({ address: printAddress(listener.address) }, 'listening')
  }

  /** Closes the listeners. */
  async close(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.close()))
  }

  /**
   * Call after the listeners are closed: each connection ends with its response, and an idle one after `grace`
   * milliseconds.
   */
  drain(grace: number): void {
    for (const connection of [...this.#connections]) connection.drain(grace)
    this.#acceptor.drain(grace)
  }

  /** Aborts all requests. Closes WebSockets with code 1001; they have until the next call to finish. */
  abort(error: AbortError): void {
    this.#acceptor.abort()
    this.#refusals.abort()
    for (const connection of [...this.#connections]) if (!connection.goAway()) connection.abort(error)
  }

  /**
   * Serves a connection of the application to itself: with `application`, without a slot, and with the forwarded fields
   * of the request unchanged.
   */
  serveSelf(socket: Socket, application: Application, facts: Partial<ConnectionFacts>): void {
    this.#keep(serveHttp1(socket, application, this.#selfHttp, undefined, facts))
  }

  #serve(wire: ServedWire, socket: Socket, peer: string, first: Buffer): void {
    const unix = peer === UNIX_PEER
    if (wire === 'frames') {
      const address = unix ? UNIX_PEER : printAddress({ kind: 'tcp', host: peer, port: socket.remotePort ?? 0 })
      this.#services.serveLink(socket, address, unix, first)
      return
    }
    const share = this.#shares.of(peer, socket)
    if (!this.#limit.admitFrom(share, 0, this.#connections)) {
      this.#refusals.refuse(socket)
      return
    }
    this.#wasReached = true
    if (wire === 'uwsgi') this.#keep(serveUwsgi(socket, this.#application, this.#uwsgi, first), share)
    else {
      const facts = unix ? { remoteAddress: UNIX_PEER, remotePort: '' } : undefined
      this.#keep(serveHttp1(socket, this.#application, this.#http, first, facts), share)
    }
  }

  #keep(connection: Http1Connection | UwsgiConnection, share?: ClientKey): void {
    connection.share = share
    this.#connections.add(connection)
    this.#limit.entered(connection)
    const { facts, grace } = this.#services.drain
    if (facts.draining) connection.drain(grace)
  }

  /**
   * Frees the slot of a request when it is upgraded: it is a raw connection from then on. (For links the gateway does
   * this.)
   */
  #releasingUpgrades(application: Application): Application {
    return (environ, startResponse) => {
      if (environ['HTTP_UPGRADE'] === undefined) return application(environ, startResponse)
      return application(environ, (status, headers, excInfo) => {
        const write = startResponse(status, headers, excInfo)
        if (status.startsWith('101')) this.#directSlots.release(environ.gantry as Context)
        return write
      })
    }
  }
}

/** The `X-Request-Id` of a web server. Only trusted web servers may speak uwsgi. */
function requestIdOf(environ: Environ): string | undefined {
  const id = environ['HTTP_X_REQUEST_ID']
  return typeof id === 'string' && REQUEST_ID.test(id) ? id : undefined
}
