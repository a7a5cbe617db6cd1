/**
 * The container: combines its port, its links, its joins, the application and the slots, and starts and drains them in
 * order.
 */

import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { hostname } from 'node:os'
import { accessLog } from '../middleware/access-log/access-log.ts'
import { compose } from '../middleware/compose.ts'
import { Drain, type DrainOptions, type Skipped } from '../process/drain.ts'
import { type HealthLane, type ReadinessReport, serveHealth } from '../process/health-lane.ts'
import { lastEvents } from '../process/last-events.ts'
import { warnOfOtherVersions } from '../process/loaded-versions.ts'
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
import type { RequestedAddress } from './application/adopted-server.ts'
import { ChildApplication, endGroupWithSupervisor } from './application/child-application.ts'
import { ChildListensError } from './application/child-servers.ts'
import { type ContainerLifetime, LoadedApplication, loadForContainer } from './application/loaded-application.ts'
import { type OpenContainer, ReopenableContainer } from './application/reopening.ts'
import { Joiner, type JoinerOptions } from './join.ts'
import { Links } from './links.ts'
import { type ContainerOptions, containerAddresses } from './options.ts'
import { Port } from './port.ts'
import { checkSecrets } from './secrets.ts'
import { type SelfCallOptions, serveSelfCalls } from './self-calls.ts'
import { Slots } from './slots.ts'

/** What a container needs besides its options: a logger, and a clock, randomness and a resolver that tests replace. */
export interface ContainerEnvironment {
  readonly log: Logger
  /** Gets a line for each request that arrives at the container's port; if undefined, no lines are written. */
  readonly accessLog?: Logger | undefined
  readonly clock?: Clock | undefined
  /** A random number in [0, 1). */
  readonly random?: (() => number) | undefined
  readonly resolve?: JoinerOptions['resolve']
  /** The application to serve, instead of loading `--module`. */
  readonly application?: Application | undefined
  /** The same, if the caller has loaded the application with its shutdown code. */
  readonly loaded?: LoadedApplication | undefined
  /**
   * Set in a process that belongs to the container alone: then the application's calls that would end the process are
   * deferred.
   */
  readonly lifetime?: ContainerLifetime | undefined
  /** Put around the application, whether it was loaded or given. */
  readonly middleware?: Middleware | undefined
}

/** A started container: its addresses, and how to stop it. */
export interface RunningContainer {
  /**
   * The addresses on which it listens, with the port numbers that the system chose; `http`: the URL of an application
   * that a child process serves.
   */
  readonly addresses: readonly Address[]
  /** Whether the process ends by itself when its event loop is empty. */
  readonly endsItself?: boolean
  /**
   * Gives load balancers notice for the drain delay, then accepts no new requests, finishes running requests within the
   * drain timeout, and aborts the rest. Resolves when all is closed. A second call waits for the same drain.
   */
  drain(options?: DrainOptions): Promise<void>
  inspect(): string
}

/**
 * Time for applications to settle after their requests were aborted, ms: an exchange waits 5 s for a pending `next()`.
 */
const SETTLE_GRACE = 5_500

/** Other containers may run the same application, and one worker runs many requests at once. */
const FACTS: ProcessFacts = { multithread: true, multiprocess: true, runOnce: false }

/**
 * Starts a container: loads the application and its middleware, listens, and joins proxies.
 *
 * @param options the container's options; `containerOptions` has their defaults
 * @param environment what the caller provides: the log, and an application to serve instead of `--module`
 * @throws LoadError if the application or a middleware cannot be loaded
 * @throws ListenError if an address is taken or not allowed
 * @throws OptionError if a secret is missing or cannot be read
 * @example
 * ```ts
 * import { type ContainerOptions, serveContainer } from 'gantry/container'
 *
 * export async function serve(options: ContainerOptions): Promise<void> {
 *   const container = await serveContainer(options, { log: console })
 *   process.once('SIGTERM', () => void container.drain())
 * }
 * ```
 */
export async function serveContainer(
  options: ContainerOptions,
  environment: ContainerEnvironment,
): Promise<RunningContainer> {
  const token = readToken(options, environment.log)
  checkSecrets(options, token)
  if (options.passToChild) endGroupWithSupervisor()
  const loaded = environment.loaded ?? (await loadedOrChild(options, environment))
  if (loaded instanceof ChildApplication) return loaded
  const middleware = [environment.middleware, await loadMiddleware(options.middleware)].filter(
    (one) => one !== undefined,
  )
  warnOfOtherVersions(environment.log)
  const application = compose(...middleware, loaded.hosted.application)
  const { log, lifetime } = environment
  const open = (addresses?: readonly Address[]): Container => {
    const where = addresses ? { ...options, listen: addresses as ContainerOptions['listen'] } : options
    const container = new Container(application, loaded, where, environment, token)
    if (lifetime && loaded.hosted.interface !== 'wsgi') serveSelfCalls(container.selfCalls(environment.accessLog))
    return container
  }
  const container = new ReopenableContainer({ loaded, log, lifetime, open })
  await container.start()
  return container
}

