/**
 * The container as one thing that starts and drains: listeners and joins, the gateways behind them, the application and
 * its slots, put together. Each of them does its own work; here is only who is given to whom, and in which order they stop.
 */

import { randomBytes } from 'node:crypto'
import { isIP, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { accessLog, refusedLine } from '../middleware/access-log.ts'
import { compose } from '../middleware/compose.ts'
import { requestIdFrom } from '../middleware/forwarded.ts'
import { type Address, printAddress, type TcpAddress } from '../protocol/address.ts'
import type { Application, Environ, Middleware } from '../protocol/application.ts'
import { ClientShares, type Share } from '../protocol/client-shares.ts'
import { type Clock, Deadlines, systemClock } from '../protocol/clock.ts'
import { forwardedSettings, frameSettings, http1Settings, livenessSettings } from '../protocol/common-options.ts'
import { ConnectionLimit } from '../protocol/connection-limit.ts'
import type { Context } from '../protocol/context.ts'
import { warnOfOtherVersions } from '../protocol/copies.ts'
import { fitsInReserve, mostConnections, refusalsThatFit } from '../protocol/descriptors.ts'
import { Drain, type DrainOptions, type Skipped } from '../protocol/drain.ts'
import type { ProcessFacts } from '../protocol/environ.ts'
import { AbortError } from '../protocol/errors.ts'
import type { Exchange, ExchangeHost } from '../protocol/exchange.ts'
import type { Token } from '../protocol/frames/tokens.ts'
import { GOING_AWAY_GRACE } from '../protocol/going-away.ts'
import { type HealthLane, type Readiness, serveHealth } from '../protocol/health.ts'
import { type Http1Connection, serveHttp1 } from '../protocol/http1/gateway.ts'
import type { Http1Options } from '../protocol/http1/options.ts'
import { Refusals } from '../protocol/http1/refusals.ts'
import { type Listener, listen } from '../protocol/listen.ts'
import { loadMiddleware } from '../protocol/load-middleware.ts'
import type { Logger } from '../protocol/log.ts'
import { OptionError } from '../protocol/options.ts'
import { TrustedPeers, UNIX_PEER } from '../protocol/peers.ts'
import type { RefusedRequest } from '../protocol/refused-request.ts'
import { readToken } from '../protocol/token-file.ts'
import { serveUwsgi, type UwsgiConnection, type UwsgiOptions } from '../protocol/uwsgi/gateway.ts'
import type { ServedWire } from './accept.ts'
import { ChildApplication, endGroupWithSupervisor } from './child-application.ts'
import { DirectSlots } from './direct-slots.ts'
import { Doorman } from './doorman.ts'
import type { AskedAddress } from './interfaces/adopted-server.ts'
import { ChildListensError } from './interfaces/child-servers.ts'
import { type ContainerLifetime, loadTenant, Tenant } from './interfaces/tenant.ts'
import { Joiner, type JoinOptions } from './join.ts'
import { Links } from './links.ts'
import { type ContainerOptions, containerAddresses } from './options.ts'
import { type Opened, Reopening } from './reopening.ts'
import { type SelfCallOptions, serveSelfCalls } from './self-calls.ts'
import { Slots } from './slots.ts'

export interface ContainerEnvironment {
  readonly log: Logger
  /** Takes a line for each request that comes straight to the port; undefined: they are not wanted. */
  readonly accessLog?: Logger | undefined
  readonly clock?: Clock | undefined
  /** In [0, 1). */
  readonly random?: (() => number) | undefined
  readonly resolve?: JoinOptions['resolve']
  /** Served instead of loading `--module`. */
  readonly application?: Application | undefined
  /** The same, for what was loaded elsewhere and has a life of its own. */
  readonly tenant?: Tenant | undefined
  /** Of a process that is the container's alone: what it serves may have replaced in it what would end it. */
  readonly lifetime?: ContainerLifetime | undefined
  /** Stands before the application, as it was loaded or given. */
  readonly middleware?: Middleware | undefined
}

export interface RunningContainer {
  /** Where it listens, with the ports that the system chose; `http`: where an application listens that is not served here. */
  readonly addresses: readonly Address[]
  /** The process ends when its event loop is empty. */
  readonly endsItself?: boolean
  /**
   * Gives load balancers notice for the drain delay, then takes nothing new, finishes what runs within the drain timeout,
   * and aborts what is left. Resolves when all is closed; the second call waits for the same.
   */
  drain(options?: DrainOptions): Promise<void>
  inspect(): string
}

/** For applications to settle after their requests were aborted, ms: an exchange waits 5 s for a pending `next()`. */
const SETTLE_GRACE = 5_500

/**
 * Connections above the limit whose protocol is not known yet: one of them may be a proxy's link, which does not count.
 */
const UNDECIDED_EXTRA = 32

/** Serving a client may take a second file descriptor, opened by the application. */
const DESCRIPTORS_EACH = 2

/** Others of this container's kind may run the same application, and one worker runs many requests at once. */
const FACTS: ProcessFacts = { multithread: true, multiprocess: true, runOnce: false }

/**
 * Loads the application and its middleware, listens, and joins.
 *
 * @throws LoadError when there is no application or middleware, ListenError, OptionError for a secret that is missing or cannot be read
 */
export async function serveContainer(
  options: ContainerOptions,
  environment: ContainerEnvironment,
): Promise<RunningContainer> {
  const token = readToken(options, environment.log)
  checkSecrets(options, token)
  if (options.passToChild) endGroupWithSupervisor()
  const tenant = environment.tenant ?? (await tenantOf(options, environment))
  if (tenant instanceof ChildApplication) return tenant
  const middleware = [environment.middleware, await loadMiddleware(options.middleware)].filter(
    (one) => one !== undefined,
  )
  warnOfOtherVersions(environment.log)
  const application = compose(...middleware, tenant.hosted.application)
  const { log, lifetime } = environment
  const open = (addresses?: readonly Address[]): Container => {
    const where = addresses ? { ...options, listen: addresses as ContainerOptions['listen'] } : options
    const container = new Container(application, tenant, where, environment, token)
    if (lifetime && tenant.hosted.interface !== 'wsgi') serveSelfCalls(container.selfCalls(environment.accessLog))
    return container
  }
  const container = new Reopening({ tenant, log, lifetime, open })
  await container.start()
  return container
}

/** What is to be served, here or by a child process. */
async function tenantOf(
  options: ContainerOptions,
  environment: ContainerEnvironment,
): Promise<Tenant | ChildApplication> {
  const { application } = environment
  if (application) return new Tenant({ what: 'an application', interface: 'wsgi', application }, environment)
  try {
    return await loadTenant(options, environment)
  } catch (error) {
    if (!(error instanceof ChildListensError) || !options.passToChild) throw error
    const { log, clock, lifetime } = environment
    return new ChildApplication(error, { log, clock, drainTimeout: options.drainTimeout, lifetime })
  }
}

class Container implements Opened {
  readonly #tenant: Tenant
  readonly #options: ContainerOptions
  readonly #log: Logger
  readonly #clock: Clock
  readonly #deadlines: Deadlines
  readonly #slots: Slots
  readonly #directSlots: DirectSlots
  readonly #id: string
  readonly #direct: Application
  readonly #http: Http1Options
  readonly #uwsgi: UwsgiOptions
  readonly #doorman: Doorman
  readonly #joiners: Joiner[]
  #listeners: Listener[] = []
  #health: HealthLane | undefined
  readonly #connections: Set<Http1Connection | UwsgiConnection> = new Set()
  readonly #limit: ConnectionLimit
  readonly #shares: ClientShares
  /** Connections beyond the limit whose protocol is not known yet. */
  readonly #undecided: number
  readonly #refusals: Refusals
  readonly #links: Links
  readonly #drain: Drain
  #stopped: Promise<void> | undefined
  #drained: Promise<void> | undefined
  #listening = true
  /** Whether a client or a web server has connected: then the drain gives notice. Links are told by GOAWAY. */
  #wasReached = false

  constructor(
    application: Application,
    tenant: Tenant,
    options: ContainerOptions,
    environment: ContainerEnvironment,
    token: Token | undefined,
  ) {
    const { log, clock = systemClock, random = Math.random, resolve } = environment
    this.#tenant = tenant
    this.#options = options
    this.#log = log
    this.#clock = clock
    this.#deadlines = new Deadlines(clock)
    const { drainDelay: delay, keepAliveGrace: grace, drainTimeout: timeout } = options
    this.#drain = new Drain(clock, { delay, grace, timeout, settle: SETTLE_GRACE })
    this.#slots = new Slots(options.slots)
    this.#shares = new ClientShares(options.trustedPeers)
    this.#directSlots = new DirectSlots({
      slots: this.#slots,
      shares: this.#shares,
      deadlines: this.#deadlines,
      rules: options,
      queueSize: options.queueSize,
      queueTimeout: options.queueTimeout,
    })
    const served = this.#directSlots.gate(this.#releasingUpgrades(application))
    this.#direct = environment.accessLog ? accessLog({ log: environment.accessLog })(served) : served
    const most = mostConnections(options.maxConnections, DESCRIPTORS_EACH, log)
    this.#limit = new ConnectionLimit(most, { clock, log, what: '--max-connections' })
    this.#undecided = Math.min(fitsInReserve(UNDECIDED_EXTRA), most)
    const lines = environment.accessLog
    const onRefused = lines && ((refused: RefusedRequest) => lines.info(refusedLine(refused), 'request'))
    this.#refusals = new Refusals(clock, refusalsThatFit(most, DESCRIPTORS_EACH), onRefused)
    this.#id = options.id ?? `${hostname()}-${process.pid}`
    const { liveness, connectTimeout } = livenessSettings(options)
    this.#links = new Links({
      application,
      clock,
      log,
      facts: FACTS,
      identity: {
        id: this.#id,
        worker: 0,
        workers: 1,
        slots: options.slots,
        limits: {},
        instance: randomBytes(8).toString('hex'),
      },
      token,
      frames: frameSettings(options),
      liveness,
      slots: this.#slots,
      host: (settled) => this.#host(settled),
      onLeft: () => this.#left(),
    })

    const direct = {
      ...http1Settings(options),
      facts: FACTS,
      host: this.#host(({ context }) => this.#directSlots.release(context)),
      onRefused,
      onClose: (connection: Http1Connection | UwsgiConnection) => {
        if (this.#connections.delete(connection)) this.#limit.exited(connection)
        this.#limit.left(this.#connections)
        this.#left()
      },
    }
    this.#http = {
      ...direct,
      forwarded: forwardedSettings(options),
      requestId: requestIdFrom(options.trustedPeers),
    }
    this.#uwsgi = { ...direct, requestId: requestIdOf }
    this.#doorman = new Doorman({
      rules: { accept: options.accept, trustedPeers: options.trustedPeers, token: token !== undefined },
      deadlines: this.#deadlines,
      log,
      serve: (wire, socket, peer, first) => this.#serve(wire, socket, peer, first),
      onLeft: () => this.#left(),
    })
    const joining: JoinOptions = {
      clock,
      log,
      random,
      resolve,
      connectTimeout,
      serve: (socket, proxy, events, handshakeTimeout) =>
        this.#links.serve(socket, {
          address: printAddress(proxy),
          unix: proxy.kind === 'unix',
          dialled: true,
          events,
          handshakeTimeout,
        }),
    }
    this.#joiners = options.join.map((address) => new Joiner(address, joining))
  }

  /**
   * Requests that the application sends to itself are served directly, as on plain Node: without middleware, with the
   * forwarded fields that it copied from another request, and without a slot, since the sending request may hold the
   * last one.
   */
  selfCalls(lines: Logger | undefined): SelfCallOptions {
    const { application } = this.#tenant.hosted
    const logged = lines ? accessLog({ log: lines })(application) : application
    const http: Http1Options = { ...this.#http, forwarded: 'keep', host: this.#host(() => {}) }
    const facts = { remoteAddress: '127.0.0.1', remotePort: '', serverName: '127.0.0.1' }
    const own = (): readonly AskedAddress[] => this.#tenant.ownAddresses(this.addresses)
    const serve = (socket: Socket): void => {
      const serverPort = String(own().find(({ port }) => port !== 0)?.port ?? 80)
      this.#keep(serveHttp1(socket, logged, http, undefined, { ...facts, serverPort }))
    }
    return { own, log: this.#log, serve }
  }

  get addresses(): readonly Address[] {
    return this.#listeners.map(({ address }) => address)
  }

  async start(): Promise<void> {
    const { socketMode, tcpKeepAlive } = this.#options
    try {
      for (const address of containerAddresses(this.#options, this.#id)) {
        const unix = address.kind === 'unix'
        const settings = { log: this.#log, mode: socketMode, keepAlive: tcpKeepAlive }
        const listener = await listen(address, settings, (socket) => {
          // A link needs no room, so that who passes the limit is asked first which protocol it speaks.
          if (this.#limit.admit(this.#undecided, this.#doorman.visitors, this.#connections))
            this.#doorman.receive(socket, unix)
          else this.#refusals.refuse(socket, (first) => this.#doorman.receive(socket, unix, first))
        })
        this.#listeners.push(listener)
        this.#log.info({ address: printAddress(listener.address) }, 'listening')
      }
      if (this.#options.healthListen) {
        this.#health = await serveHealth(this.#options.healthListen, {
          clock: this.#clock,
          log: this.#log,
          mode: socketMode,
          readiness: () => this.#readiness(),
        })
      }
    } catch (error) {
      for (const listener of this.#listeners) void listener.close()
      this.#abort(new AbortError('DRAIN_TIMEOUT', 'the container could not start'))
      throw error
    }
    for (const joiner of this.#joiners) joiner.start()
    this.#tenant.listening(this.addresses)
  }

  /** One that joins can serve once a proxy has taken it; any other, as soon as it listens. */
  #readiness(): Readiness {
    const links = this.#links.ready
    const { ready } = this.#drain.facts
    const reached = this.#joiners.length === 0 || links > 0
    return { ready: reached && ready, links, running: this.#slots.running, draining: !ready }
  }

  inspect(): string {
    return `<Container ${this.#drain.state}, ${this.#slots.inspect()} ${this.#connections.size} connections>`
  }

  // ---- what comes in -----------------------------------------------------------------------------------------------

  #serve(wire: ServedWire, socket: Socket, peer: string, first: Buffer): void {
    const share = this.#shares.of(peer, socket)
    if (wire !== 'frames' && !this.#limit.admitFrom(share, 0, this.#connections)) {
      this.#refusals.refuse(socket)
      return
    }
    if (wire !== 'frames') this.#wasReached = true
    switch (wire) {
      case 'http': {
        const facts = peer === UNIX_PEER ? { remoteAddress: UNIX_PEER, remotePort: '' } : undefined
        this.#keep(serveHttp1(socket, this.#direct, this.#http, first, facts), share)
        return
      }
      case 'uwsgi':
        this.#keep(serveUwsgi(socket, this.#direct, this.#uwsgi, first), share)
        return
      case 'frames': {
        const unix = peer === UNIX_PEER
        const name = unix ? UNIX_PEER : printAddress({ kind: 'tcp', host: peer, port: socket.remotePort ?? 0 })
        this.#links.serve(socket, { address: name, unix, dialled: false, first })
      }
    }
  }

  #keep(connection: Http1Connection | UwsgiConnection, share?: Share): void {
    connection.share = share
    this.#connections.add(connection)
    this.#limit.entered(connection)
    if (this.#drain.facts.draining) connection.drain(this.#drain.grace)
  }

  /** An upgraded request is a connection from then on, and gives its slot back (over links the gateway sees to it). */
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

  #host(settled: (exchange: Exchange) => void): ExchangeHost {
    const container = this
    return {
      clock: this.#clock,
      deadlines: this.#deadlines,
      log: this.#log,
      get draining() {
        return container.#drain.facts.draining
      },
      get leaving() {
        return container.#drain.facts.lastResponses
      },
      settled: (exchange) => {
        settled(exchange)
        this.#left()
      },
    }
  }

  // ---- the end -----------------------------------------------------------------------------------------------------

  pause(): Promise<void> {
    // The application has closed its server: on plain Node its listener and idle connections are closed by now.
    return this.#end({ hurry: AbortSignal.abort() })
  }

  drain(options: DrainOptions = {}): Promise<void> {
    if (this.#stopped) options.onDraining?.()
    this.#drained ??= this.#end(options).then(() => this.#tenant.drained())
    return this.#drained
  }

  #end(options: DrainOptions): Promise<void> {
    // Health is closed before waiting for the application's shutdown code, which ends when the event loop is empty.
    this.#stopped ??= this.#stop(options).finally(() => this.#health?.close())
    return this.#stopped
  }

  async #stop({ hurry, onDraining }: DrainOptions): Promise<void> {
    // A link serves what it has accepted and refuses the rest, which the proxy sends elsewhere: proxies need no delay.
    // Send GOAWAY before the listeners close: a proxy whose connection is refused takes a silent link for dead, and the
    // application may block this event loop at any time.
    this.#links.drain()
    for (const joiner of this.#joiners) joiner.stop('the container stops')
    const skipped: Skipped = this.#wasReached || this.#doorman.waiting > 0 ? 'nothing' : 'delay'
    const notice = this.#drain.stop(skipped, hurry)
    if (this.#drain.state === 'leaving') {
      this.#log.info(
        { milliseconds: this.#options.drainDelay },
        'leaving: requests are served until --drain-delay ends',
      )
    }
    await notice
    onDraining?.()
    await new Promise<void>((resolve) => setImmediate(resolve))
    await Promise.all(this.#listeners.map((listener) => listener.close()))
    this.#listening = false
    for (const connection of [...this.#connections]) connection.drain(this.#drain.grace)
    this.#doorman.drain(this.#drain.grace)
    this.#tenant.drainBegan()
    this.#left()
    await this.#drain.reached('aborting')
    if (this.#drain.state === 'closed') {
      this.#log.info({}, 'drained')
      return
    }
    this.#log.warn(
      {
        requests: this.#slots.running,
        upgraded: this.#upgradedStreams,
        connections: this.#connections.size,
        links: this.#links.size,
      },
      'the drain timeout has passed: what still runs is aborted',
    )
    const error = new AbortError('DRAIN_TIMEOUT', 'the container had to stop')
    this.#abort(error)
    const again = this.#clock.after(GOING_AWAY_GRACE, () => this.#abort(error))
    this.#left()
    await this.#drain.reached('closed')
    again.cancel()
    if (!this.#isEmpty) {
      this.#log.warn(
        { requests: this.#slots.running },
        'applications have not settled after their requests were aborted',
      )
    }
  }

  /** Aborts all requests; closes WebSockets with code 1001, which have until the next call to finish. */
  #abort(error: AbortError): void {
    this.#doorman.abort()
    this.#refusals.abort()
    for (const connection of [...this.#connections]) if (!connection.goAway()) connection.abort(error)
    this.#links.abort(error)
  }

  /** WebSockets and the like, on the port and over links: they hold no slot, and keep a drain all the same. */
  get #upgradedStreams(): number {
    const direct = [...this.#connections].filter((connection) => 'upgraded' in connection && connection.upgraded)
    return direct.length + this.#links.upgraded
  }

  get #isEmpty(): boolean {
    return (
      this.#connections.size === 0 && this.#links.size === 0 && this.#doorman.waiting === 0 && this.#slots.running === 0
    )
  }

  #left(): void {
    if (!this.#listening && this.#isEmpty) this.#drain.on('empty')
  }
}

/** What a web server that is trusted calls the request. */
function requestIdOf(environ: Environ): string | undefined {
  const id = environ['HTTP_X_REQUEST_ID']
  return typeof id === 'string' && /^[\w.-]{1,128}$/.test(id) ? id : undefined
}

const loopback = new TrustedPeers(['loopback'])

/**
 * Who is joined is sent nothing of ours, but sends us requests and is believed about their clients: over the network it has to
 * be known.
 *
 * @throws OptionError
 */
function checkSecrets(options: ContainerOptions, token: Token | undefined): void {
  if (token !== undefined) return
  for (const address of options.join) {
    if (address.kind === 'unix' || isLoopback(address)) continue
    throw new OptionError(
      'MISSING_OPTION',
      '--join',
      `--join ${printAddress(address)} leaves this host, and proxies are known there only by a shared secret: give --token-file FILE, or GANTRY_TOKEN in the environment`,
    )
  }
}

/** Without a host, this host is dialled. */
function isLoopback({ host }: TcpAddress): boolean {
  return host === '' || (isIP(host) === 0 ? host.toLowerCase() === 'localhost' : loopback.has(host))
}
