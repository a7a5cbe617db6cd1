/**
 * The proxy as one thing that starts and drains: listeners, the HTTP gateway, middleware and the pool, put together. Each of
 * them does its own work; here is only who is given to whom, and in which order they stop.
 */

import { randomBytes } from 'node:crypto'
import { accessLog } from '../middleware/access-log/access-log.ts'
import { compose } from '../middleware/compose.ts'
import { announceClient } from '../middleware/forwarded.ts'
import { Pool } from '../pool/pool.ts'
import { warnOfOtherVersions } from '../process/copies.ts'
import { Drain, type DrainOptions } from '../process/drain.ts'
import { type HealthLane, type Readiness, serveHealth } from '../process/health-lane.ts'
import { lastEvents } from '../process/last-events.ts'
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
    // Containers first: with luck there is one when the first client comes.
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
      log.info({ milliseconds: delay }, 'leaving: requests are served until --drain-delay ends')
    await notice
    onDraining?.()
    // Who has been let in by the system meanwhile is answered too.
    await Promise.all(listeners.map((listener) => listener.close()))
    await clients.drain(() => {
      // The containers may stop now: a link that ends is not dialled again.
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

/** What containers know this process by. Workers of one proxy have its id in common. */
function proxyIdentity({ workers, workerOf }: ProxyOptions): { id: string; worker: number; workers: number } {
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
        `${label} ${printAddress(address)} leaves this host, and containers are known there only by a shared secret: give --token-file FILE, or GANTRY_TOKEN in the environment`,
      )
    }
  }
}
