/**
 * The proxy's connections to its clients: accepts them within the limits, serves HTTP on each, and drains them. What
 * their requests reach is the application that it is given.
 */

import type { Socket } from 'node:net'
import { refusedLog } from '../middleware/access-log/access-log.ts'
import { requestIdFrom } from '../middleware/forwarded.ts'
import type { Drain } from '../process/drain.ts'
import { ClientShares } from '../protocol/client/client-shares.ts'
import { UNIX_PEER } from '../protocol/client/peers.ts'
import type { Application } from '../protocol/contract/application.ts'
import { AbortError } from '../protocol/contract/errors.ts'
import type { ExchangeHost } from '../protocol/contract/exchange.ts'
import { serveHttp1 } from '../protocol/http1/gateway.ts'
import type { Http1Connection, Http1Options } from '../protocol/http1/options.ts'
import { OverLimitConnections } from '../protocol/http1/over-limit-connections.ts'
import type { Logger } from '../protocol/log/logger.ts'
import type { TcpAddress, UnixAddress } from '../protocol/net/address.ts'
import { type Clock, Deadlines, type Timer } from '../protocol/net/clock.ts'
import { ConnectionLimit } from '../protocol/net/connection-limit.ts'
import { mostConnections, refusalsThatFit } from '../protocol/net/descriptors.ts'
import { forwardedSettings, http1Settings } from '../protocol/options/common-options.ts'
import { GOING_AWAY_GRACE } from '../protocol/websocket/going-away.ts'
import type { ProxyOptions } from './options.ts'

/**
 * How often a draining proxy checks whether a request can still arrive, ms. The application receives its signal up to
 * this much later.
 */
const LAST_REQUEST_CHECK = 50

/**
 * Whether serving a client may take a second file descriptor: a connection to an HTTP server, or a file that middleware
 * opens.
 */
function opensMore({ upstream, middleware }: ProxyOptions): boolean {
  return middleware.length > 0 || upstream.some(({ kind }) => kind === 'http')
}

interface ClientConnectionsEnvironment {
  readonly log: Logger
  readonly clock: Clock
  readonly drain: Drain
  /** Takes a line for each refused request. */
  readonly accessLines: Logger | undefined
}

/** All connections of clients, and what they share: limits, settings, and the drain. */
export class ClientConnections implements ExchangeHost {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger
  readonly #drain: Drain
  readonly #application: Application
  readonly #http: Http1Options
  readonly #connections: Set<Http1Connection> = new Set()
  readonly #limit: ConnectionLimit
  readonly #shares: ClientShares
  readonly #refusals: OverLimitConnections
  #listening = true

  constructor(
    application: Application,
    options: ProxyOptions,
    { log, clock, drain, accessLines }: ClientConnectionsEnvironment,
  ) {
    this.#drain = drain
    this.clock = clock
    this.deadlines = new Deadlines(clock)
    this.log = log
    this.#application = application
    const each = opensMore(options) ? 2 : 1
    const most = mostConnections(options.maxConnections, each, log)
    this.#limit = new ConnectionLimit(most, { clock, log, what: '--max-connections' })
    this.#shares = new ClientShares(options.trustedPeers)
    const onRefused = refusedLog(accessLines)
    this.#refusals = new OverLimitConnections(clock, refusalsThatFit(most, each), onRefused)
    this.#http = {
      ...http1Settings(options),
      host: this,
      facts: { multithread: true, multiprocess: true, runOnce: false },
      forwarded: forwardedSettings(options),
      requestId: requestIdFrom(options.trustedPeers),
      onRefused,
      onClose: (connection) => {
        if (this.#connections.delete(connection)) this.#limit.exited(connection)
        this.#limit.left(this.#connections)
        this.#left()
      },
    }
  }

  get draining(): boolean {
    return this.#drain.facts.draining
  }

  get leaving(): boolean {
    return this.#drain.facts.lastResponses
  }

  get size(): number {
    return this.#connections.size
  }

  /** Of ExchangeHost. Nothing to do: containers count the slots, and clients are limited by their connections. */
  settled(): void {}

  accept(socket: Socket, address: UnixAddress | TcpAddress): void {
    const share = this.#shares.of(address.kind === 'unix' ? UNIX_PEER : (socket.remoteAddress ?? ''), socket)
    if (!this.#limit.admitFrom(share, 0, this.#connections)) {
      this.#refusals.refuse(socket)
      return
    }
    const peer = address.kind === 'unix' ? { remoteAddress: UNIX_PEER, remotePort: '' } : undefined
    const connection = serveHttp1(socket, this.#application, this.#http, undefined, peer)
    // If the client has disconnected already, `onClose` has been called.
    if (!socket.destroyed) {
      connection.share = share
      this.#connections.add(connection)
      this.#limit.entered(connection)
    }
    if (this.draining) connection.drain(this.#drain.grace)
  }

  /**
   * Drains all connections. Call this after the listeners are closed.
   *
   * @param onNoMoreRequests called when no request can arrive any more
   * @returns resolves when every connection has ended, by itself or by an abort
   */
  async drain(onNoMoreRequests: () => void = () => {}): Promise<void> {
    this.#listening = false
    for (const connection of [...this.#connections]) connection.drain(this.#drain.grace)
    let looking: Timer | undefined
    const look = (): void => {
      if ([...this.#connections].every((connection) => connection.last)) onNoMoreRequests()
      else looking = this.clock.after(LAST_REQUEST_CHECK, look)
    }
    this.#left()
    if (this.#connections.size > 0) look()
    await this.#drain.reached('aborting')
    if (this.#drain.state === 'aborting') {
      const upgraded = [...this.#connections].filter((connection) => connection.upgraded).length
      this.log.warn(
        { connections: this.#connections.size, upgraded },
        'the drain timeout has passed: running requests are aborted',
      )
      this.abort('the proxy had to stop')
      // The second call aborts the WebSockets that the first one only began to close.
      const again = this.clock.after(GOING_AWAY_GRACE, () => this.abort('the proxy had to stop'))
      await this.#drain.reached('closed')
      again.cancel()
    }
    looking?.cancel()
  }

  #left(): void {
    if (!this.#listening && this.#connections.size === 0) this.#drain.on('empty')
  }

  /** Aborts all requests; closes WebSockets with code 1001, which have until the next call to finish. */
  abort(reason: string): void {
    for (const connection of [...this.#connections]) {
      if (!connection.goAway()) connection.abort(new AbortError('DRAIN_TIMEOUT', reason))
    }
    this.#refusals.abort()
  }
}