/** Loads the application; it is served here, or by a child process. */
async function loadedOrChild(
  options: ContainerOptions,
  environment: ContainerEnvironment,
): Promise<LoadedApplication | ChildApplication> {
  const { application } = environment
  if (application) return new LoadedApplication({ what: 'an application', interface: 'wsgi', application }, environment)
  try {
    return await loadForContainer(options, environment)
  } catch (error) {
    if (!(error instanceof ChildListensError) || !options.passToChild) throw error
    const { log, clock, lifetime } = environment
    return new ChildApplication(error, { log, clock, drainTimeout: options.drainTimeout, lifetime })
  }
}

class Container implements OpenContainer {
  readonly #loaded: LoadedApplication
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
  /** Whether the drain timeout has passed and requests were aborted. */
  #hasAborted = false

  constructor(
    application: Application,
    loaded: LoadedApplication,
    options: ContainerOptions,
    environment: ContainerEnvironment,
    token: Token | undefined,
  ) {
    const { log, clock = systemClock, random = Math.random, resolve } = environment
    this.#loaded = loaded
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
      onEnded: () => this.#stopIfEmpty(),
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
      onEnded: () => this.#stopIfEmpty(),
    })
    const joining: JoinerOptions = {
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
   * forwarded fields that the application copied from another request, and without a slot, since the sending request
   * may hold the last one.
   */
  selfCalls(lines: Logger | undefined): SelfCallOptions {
    const { application } = this.#loaded.hosted
    const logged = lines ? accessLog({ log: lines })(application) : application
    const facts = { remoteAddress: '127.0.0.1', remotePort: '', serverName: '127.0.0.1' }
    const own = (): readonly RequestedAddress[] => this.#loaded.ownAddresses(this.addresses)
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
    this.#loaded.listening(this.addresses)
  }

  /** A container that joins is ready once a proxy is linked; any other, as soon as it listens. */
  #readiness(): ReadinessReport {
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
        this.#stopIfEmpty()
      },
    }
  }

  // ---- the end -----------------------------------------------------------------------------------------------------

  pause(): Promise<void> {
    // The application has closed its server: on plain Node its listener and idle connections would be closed by now.
    return this.#end({ skipNotice: AbortSignal.abort() })
  }

  drain(options: DrainOptions = {}): Promise<void> {
    if (this.#stopped) options.onDraining?.()
    this.#drained ??= this.#end(options).then(() => this.#loaded.drained(this.#hasAborted))
    return this.#drained
  }

  #end(options: DrainOptions): Promise<void> {
    // Close the health listener before waiting for the application's shutdown code, which waits until the event loop is
    // empty.
    this.#stopped ??= this.#stop(options)
      .then(lastEvents)
      .finally(() => this.#health?.close())
    return this.#stopped
  }

  async #stop({ skipNotice, onDraining }: DrainOptions): Promise<void> {
    // Proxies need no delay: a link serves the requests it has accepted and refuses the rest, which the proxy sends
    // elsewhere. Send GOAWAY before the listeners close: a proxy whose connection is refused considers a silent link
    // dead, and the application may block this event loop at any time.
    this.#links.drain()
    for (const joiner of this.#joiners) joiner.stop('the container stops')
    const skipped: Skipped = this.#port.wasReached ? 'nothing' : 'delay'
    const notice = this.#drain.stop(skipped, skipNotice)
    if (this.#drain.state === 'leaving') {
      this.#log.info(
        { milliseconds: this.#options.drainDelay },
        'draining soon: requests are accepted until --drain-delay ends',
      )
    }
    await notice
    onDraining?.()
    await new Promise<void>((resolve) => setImmediate(resolve))
    await this.#port.close()
    this.#listening = false
    this.#port.drain(this.#drain.grace)
    this.#loaded.drainBegan()
    this.#stopIfEmpty()
    await this.#drain.reached('aborting')
    if (this.#drain.state === 'closed') {
      this.#log.info({}, 'drained')
      return
    }
    this.#log.warn(
      {
        requests: this.#slots.running,
        // WebSockets and other upgraded streams hold no slot, but the drain waits for them too.
        upgraded: this.#port.upgraded + this.#links.upgraded,
        connections: this.#port.size,
        links: this.#links.size,
      },
      'the drain timeout has passed: running requests are aborted',
    )
    const error = new AbortError('DRAIN_TIMEOUT', 'the container stops (--drain-timeout)')
    this.#hasAborted = true
    this.#abort(error)
    const again = this.#clock.after(GOING_AWAY_GRACE, () => this.#abort(error))
    this.#stopIfEmpty()
    await this.#drain.reached('closed')
    again.cancel()
    if (!this.#isEmpty) {
      this.#log.warn(
        { requests: this.#slots.running },
        'applications have not settled after their requests were aborted',
      )
    }
  }

  /** Aborts all requests. Closes WebSockets with code 1001; they have until the next call to finish. */
  #abort(error: AbortError): void {
    this.#port.abort(error)
    this.#links.abort(error)
  }

  get #isEmpty(): boolean {
    return this.#port.isEmpty && this.#links.size === 0 && this.#slots.running === 0
  }

  #stopIfEmpty(): void {
    if (!this.#listening && this.#isEmpty) this.#drain.on('empty')
  }
}
