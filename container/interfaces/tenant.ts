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
import { AdoptedServer } from './adopted-server.ts'
import { HeldExit } from './held-exit.ts'
import type { Hosted, InterfaceName } from './interface.ts'
import { ListenTakeover } from './listening-server.ts'
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
 * a drain before it takes it for one that hangs.
 */
const CLOSE_WAIT = 5_000

interface Adopted {
  closed: (() => void) | undefined
  readonly isAwaited: boolean
  listening(addresses: readonly Address[]): void
  drained(): void
}

export class Tenant {
  hosted: Hosted
  readonly #log: Logger
  readonly #clock: Clock
  readonly #adopted: Adopted | undefined
  readonly #held: HeldExit | undefined
  /** It began its end itself: its handlers of signals have no part in it. */
  #closedItself = false
  #closing: Promise<unknown> | undefined

  constructor(hosted: Hosted, environment: TenantEnvironment, adopted?: Adopted, held?: HeldExit) {
    const { log, clock = systemClock, lifetime } = environment
    this.hosted = hosted
    this.#log = log
    this.#clock = clock
    this.#held = held
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

  /** The container is reachable. */
  listening(addresses: readonly Address[]): void {
    this.#adopted?.listening(addresses)
  }

  /** Nothing new is taken from here on. */
  drainBegan(): void {
    if (this.hosted.close?.when === 'begun') this.#close()
  }

  /** The last request is over: resolves when the application has closed what it holds, or has had its time for it. */
  async drained(): Promise<void> {
    const waits: unknown[] = []
    if (this.#isToEndItself) waits.push(this.#held?.asked())
    this.#adopted?.drained()
    if (this.hosted.close?.when === 'over') this.#close()
    if (this.#closing) waits.push(this.#closing)
    if (waits.length === 0) return
    const late = Promise.withResolvers<void>()
    const timer = this.#clock.after(CLOSE_WAIT, () => late.resolve())
    await Promise.race([Promise.all(waits), late.promise])
    timer.cancel()
  }

  /**
   * Whether shutdown code of the application's own is still to come: what it does once its server has closed, or after a signal. One that
   * has asked to end before, and waits for nothing, has none.
   */
  get #isToEndItself(): boolean {
    if (!this.#held) return false
    if (this.#adopted?.isAwaited && !this.hosted.close) return true
    return this.#held.hasHandlers && !this.#closedItself && !this.#held.wasAsked
  }

  #close(): void {
    this.#closing ??= (async () => this.hosted.close?.run())().catch((err: unknown) => {
      this.#log.error({ err }, `${this.hosted.what} failed to close`)
    })
  }
}

/**
 * Loads what is to be served. In a process of its own, `--interface node` takes over the server that the module starts, and shutdown code of
 * whatever framework waits for the drain.
 *
 * @throws LoadError
 */
export async function loadTenant(options: TenantOptions, environment: TenantEnvironment): Promise<Tenant> {
  const { lifetime, log } = environment
  const held = lifetime && new HeldExit(() => lifetime.stopping, log).install()
  const takeover = lifetime && options.interface === 'node' ? new ListenTakeover(log).install() : undefined
  const isLight = lifetime !== undefined && options.fetchClasses !== 'platform'
  if (isLight && options.interface === 'fetch') installLightFetch()
  try {
    const hosted = await loadHosted(options.module, {
      interface: options.interface,
      takeover,
      clock: environment.clock,
    })
    // Now that it has said what it is: handlers look up `Response` when they run.
    if (isLight && hosted.interface === 'fetch') installLightFetch()
    // Who wrote to the contract knows of the container.
    if (hosted.interface !== 'wsgi') return new Tenant(hosted, environment, takeover, held)
    held?.restore()
    const tenant = new Tenant(hosted, environment)
    if (options.interface === undefined) tenant.wrap((application) => suspecting(application, options.module))
    return tenant
  } catch (error) {
    held?.restore()
    takeover?.restore()
    throw error
  }
}
