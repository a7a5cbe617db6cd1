/**
 * An application from its loading to its end: the server that the container takes over, its shutdown code, and its
 * framework's closing hooks. `serve.ts` reports when the container is reachable, when a drain begins and when it is
 * over; this file does what these events mean to the application.
 */

import { installLightFetch } from '../../interfaces/fetch/light.ts'
import type { KeepAlive } from '../../process/stay-alive.ts'
import type { Middleware } from '../../protocol/contract/application.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import type { Address } from '../../protocol/net/address.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import { AdoptedServer, type RequestedAddress } from './adopted-server.ts'
import { ChildListensError, ChildServers } from './child-servers.ts'
import { DeferredExit } from './deferred-exit.ts'
import { activeResources, whenIdle } from './event-loop-idle.ts'
import type { HostedApplication, InterfaceName } from './hosted-application.ts'
import { withInterfaceHint } from './interface-hint.ts'
import { type WantedPort, wantedPort } from './listen-decision.ts'
import { ListenTakeover } from './listen-takeover.ts'
import { loadHostedApplication } from './load-application.ts'

/** The lifetime of the process in which the container runs. */
export interface ContainerLifetime {
  readonly stopping: boolean
  stop(reason: string): void
  /** Keeps the process alive while its event loop is empty. */
  readonly keepAlive: KeepAlive
}

interface LoadedApplicationOptions {
  /** `MODULE[:EXPORT]` */
  readonly module: string
  readonly interface?: InterfaceName | undefined
  /** `process.argv` of the application after its file. */
  readonly arguments?: readonly string[] | undefined
  /** The port that the application's own server passes to `listen()`. */
  readonly appPort?: number | undefined
  /**
   * Whether a child process may listen instead. The caller then catches the ChildListensError and passes requests on to
   * its URL.
   */
  readonly passToChild?: boolean | undefined
  /** The `Request` and `Response` classes for fetch handlers, in a process of the container's own. Default: `light`. */
  readonly fetchClasses?: 'light' | 'platform' | undefined
}

interface LoadedApplicationEnvironment {
  readonly log: Logger
  readonly clock?: Clock | undefined
  /**
   * Set in a process that belongs to the container alone, in which `listen` and `process.exit` may be replaced; if
   * undefined, they are not replaced.
   */
  readonly lifetime?: ContainerLifetime | undefined
}

/**
 * Time for a framework's closing hooks and the application's shutdown code after the last request, ms. After a drain
 * `run.ts` waits this long before it treats the shutdown as hanging. An open database connection keeps the event loop
 * alive.
 */
const CLOSE_WAIT = 5_000
/**
 * Time for work after the server's 'close' event, ms, if the application's own timer has called `process.exit()`
 * meanwhile.
 */
const CLOSING_TIME = 100
/**
 * Time for the last work of handlers whose requests were aborted, ms: a write to a database or a file. Nothing reports
 * that the work is done, and an open database connection keeps the event loop alive.
 */
const ABORTED_TIME = 100

interface Adopted {
  closed: (() => void) | undefined
  readonly isAwaited: boolean
  /** The addresses that the application considers its own. */
  readonly ownAddresses?: readonly RequestedAddress[]
  listening(addresses: readonly Address[]): void
  drained(): void
}

/** An adopted server that may listen again after its `close()`. */
interface Reopenable extends Adopted {
  readonly isListening: boolean
  listensAgain: (() => void) | undefined
  paused(): void
}

function isReopenable(adopted: Adopted | undefined): adopted is Reopenable {
  return adopted !== undefined && 'listensAgain' in adopted
}

export class LoadedApplication {
  hosted: HostedApplication
  /** Called if the application closes its server while no drain runs, and may listen again. */
  onClosed: (() => void) | undefined
  /** Whether the application has closed its server and its last requests still run. */
  isPausing = false
  readonly #log: Logger
  readonly #clock: Clock
  readonly #adopted: Adopted | undefined
  readonly #deferredExit: DeferredExit | undefined
  readonly #keepAlive: KeepAlive | undefined
  readonly #wanted: WantedPort | undefined
  /** Whether the application began to end by itself, without a signal: its signal handlers are not awaited. */
  #closedItself = false
  #closing: Promise<unknown> | undefined
  #drainStartedAt = 0

