/**
 * Starts and drains the proxy: connects its listeners, client connections, middleware, pool and upstreams, and stops
 * them in order.
 */

import { randomBytes } from 'node:crypto'
import { accessLog } from '../middleware/access-log/access-log.ts'
import { compose } from '../middleware/compose.ts'
import { announceClient } from '../middleware/forwarded.ts'
import { Pool } from '../pool/pool.ts'
import { Drain, type DrainOptions } from '../process/drain.ts'
import { type HealthLane, type ReadinessReport, serveHealth } from '../process/health-lane.ts'
import { lastEvents } from '../process/last-events.ts'
import { warnOfOtherVersions } from '../process/loaded-versions.ts'
import { loadMiddleware } from '../process/modules/load-middleware.ts'
import type { Application, Middleware } from '../protocol/contract/application.ts'
import type { Token } from '../protocol/frames/codec/tokens.ts'
import { PeerLinks } from '../protocol/frames/watch.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { type Address, printAddress, type TcpAddress, type UnixAddress } from '../protocol/net/address.ts'
import { type Clock, systemClock } from '../protocol/net/clock.ts'
import { type Resolve, systemResolve } from '../protocol/net/dial.ts'
import { type Listener, listen } from '../protocol/net/listen.ts'
import { createTokenFile, frameSettings, livenessSettings } from '../protocol/options/common-options.ts'
import { OptionError } from '../protocol/options/option-table.ts'
import { readToken } from '../protocol/options/token-file.ts'
import { GOING_AWAY_GRACE } from '../protocol/websocket/going-away.ts'
import { ClientConnections } from './client-connections.ts'
import { Dialer } from './discovery/dialer.ts'
import { listenForContainers } from './discovery/join-listener.ts'
import { UpstreamSet, type UpstreamSetOptions } from './discovery/upstream-set.ts'
import type { ProxyOptions } from './options.ts'
import { needsSecret } from './secrets.ts'

/** What a proxy needs besides its options: a logger, and a clock, randomness and a resolver that tests replace. */
export interface ProxyEnvironment {
  readonly log: Logger
  /** Receives a line for each request; undefined: no access log. */
  readonly accessLog?: Logger | undefined
  readonly clock?: Clock | undefined
  /** Returns numbers in [0, 1). Default: `Math.random`. */
  readonly random?: (() => number) | undefined
  readonly resolve?: Resolve | undefined
  /** Middleware in front of the pool. The access log and forwarded fields are handled before it. */
  readonly middleware?: Middleware | undefined
}

/** A container that was added with `add`. */
export interface AddedContainer {
  /** Sends it no new requests from now on; running ones finish. */
  stop(reason: string): void
}

/** A started proxy: its addresses, its pool, and how to stop it. */
export interface RunningProxy {
  /** The addresses for clients, with the ports that the system chose. */
  readonly addresses: readonly Address[]
  /** The addresses where containers join. */
  readonly joinAddresses: readonly Address[]
  readonly pool: Pool
  /**
   * Keeps a link to a container at a known address.
   *
   * @param onReady called each time the container can receive requests: at first, and after the link was replaced
   */
  add(address: UnixAddress | TcpAddress, onReady: () => void): AddedContainer
  /**
   * Gives load balancers notice for the drain delay, then accepts no new connections, finishes running requests within
   * the drain timeout, aborts the others, and closes the links last. Resolves when everything is closed; a second call
   * waits for the first.
   */
  drain(options?: DrainOptions): Promise<void>
  /** One line about the state of the proxy, for people. */
  inspect(): string
}

/** How often names are resolved and directories are read, ms. */
const DISCOVERY_INTERVAL = 1_000
/** How long idle links may take to close, and aborted connections to end, ms. */
const LINK_GRACE = 1_000

