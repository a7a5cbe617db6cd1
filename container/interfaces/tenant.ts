/**
 * What a container serves, from its loading to its end: a server of its own that the container listens for, its shutdown code, its
 * framework's closing. `serve.ts` tells it when the container is reachable, when a drain begins and when it is over; what these mean to
 * an application is here.
 */

import type { Address } from '../../protocol/address.ts'
import type { Middleware } from '../../protocol/application.ts'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import { installLightFetch } from '../../protocol/fetch/light.ts'
import type { Logger } from '../../protocol/log.ts'
import { loadHosted } from '../load-application.ts'
import { AdoptedServer, type AskedAddress } from './adopted-server.ts'
import { ChildListensError, ChildServers } from './child-servers.ts'
import { activeResources, HeldExit, idle } from './held-exit.ts'
import type { Hosted, InterfaceName } from './interface.ts'
import { ListenTakeover, type WantedPort, wantedPort } from './listening-server.ts'
import { suspecting } from './suspect.ts'

/** How long the process lives that the container is in. */
export interface ContainerLifetime {
  readonly stopping: boolean
  stop(reason: string): void
}

export interface TenantOptions {
  /** `MODULE[:EXPORT]` */
  readonly module: string
  readonly interface?: InterfaceName | undefined
  /** What it finds in `process.argv` after its file. */
  readonly arguments?: readonly string[] | undefined
  /** The port that its own server asks for. */
  readonly appPort?: number | undefined
  /** A child process that listens may do so: the ChildListensError that says where is for a caller who passes requests on. */
  readonly passToChild?: boolean | undefined
  /** What fetch handlers are given, in a process of the container's own. `light` unless told. */
  readonly fetchClasses?: 'light' | 'platform' | undefined
}

export interface TenantEnvironment {
  readonly log: Logger
  readonly clock?: Clock | undefined
  /** Of a process that is the container's alone, in which `listen` and `process.exit` may be replaced; undefined: neither is. */
  readonly lifetime?: ContainerLifetime | undefined
}

/**
 * For a framework's closing hooks and the application's own shutdown code once the last request is over, ms: what `run.ts` leaves after
 * a drain before it takes it for one that hangs. An open database connection keeps the event loop for ever.
 */
const CLOSE_WAIT = 5_000
/** For what follows a server's closing, ms, where a timer that was set with the signal ends the process meanwhile. */
const CLOSING_TIME = 100

interface Adopted {
  closed: (() => void) | undefined
  readonly isAwaited: boolean
  /** Where the application believes that it listens. */
  readonly ownAddresses?: readonly AskedAddress[]
  listening(addresses: readonly Address[]): void
  drained(): void
}

export class Tenant {
  hosted: Hosted
  readonly #log: Logger
  readonly #clock: Clock
  readonly #adopted: Adopted | undefined
  readonly #held: HeldExit | undefined
  readonly #wanted: WantedPort | undefined
  /** It began its end itself: its handlers of signals have no part in it. */
  #closedItself = false
  #closing: Promise<unknown> | undefined
  #drainBegan = 0