  constructor(
    hosted: HostedApplication,
    environment: LoadedApplicationEnvironment,
    adopted?: Adopted,
    deferredExit?: DeferredExit,
    wanted?: WantedPort | undefined,
  ) {
    const { log, clock = systemClock, lifetime } = environment
    this.hosted = hosted
    this.#log = log
    this.#clock = clock
    this.#deferredExit = deferredExit
    this.#keepAlive = lifetime?.keepAlive
    this.#wanted = wanted
    this.#adopted = adopted ?? (lifetime && hosted.server ? new AdoptedServer(hosted.server) : undefined)
    if (this.#adopted && lifetime) {
      this.#adopted.closed = () => {
        if (lifetime.stopping) return
        if (this.onClosed && isReopenable(this.#adopted)) {
          this.onClosed()
          return
        }
        this.#closedItself = true
        lifetime.stop('the application closed its server')
      }
    }
  }

  /** Puts `middleware` around the application. */
  wrap(middleware: Middleware): void {
    this.hosted = { ...this.hosted, application: middleware(this.hosted.application) }
  }

  /**
   * The addresses that the application considers its own: a request to one of them is a request to itself. An
   * application that does not listen uses PORT. An application written to the contract knows no addresses, so it has
   * none.
   *
   * @param container the addresses on which the container listens
   */
  ownAddresses(container: readonly Address[]): readonly RequestedAddress[] {
    const requested = this.#adopted?.ownAddresses ?? []
    // Includes the container's own addresses, which the server's address() returns.
    const shown = container.flatMap((one) => (one.kind === 'tcp' ? [{ ...one, path: undefined }] : []))
    if (requested.length > 0) return [...requested, ...shown]
    if (this.#wanted === undefined) return []
    const { value } = this.#wanted
    return [
      typeof value === 'number'
        ? { port: value, host: undefined, path: undefined }
        : { port: 0, host: undefined, path: value },
    ]
  }

  /** The container is reachable. */
  listening(addresses: readonly Address[]): void {
    this.#adopted?.listening(addresses)
  }

  /** Whether the application's server listens, as far as the application knows. */
  get isListening(): boolean {
    return isReopenable(this.#adopted) && this.#adopted.isListening
  }

  /**
   * The requests of a closed server are over: emits 'close'. Resolves when the application listens again, or has
   * nothing left to do, so that Node would end the process.
   */
  async paused(): Promise<'listens' | 'ends'> {
    const adopted = this.#adopted
    if (!isReopenable(adopted) || !this.#keepAlive) return 'ends'
    adopted.paused()
    if (this.#deferredExit?.wasRequested) return 'ends'
    if (adopted.isListening) return 'listens'
    const again = new Promise<'listens'>((resolve) => {
      adopted.listensAgain = () => resolve('listens')
    })
    const nothingLeft = whenIdle(this.#keepAlive)
    const outcome = await Promise.race([again, nothingLeft.reached.then(() => 'ends' as const)])
    adopted.listensAgain = undefined
    nothingLeft.cancel()
    return outcome
  }

  /** No new requests are accepted from now on. */
  drainBegan(): void {
    this.#drainStartedAt = this.#clock.now()
    if (this.hosted.close?.when === 'begun') this.#close()
  }

  /**
   * The last request is over. Resolves when the application has shut down, or its time for that is over.
   *
   * @param hasAborted whether the drain timeout has aborted requests
   */
  async drained(hasAborted: boolean = false): Promise<void> {
    const waits: unknown[] = []
    // Applications written to the contract or as fetch handlers have settled already.
    if (hasAborted && this.#deferredExit && this.hosted.interface === 'node') {
      waits.push(new Promise<void>((resolve) => this.#clock.after(ABORTED_TIME, resolve)))
    }
    if (this.#deferredExit && this.#hasShutdownCode) waits.push(this.#ownExit(this.#deferredExit))
    this.#adopted?.drained()
    if (this.hosted.close?.when === 'over') this.#close()
    if (this.#closing) waits.push(this.#closing)
    if (waits.length === 0) return
    const timedOut = Promise.withResolvers<void>()
    const timer = this.#clock.after(CLOSE_WAIT, () => {
      this.#log.warn(
        { keeps: activeResources() },
        `the application has not ended ${CLOSE_WAIT / 1000} s after its last request: stopping`,
      )
      timedOut.resolve()
    })
    // Most shutdown code closes the server and then waits for Node to exit.
    const nothingLeft = this.#deferredExit && this.#keepAlive && whenIdle(this.#keepAlive)
    await Promise.race([Promise.all(waits), timedOut.promise, nothingLeft?.reached ?? timedOut.promise])
    nothingLeft?.cancel()
    timer.cancel()
  }

  /**
   * Whether the application still has its own shutdown code to run: after its server closes, or after a signal. If it
   * has already tried to end and waits for nothing, it has none.
   */
  get #hasShutdownCode(): boolean {
    if (!this.#deferredExit) return false
    if (this.#adopted?.isAwaited && !this.hosted.close) return true
    return this.#deferredExit.isHandled && !this.#closedItself && !this.#deferredExit.wasRequested
  }

  /**
   * Waits until the application calls `process.exit()`. Many applications set a timer at the signal, which exits with 1
   * if closing hangs. Here the server closes only after the drain, so that timer fires too early by the length of the
   * drain.
   */
  async #ownExit(deferredExit: DeferredExit): Promise<void> {
    await deferredExit.requested()
    if (Number(process.exitCode ?? 0) === 0) return
    const early = Promise.withResolvers<void>()
    const timer = this.#clock.after(this.#clock.now() - this.#drainStartedAt + CLOSING_TIME, () => early.resolve())
    await Promise.race([deferredExit.requested(), early.promise])
    timer.cancel()
  }

  #close(): void {
    this.#closing ??= (async () => this.hosted.close?.run())().catch((err: unknown) => {
      this.#log.error({ err }, `${this.hosted.what} failed to close`)
    })
  }
}

/**
 * Loads the application to serve. In a process of the container's own, `--interface node` takes over the server that
 * the module starts, and every framework's shutdown code waits for the drain. If the application cannot be served, all
 * its child processes are ended.
 *
 * @throws LoadError if there is no application that can be served
 * @throws ChildListensError if the application listens in a child process
 */
export async function loadForContainer(
  options: LoadedApplicationOptions,
  environment: LoadedApplicationEnvironment,
): Promise<LoadedApplication> {
  const { lifetime, log } = environment
  let loaded: LoadedApplication | undefined
  const deferredExit =
    lifetime && new DeferredExit(() => lifetime.stopping || loaded?.isPausing === true, log).install()
  const wanted = wantedPort(options.appPort, process.env)
  const takeover = lifetime && options.interface === 'node' ? new ListenTakeover(log, wanted).install() : undefined
  const childServers = takeover && (await childServersOf(takeover, environment))
  const isLight = lifetime !== undefined && options.fetchClasses !== 'platform'
  if (isLight && options.interface === 'fetch') installLightFetch()
  try {
    const hosted = await loadHostedApplication(options.module, {
      interface: options.interface,
      takeover,
      childServers,
      clock: environment.clock,
      log,
      arguments: lifetime && (options.arguments ?? []),
    })
    childServers?.close()
    // The interface is known only now. Handlers look up `Response` when they run, so this is early enough.
    if (isLight && hosted.interface === 'fetch') installLightFetch()
    // An application written to the contract does not need Node's process functions replaced.
    if (hosted.interface !== 'wsgi')
      return (loaded = new LoadedApplication(hosted, environment, takeover, deferredExit, wanted))
    deferredExit?.restore()
    loaded = new LoadedApplication(hosted, environment)
    if (options.interface === undefined) loaded.wrap((application) => withInterfaceHint(application, options.module))
    return loaded
  } catch (error) {
    takeover?.restore()
    if (error instanceof ChildListensError && options.passToChild) {
      error.deferredExit = deferredExit
      throw error
    }
    deferredExit?.restore()
    await childServers?.end()
    throw error
  }
}

function childServersOf(takeover: ListenTakeover, { log, clock }: LoadedApplicationEnvironment): Promise<ChildServers> {
  const value = takeover.wanted?.value
  // A Unix socket is not probed.
  const port = typeof value === 'number' ? value : undefined
  return new ChildServers({ log, clock, port, isOwn: (one) => takeover.binds(one) }).start()
}
