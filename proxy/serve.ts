/**
 * The proxy as one thing that starts and drains: listeners, the HTTP gateway, middleware and the pool, put together. Each of
 * them does its own work; here is only who is given to whom, and in which order they stop.
 */

import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { accessLog, refusedLog } from '../middleware/access-log/access-log.ts'
import { compose } from '../middleware/compose.ts'
import { announceClient, requestIdFrom } from '../middleware/forwarded.ts'
import { Pool } from '../pool/pool.ts'
import { warnOfOtherVersions } from '../process/copies.ts'
import { Drain, type DrainOptions } from '../process/drain.ts'
import { type HealthLane, type Readiness, serveHealth } from '../process/health-lane.ts'
import { lastEvents } from '../process/last-events.ts'
import { loadMiddleware } from '../process/modules/load-middleware.ts'
import { ClientShares } from '../protocol/client/client-shares.ts'
import { UNIX_PEER } from '../protocol/client/peers.ts'
import type { Application, Middleware } from '../protocol/contract/application.ts'
import { AbortError } from '../protocol/contract/errors.ts'
import type { ExchangeHost } from '../protocol/contract/exchange.ts'
import type { Token } from '../protocol/frames/codec/tokens.ts'
import { PeerLinks } from '../protocol/frames/watch.ts'
import { serveHttp1 } from '../protocol/http1/gateway.ts'
import type { Http1Connection, Http1Options } from '../protocol/http1/options.ts'
import { Refusals } from '../protocol/http1/refusals.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { type Address, printAddress, type TcpAddress, type UnixAddress } from '../protocol/net/address.ts'
import { type Clock, Deadlines, systemClock, type Timer } from '../protocol/net/clock.ts'
import { ConnectionLimit } from '../protocol/net/connection-limit.ts'
import { mostConnections, refusalsThatFit } from '../protocol/net/descriptors.ts'
import { type Resolve, systemResolve } from '../protocol/net/dial.ts'
import { type Listener, listen } from '../protocol/net/listen.ts'
import {
  createTokenFile,
  forwardedSettings,
  frameSettings,
  http1Settings,
  livenessSettings,
} from '../protocol/options/common-options.ts'
import { OptionError } from '../protocol/options/options.ts'
import { readToken } from '../protocol/options/token-file.ts'
import { GOING_AWAY_GRACE } from '../protocol/websocket/going-away.ts'
import { Dialer } from './discovery/dialer.ts'
import { listenForJoiners } from './discovery/joiners.ts'
import { UpstreamSet, type UpstreamSetOptions } from './discovery/upstream-set.ts'
import type { ProxyOptions } from './options.ts'
import { needsSecret } from './secrets.ts'

export interface ProxyEnvironment {
  readonly log: Logger
  /** Takes a line for each request; undefined: they are not wanted. */
  readonly accessLog?: Logger | undefined
  readonly clock?: Clock | undefined
  /** In [0, 1). */
  readonly random?: (() => number) | undefined
  readonly resolve?: Resolve | undefined
  /** Stands before the pool, and behind what every request passes: forwarded fields and the access log. */
  readonly middleware?: Middleware | undefined
}

/** A container that was added by its address. */
export interface AddedContainer {
  /** Sends it nothing new, at once; what runs there is finished. */
  stop(reason: string): void
}

export interface RunningProxy {
  /** Where clients connect, with the ports that the system chose. */
  readonly addresses: readonly Address[]
  /** Where containers join. */
  readonly joinAddresses: readonly Address[]
  readonly pool: Pool
  /**
   * Keeps a link to a container, for who knows where it is without looking.
   *
   * @param onReady it can be sent requests: from now on, or again
   */
  add(address: UnixAddress | TcpAddress, onReady: () => void): AddedContainer
  /**
   * Gives load balancers notice for the drain delay, then takes no new connections, finishes what runs within the drain
   * timeout, aborts what is left, and closes the links last. Resolves when all is closed; the second call waits for the
   * same.
   */
  drain(options?: DrainOptions): Promise<void>
  inspect(): string
}

/** How often names and directories are looked at, milliseconds. */
const DISCOVERY_INTERVAL = 1_000
/**
 * How often a draining proxy checks whether a request can still arrive, ms. The application's signal is delayed by up
 * to this time.
 */
const LAST_LOOK = 50
/** For links to close once nothing runs on them, and for aborted connections to go, milliseconds. */
const LINK_GRACE = 1_000

/**
 * Starts a proxy.
 *
 * @throws OptionError when a secret is missing or cannot be read; LoadError for `--middleware`; ListenError
 */
