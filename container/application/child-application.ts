/**
 * An application that listens in a child process of the container, with `gantry up`: requests reach the child over
 * HTTP, and nothing is served in this process. The process starts, stops and ends as `node FILE` would.
 */

import type { DrainOptions } from '../../process/drain.ts'
import type { KeepAlive } from '../../process/stay-alive.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import type { HttpAddress } from '../../protocol/net/address.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import type { ChildListensError, ChildServers } from './child-servers.ts'
import type { DeferredExit } from './deferred-exit.ts'
import { whenIdle } from './event-loop-idle.ts'

interface ChildApplicationOptions {
  readonly log: Logger
  readonly clock?: Clock | undefined
  /** Milliseconds. */
  readonly drainTimeout: number
  /**
   * The lifetime of this process. `keepAlive` is used only during a drain: before, the process ends when its child has
   * ended.
   */
  readonly lifetime?: { readonly keepAlive: KeepAlive } | undefined
}

export class ChildApplication {
  readonly addresses: readonly [HttpAddress]
  /** The process ends when its event loop is empty, as a launcher ends after its child. */
  readonly endsItself: true = true
  readonly #servers: ChildServers
  readonly #deferredExit: DeferredExit | undefined
  readonly #options: ChildApplicationOptions
  #draining: Promise<void> | undefined

  constructor({ url, servers, deferredExit }: ChildListensError, options: ChildApplicationOptions) {
    this.addresses = [{ kind: 'http', url }]
    this.#servers = servers
    this.#deferredExit = deferredExit
    this.#options = options
  }

  /**
   * Resolves when the application has ended. If the module handles `signal`, the module ends the child processes. If
   * not, they get the same signal, as a terminal or a service manager would send it to every process.
   */
  drain({ onDraining, signal = 'SIGTERM' }: DrainOptions = {}): Promise<void> {
    // This process accepts no requests, so the application gets its signal at once.
    onDraining?.()
    this.#draining ??= this.#drain(signal)
    return this.#draining
  }

  inspect(): string {
    return `<ChildApplication ${this.addresses[0].url} ${this.#servers.alive.length} child processes>`
  }

  async #drain(signal: NodeJS.Signals): Promise<void> {
    const deferredExit = this.#deferredExit
    const { log, clock = systemClock, drainTimeout, lifetime } = this.#options
    if (deferredExit?.wasRequested) return
    const timedOut = Promise.withResolvers<void>()
    const timer = clock.after(drainTimeout, () => {
      log.warn(
        { children: this.#servers.alive.map(({ pid }) => pid) },
        'the drain timeout has passed: child processes are ended',
      )
      timedOut.resolve()
    })
    const waits: Promise<void>[] = [timedOut.promise]
    const nothingLeft = lifetime && whenIdle(lifetime.keepAlive)
    if (nothingLeft) waits.push(nothingLeft.reached)
    if (deferredExit?.isHandled) waits.push(deferredExit.requested())
    else {
      for (const child of this.#servers.alive) child.kill(signal)
      waits.push(this.#servers.ended())
    }
    await Promise.race(waits)
    nothingLeft?.cancel()
    timer.cancel()
    if (!deferredExit?.wasRequested) await this.#servers.end()
  }
}

/**
 * Kills the process group of this process on exit if the supervisor was killed and cannot do so. The supervisor made
 * this process the leader of a process group; the signal also ends this process, which has nothing left to do.
 */
export function endGroupWithSupervisor(): void {
  process.once('exit', () => {
    if (process.connected) return
    try {
      process.kill(-process.pid, 'SIGKILL')
    } catch {
      // This process leads no group: no supervisor started it.
    }
  })
}
