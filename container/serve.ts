/**
 * The container: puts its port, its links, its joins, the application and the slots together, and starts and drains
 * them in order.
 */

import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { hostname } from 'node:os'
import { accessLog } from '../middleware/access-log/access-log.ts'
import { compose } from '../middleware/compose.ts'
import { warnOfOtherVersions } from '../process/copies.ts'
import { Drain, type DrainOptions, type Skipped } from '../process/drain.ts'
import { type HealthLane, type Readiness, serveHealth } from '../process/health-lane.ts'
import { lastEvents } from '../process/last-events.ts'
import { loadMiddleware } from '../process/modules/load-middleware.ts'
import type { Application, Middleware } from '../protocol/contract/application.ts'
import type { ProcessFacts } from '../protocol/contract/environ.ts'
import { AbortError } from '../protocol/contract/errors.ts'
import type { Exchange, ExchangeHost } from '../protocol/contract/exchange.ts'
import type { Token } from '../protocol/frames/codec/tokens.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { type Address, printAddress } from '../protocol/net/address.ts'
import { type Clock, Deadlines, systemClock } from '../protocol/net/clock.ts'
import { frameSettings, livenessSettings } from '../protocol/options/common-options.ts'
import { readToken } from '../protocol/options/token-file.ts'
import { GOING_AWAY_GRACE } from '../protocol/websocket/going-away.ts'
import type { AskedAddress } from './application/adopted-server.ts'
import { ChildApplication, endGroupWithSupervisor } from './application/child-application.ts'
import { ChildListensError } from './application/child-servers.ts'
import { type ContainerLifetime, loadTenant, Tenant } from './application/loaded-application.ts'
import { type Opened, Reopening } from './application/reopening.ts'
import { Joiner, type JoinOptions } from './join.ts'
import { Links } from './links.ts'
import { type ContainerOptions, containerAddresses } from './options.ts'
import { Port } from './port.ts'
import { checkSecrets } from './secrets.ts'
import { type SelfCallOptions, serveSelfCalls } from './self-calls.ts'
import { Slots } from './slots.ts'

export interface ContainerEnvironment {
  readonly log: Logger
  /** Takes a line for each request that comes straight to the port; undefined: no lines are wanted. */
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
   * Gives load balancers notice for the drain delay, then takes nothing new, finishes what runs within the drain
   * timeout, and aborts what is left. Resolves when all is closed; the second call waits for the same.
   */
  drain(options?: DrainOptions): Promise<void>
  inspect(): string
}

/** For applications to settle after their requests were aborted, ms: an exchange waits 5 s for a pending `next()`. */
const SETTLE_GRACE = 5_500

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
  readonly #id: string
  readonly #port: Port
  readonly #joiners: Joiner[]
  #health: HealthLane | undefined
  readonly #links: Links
  readonly #drain: Drain
  #stopped: Promise<void> | undefined
  #drained: Promise<void> | undefined
  #listening = true
  /** The drain timeout has passed, and requests were aborted. */
  #hasAborted = false

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

    this.#port = new Port(application, options, {
      log,
      accessLog: environment.accessLog,
      deadlines: this.#deadlines,
      facts: FACTS,
      slots: this.#slots,
      drain: this.#drain,
      hasToken: token !== undefined,
      host: (settled) => this.#host(settled),
      serveLink: (socket, address, unix, first) => this.#links.serve(socket, { address, unix, dialled: false, first }),
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
    const facts = { remoteAddress: '127.0.0.1', remotePort: '', serverName: '127.0.0.1' }
    const own = (): readonly AskedAddress[] => this.#tenant.ownAddresses(this.addresses)
    const serve = (socket: Socket): void => {
      const serverPort = String(own().find(({ port }) => port !== 0)?.port ?? 80)
      this.#port.serveSelf(socket, logged, { ...facts, serverPort })
    }
    return { own, log: this.#log, serve }
  }

  get addresses(): readonly Address[] {
    return this.#port.addresses
  }

  async start(): Promise<void> {
    const { socketMode } = this.#options
    try {
      for (const address of containerAddresses(this.#options, this.#id)) await this.#port.listen(address)
      if (this.#options.healthListen) {
        this.#health = await serveHealth(this.#options.healthListen, {
          clock: this.#clock,
          log: this.#log,
          mode: socketMode,
          readiness: () => this.#readiness(),
        })
      }
    } catch (error) {
      void this.#port.close()
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
    return `<Container ${this.#drain.state}, ${this.#slots.inspect()} ${this.#port.size} connections>`
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
    this.#drained ??= this.#end(options).then(() => this.#tenant.drained(this.#hasAborted))
    return this.#drained
  }

  #end(options: DrainOptions): Promise<void> {
    // Health is closed before waiting for the application's shutdown code, which ends when the event loop is empty.
    this.#stopped ??= this.#stop(options)
      .then(lastEvents)
      .finally(() => this.#health?.close())
    return this.#stopped
  }

  async #stop({ hurry, onDraining }: DrainOptions): Promise<void> {
    // A link serves what it has accepted and refuses the rest, which the proxy sends elsewhere: proxies need no delay.
    // Send GOAWAY before the listeners close: a proxy whose connection is refused takes a silent link for dead, and the
    // application may block this event loop at any time.
    this.#links.drain()
    for (const joiner of this.#joiners) joiner.stop('the container stops')
    const skipped: Skipped = this.#port.wasReached ? 'nothing' : 'delay'
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
    await this.#port.close()
    this.#listening = false
    this.#port.drain(this.#drain.grace)
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
        // WebSockets and the like hold no slot, but the drain waits for them too.
        upgraded: this.#port.upgraded + this.#links.upgraded,
        connections: this.#port.size,
        links: this.#links.size,
      },
      'the drain timeout has passed: what still runs is aborted',
    )
    const error = new AbortError('DRAIN_TIMEOUT', 'the container stops (--drain-timeout)')
    this.#hasAborted = true
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
    this.#port.abort(error)
    this.#links.abort(error)
  }

  get #isEmpty(): boolean {
    return this.#port.isEmpty && this.#links.size === 0 && this.#slots.running === 0
  }

  #left(): void {
    if (!this.#listening && this.#isEmpty) this.#drain.on('empty')
  }
}