export async function serveProxy(options: ProxyOptions, environment: ProxyEnvironment): Promise<RunningProxy> {
  const { log, clock = systemClock, random = Math.random, resolve = systemResolve } = environment
  if (options.createToken && options.tokenFile !== undefined) createTokenFile(options.tokenFile)
  const token = readToken(options, log)
  checkSecrets(options, token)
  const loaded = await loadMiddleware(options.middleware)
  warnOfOtherVersions(log)

  let upstreams: UpstreamSet | undefined
  const pool = new Pool({
    queueSize: options.queueSize,
    queueTimeout: options.queueTimeout,
    retries: options.retries,
    timeout: options.timeout,
    idleTimeout: options.idleTimeout,
    slots: options,
    trustedPeers: options.trustedPeers,
    clock,
    log,
    random,
    onWanted: () => upstreams?.hurry(),
  })
  const links = {
    pool,
    clock,
    log,
    token,
    ...frameSettings(options),
    ...livenessSettings(options),
    peers: new PeerLinks(),
    identity: { ...whoAmI(options), slots: 0, limits: {} },
  }
  const { drainDelay: delay, keepAliveGrace: grace, drainTimeout: timeout } = options
  const drain = new Drain(clock, { delay, grace, timeout, settle: GOING_AWAY_GRACE + LINK_GRACE })
  const front = new Front(withMiddleware(pool.application, environment, loaded), options, {
    log,
    clock,
    drain,
    accessLines: environment.accessLog,
  })
  const listeners: Listener[] = []
  const joinListeners: Listener[] = []
  const added: Set<Dialer> = new Set()
  let health: HealthLane | undefined
  let draining: Promise<void> | undefined
  try {
    // Containers first: with luck there is one when the first client comes.
    for (const address of options.joinListen) {
      joinListeners.push(await listenForJoiners(address, { ...links, mode: options.socketMode }))
    }
    for (const address of options.listen) {
      listeners.push(
        await listen(address, { log, mode: options.socketMode, keepAlive: options.tcpKeepAlive }, (socket) =>
          front.accept(socket, address),
        ),
      )
    }
    if (options.healthListen) {
      const readiness = () => readinessOf(pool, !drain.facts.ready)
      health = await serveHealth(options.healthListen, { clock, log, mode: options.socketMode, readiness })
    }
  } catch (error) {
    await Promise.all([...listeners, ...joinListeners].map((listener) => listener.close()))
    front.abort('the proxy could not start')
    pool.destroy('the proxy could not start')
    throw error
  }
  upstreams = new UpstreamSet(options.upstream, {
    ...links,
    random,
    resolve,
    interval: DISCOVERY_INTERVAL,
    http: await httpMaker(options, clock, log),
  })

  const stop = async ({ hurry, onDraining, onLast }: DrainOptions): Promise<void> => {
    const notice = drain.stop('nothing', hurry)
    if (drain.state === 'leaving')
      log.info({ milliseconds: delay }, 'leaving: requests are served until --drain-delay ends')
    await notice
    onDraining?.()
    // Who has been let in by the system meanwhile is answered too.
    await Promise.all(listeners.map((listener) => listener.close()))
    await front.drain(() => {
      // The containers may stop now: a link that ends is not dialled again.
      upstreams.rest('the proxy stops')
      for (const dialer of added) dialer.rest('the proxy stops')
      onLast?.()
    })
    await Promise.all(joinListeners.map((listener) => listener.close()))
    upstreams.stop('the proxy stops')
    for (const dialer of added) dialer.stop('the proxy stops')
    pool.close('the proxy stops')
    await closed(pool, clock)
    await lastEvents()
    health?.close()
  }
  return {
    addresses: listeners.map(({ address }) => address),
    joinAddresses: joinListeners.map(({ address }) => address),
    pool,
    add: (address, onReady) => {
      const dialer = new Dialer(address, { ...links, random, onReady })
      added.add(dialer)
      return {
        stop: (reason) => {
          added.delete(dialer)
          dialer.stop(reason)
        },
      }
    },
    drain: (options = {}) => (draining ??= stop(options)),
    inspect: () => `<Proxy ${drain.state}, ${front.size} clients ${pool.inspect()}>`,
  }
}

/** What containers know this process by. Workers of one proxy have its id in common. */
function whoAmI({ workers, workerOf }: ProxyOptions): { id: string; worker: number; workers: number } {
  if (workerOf === undefined) return { id: randomBytes(6).toString('hex'), worker: 0, workers: 1 }
  const [id = '', index] = workerOf.split('/')
  return { id, worker: Number(index), workers }
}