  constructor(
    hosted: Hosted,
    environment: TenantEnvironment,
    adopted?: Adopted,
    held?: HeldExit,
    wanted?: WantedPort | undefined,
  ) {
    const { log, clock = systemClock, lifetime } = environment
    this.hosted = hosted
    this.#log = log
    this.#clock = clock
    this.#held = held
    this.#wanted = wanted
    this.#adopted = adopted ?? (lifetime && hosted.server ? new AdoptedServer(hosted.server) : undefined)
    if (this.#adopted && lifetime) {
      this.#adopted.closed = () => {
        if (lifetime.stopping) return
        this.#closedItself = true
        lifetime.stop('the application closed its server')
      }
    }
  }

  /** Puts `middleware` around its application. */
  wrap(middleware: Middleware): void {
    this.hosted = { ...this.hosted, application: middleware(this.hosted.application) }
  }

  /**
   * Where the application believes that it listens: what it sends there it sends to itself. One that does not listen expects its requests on
   * PORT. An application that is written to the contract knows of the container, and believes nothing.
   *
   * @param container where the container listens
   */
  ownAddresses(container: readonly Address[]): readonly AskedAddress[] {
    const asked = this.#adopted?.ownAddresses ?? []
    // With the container's own, which address() of its server says.
    const shown = container.flatMap((one) => (one.kind === 'tcp' ? [{ ...one, path: undefined }] : []))
    if (asked.length > 0) return [...asked, ...shown]
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

  /** Nothing new is taken from here on. */
  drainBegan(): void {
    this.#drainBegan = this.#clock.now()
    if (this.hosted.close?.when === 'begun') this.#close()
  }

  /** The last request is over: resolves when the application has closed what it holds, or has had its time for it. */
  async drained(): Promise<void> {
    const waits: unknown[] = []
    if (this.#held && this.#isToEndItself) waits.push(this.#endOfItsOwn(this.#held))
    this.#adopted?.drained()
    if (this.hosted.close?.when === 'over') this.#close()
    if (this.#closing) waits.push(this.#closing)
    if (waits.length === 0) return
    const late = Promise.withResolvers<void>()
    const timer = this.#clock.after(CLOSE_WAIT, () => {
      this.#log.warn(
        { keeps: activeResources() },
        `the application has not ended ${CLOSE_WAIT / 1000} s after its last request: stopping`,
      )
      late.resolve()
    })
    // Most shutdown code closes its server and leaves the end to Node.
    const nothingLeft = this.#held && idle()
    await Promise.race([Promise.all(waits), late.promise, nothingLeft?.reached ?? late.promise])
    nothingLeft?.cancel()
    timer.cancel()
  }

  /**
   * Whether shutdown code of the application's own is still to come: what it does once its server has closed, or after a signal. One that
   * has asked to end before, and waits for nothing, has none.
   */
  get #isToEndItself(): boolean {
    if (!this.#held) return false
    if (this.#adopted?.isAwaited && !this.hosted.close) return true
    return this.#held.isHandled && !this.#closedItself && !this.#held.wasAsked
  }

  /**
   * The application has ended itself. Many set a timer when the signal comes that ends the process with 1 if closing hangs: their server has
   * closed later by the time of the drain, so that the timer comes too early by as much.
   */
  async #endOfItsOwn(held: HeldExit): Promise<void> {
    await held.asked()
    if (Number(process.exitCode ?? 0) === 0) return
    const early = Promise.withResolvers<void>()
    const timer = this.#clock.after(this.#clock.now() - this.#drainBegan + CLOSING_TIME, () => early.resolve())
    await Promise.race([held.asked(), early.promise])
    timer.cancel()
  }

  #close(): void {
    this.#closing ??= (async () => this.hosted.close?.run())().catch((err: unknown) => {
      this.#log.error({ err }, `${this.hosted.what} failed to close`)
    })
  }
}

/**
 * Loads what is to be served. In a process of its own, `--interface node` takes over the server that the module starts, and shutdown code of
 * whatever framework waits for the drain. Of an application that is not served, no child process stays.
 *
 * @throws LoadError, ChildListensError
 */
export async function loadTenant(options: TenantOptions, environment: TenantEnvironment): Promise<Tenant> {
  const { lifetime, log } = environment
  const held = lifetime && new HeldExit(() => lifetime.stopping, log).install()
  const wanted = wantedPort(options.appPort, process.env)
  const takeover = lifetime && options.interface === 'node' ? new ListenTakeover(log, wanted).install() : undefined
  const childServers = takeover && (await childServersOf(takeover, environment))
  const isLight = lifetime !== undefined && options.fetchClasses !== 'platform'
  if (isLight && options.interface === 'fetch') installLightFetch()
  try {
    const hosted = await loadHosted(options.module, {
      interface: options.interface,
      takeover,
      childServers,
      clock: environment.clock,
      log,
      arguments: lifetime && (options.arguments ?? []),
    })
    childServers?.close()
    // Now that it has said what it is: handlers look up `Response` when they run.
    if (isLight && hosted.interface === 'fetch') installLightFetch()
    // Who wrote to the contract knows of the container.
    if (hosted.interface !== 'wsgi') return new Tenant(hosted, environment, takeover, held, wanted)
    held?.restore()
    const tenant = new Tenant(hosted, environment)
    if (options.interface === undefined) tenant.wrap((application) => suspecting(application, options.module))
    return tenant
  } catch (error) {
    takeover?.restore()
    if (error instanceof ChildListensError && options.passToChild) {
      error.held = held
      throw error
    }
    held?.restore()
    await childServers?.end()
    throw error
  }
}

function childServersOf(takeover: ListenTakeover, { log, clock }: TenantEnvironment): Promise<ChildServers> {
  const value = takeover.wanted?.value
  // A Unix socket is not looked for.
  const port = typeof value === 'number' ? value : undefined
  return new ChildServers({ log, clock, port, isOwn: (one) => takeover.binds(one) }).start()
}