/**
 * Starts a proxy in this process. Signals are left to the caller: call `drain()` to stop it.
 *
 * @throws OptionError if a secret is missing or cannot be read
 * @throws LoadError if a module of `--middleware` cannot be loaded
 * @throws ListenError if an address is in use or cannot be listened on
 * @example
 * ```ts
 * import { parseOptions, silent } from 'gantry/protocol'
 * import { checkProxyOptions, proxyOptions, serveProxy } from 'gantry/proxy'
 *
 * const { values } = parseOptions(proxyOptions, ['--listen', '127.0.0.1:8080', '--upstream', 'unix:/run/app.sock'])
 * checkProxyOptions(values)
 * const proxy = await serveProxy(values, { log: silent })
 * console.log(proxy.inspect())
 * await proxy.drain()
 * ```
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
    onWanted: () => upstreams?.dialNow(),
  })
  const links = {
    pool,
    clock,
    log,
    token,
    ...frameSettings(options),
    ...livenessSettings(options),
    peers: new PeerLinks(),
    identity: { ...proxyIdentity(options), slots: 0, limits: {} },
  }
  const { drainDelay: delay, keepAliveGrace: grace, drainTimeout: timeout } = options
  const drain = new Drain(clock, { delay, grace, timeout, settle: GOING_AWAY_GRACE + LINK_GRACE })
  const clients = new ClientConnections(withMiddleware(pool.application, environment, loaded), options, {
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
    // Listen for containers first: one may have joined when the first client connects.
    for (const address of options.joinListen) {
      joinListeners.push(await listenForContainers(address, { ...links, mode: options.socketMode }))
    }
    for (const address of options.listen) {
      listeners.push(
        await listen(address, { log, mode: options.socketMode, keepAlive: options.tcpKeepAlive }, (socket) =>
          clients.accept(socket, address),
        ),
      )
    }
    if (options.healthListen) {
      const readiness = () => readinessOf(pool, !drain.facts.ready)
      health = await serveHealth(options.healthListen, { clock, log, mode: options.socketMode, readiness })
    }
  } catch (error) {
    await Promise.all([...listeners, ...joinListeners].map((listener) => listener.close()))
    clients.abort('the proxy could not start')
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

  const stop = async ({ skipNotice, onDraining, onNoMoreRequests }: DrainOptions): Promise<void> => {
    const notice = drain.stop('nothing', skipNotice)
    if (drain.state === 'leaving')
      log.info({ milliseconds: delay }, 'draining soon: requests are accepted until --drain-delay ends')
    await notice
    onDraining?.()
    // Connections that the system accepted in the meantime are served too.
    await Promise.all(listeners.map((listener) => listener.close()))
    await clients.drain(() => {
      // The containers may stop from now on: a link that ends is not replaced.
      upstreams.stopDialling('the proxy stops')
      for (const dialer of added) dialer.stopDialling('the proxy stops')
      onNoMoreRequests?.()
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
    inspect: () => `<Proxy ${drain.state}, ${clients.size} clients ${pool.inspect()}>`,
  }
}

/** The identity that containers see. The workers of one proxy have the same id. */
function proxyIdentity({ workers, workerOf }: ProxyOptions): { id: string; worker: number; workers: number } {
  if (workerOf === undefined) return { id: randomBytes(6).toString('hex'), worker: 0, workers: 1 }
  const [id = '', index] = workerOf.split('/')
  return { id, worker: Number(index), workers }
}

/** The answer to `/ready`. A full container works, so it counts. */
function readinessOf(pool: Pool, draining: boolean): ReadinessReport {
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

/** Loads http-proxy and Node's HTTP client only if an upstream needs them. */
async function httpMaker(options: ProxyOptions, clock: Clock, log: Logger): Promise<UpstreamSetOptions['http']> {
  if (!options.upstream.some(({ kind }) => kind === 'http')) return noHttp
  const { http } = await import('./upstreams/http.ts')
  return (url) => http(url, { timeout: options.timeout, idleTimeout: options.idleTimeout, clock, log })
}

function noHttp(): never {
  throw new Error('no upstream speaks HTTP')
}

/** Waits until all members are closed, and destroys those that take too long. */
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