/** A container that is full is one that works. */
function readinessOf(pool: Pool, draining: boolean): Readiness {
  const containers = pool.count('ready') + pool.count('full')
  return { ready: containers > 0 && !draining, containers, queued: pool.queued, draining }
}

function withMiddleware(
  application: Application,
  { accessLog: lines, middleware }: ProxyEnvironment,
  loaded: Middleware | undefined,
): Application {
  const layers = [lines && accessLog({ log: lines }), announceClient(), middleware, loaded]
  return compose(...layers.filter((one) => one !== undefined), application)
}

/** http-proxy and node's HTTP client are loaded only where they are used. */
async function httpMaker(options: ProxyOptions, clock: Clock, log: Logger): Promise<UpstreamSetOptions['http']> {
  if (!options.upstream.some(({ kind }) => kind === 'http')) return noHttp
  const { http } = await import('./upstreams/http.ts')
  return (url) => http(url, { timeout: options.timeout, idleTimeout: options.idleTimeout, clock, log })
}

function noHttp(): never {
  throw new Error('no upstream speaks HTTP')
}

/**
 * Whether serving a client takes a second file descriptor: a connection to its server, or a file that middleware opens.
 */
function opensMore({ upstream, middleware }: ProxyOptions): boolean {
  return middleware.length > 0 || upstream.some(({ kind }) => kind === 'http')
}

interface FrontServices {
  readonly log: Logger
  readonly clock: Clock
  readonly drain: Drain
  /** Takes a line for each refused request. */
  readonly accessLines: Logger | undefined
}

/** The clients' side: every connection there is, and what they have in common. */
class Front implements ExchangeHost {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger
  readonly #drain: Drain
  readonly #application: Application
  readonly #http: Http1Options
  readonly #connections: Set<Http1Connection> = new Set()
  readonly #limit: ConnectionLimit
  readonly #shares: ClientShares
  readonly #refusals: Refusals
  #listening = true

  constructor(application: Application, options: ProxyOptions, { log, clock, drain, accessLines }: FrontServices) {
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
    this.#refusals = new Refusals(clock, refusalsThatFit(most, each), onRefused)
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

  /** Of ExchangeHost. Slots are the containers'; a client's own bound is its connection. */
  settled(): void {}

  accept(socket: Socket, address: UnixAddress | TcpAddress): void {
    const share = this.#shares.of(address.kind === 'unix' ? UNIX_PEER : (socket.remoteAddress ?? ''), socket)
    if (!this.#limit.admitFrom(share, 0, this.#connections)) {
      this.#refusals.refuse(socket)
      return
    }
    const peer = address.kind === 'unix' ? { remoteAddress: UNIX_PEER, remotePort: '' } : undefined
    const connection = serveHttp1(socket, this.#application, this.#http, undefined, peer)
    // A client may have gone before it was met: then its `onClose` has been called.
    if (!socket.destroyed) {
      connection.share = share
      this.#connections.add(connection)
      this.#limit.entered(connection)
    }
    if (this.draining) connection.drain(this.#drain.grace)
  }

  /** Once the listeners are closed: resolves when every connection has ended, by itself or by force. */
  async drain(onLast: () => void = () => {}): Promise<void> {
    this.#listening = false
    for (const connection of [...this.#connections]) connection.drain(this.#drain.grace)
    let looking: Timer | undefined
    const look = (): void => {
      if ([...this.#connections].every((connection) => connection.last)) onLast()
      else looking = this.clock.after(LAST_LOOK, look)
    }
    this.#left()
    if (this.#connections.size > 0) look()
    await this.#drain.reached('aborting')
    if (this.#drain.state === 'aborting') {
      const upgraded = [...this.#connections].filter((connection) => connection.upgraded).length
      this.log.warn(
        { connections: this.#connections.size, upgraded },
        'the drain timeout has passed: what still runs is aborted',
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

/** Waits for the members to be closed, and helps those that take too long. */
async function closed(pool: Pool, clock: Clock): Promise<void> {
  if (await pool.whenEmpty(LINK_GRACE)) return
  pool.destroy('the proxy stops')
  await new Promise<void>((resolve) => clock.after(0, resolve))
}

/** @throws OptionError */
function checkSecrets(options: ProxyOptions, token: Token | undefined): void {
  if (token !== undefined) return
  for (const [label, addresses] of [
    ['--upstream', options.upstream],
    ['--join-listen', options.joinListen],
  ] as const) {
    for (const address of addresses) {
      if (!needsSecret(address, label === '--upstream')) continue
      throw new OptionError(
        'MISSING_OPTION',
        label,
        `${label} ${printAddress(address)} is reachable over the network, so containers must be authenticated: set --token-file FILE, or GANTRY_TOKEN in the environment`,
      )
    }
  }
}
