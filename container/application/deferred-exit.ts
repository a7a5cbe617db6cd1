/**
 * Defers an application's `process.exit()`, and stop signals that it sends to itself (NestJS, terminus), until the
 * drain is over. Its signal handlers run at once, as on plain Node. `run.ts` keeps the real `process.exit` and uses the
 * application's exit code.
 */

import type { Logger } from '../../protocol/log/logger.ts'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
const STOP_SIGNALS: readonly unknown[] = [...SIGNALS, 1, 2, 15]

export class DeferredExit {
  /** Whether the application has tried to end the process since the first signal. */
  wasRequested = false
  /** Whether the application handles the first stop signal: if so, its shutdown code must be awaited. */
  isHandled = false
  #requested: (() => void) | undefined
  readonly #stopping: () => boolean
  readonly #log: Logger
  readonly #exit: typeof process.exit = process.exit
  readonly #kill: typeof process.kill = process.kill
  readonly #listeners: typeof process.listeners = process.listeners
  readonly #removeAllListeners: typeof process.removeAllListeners = process.removeAllListeners
  #cleanUp: (() => void)[] = []

  constructor(stopping: () => boolean, log: Logger) {
    this.#stopping = stopping
    this.#log = log
  }

  install(): this {
    let isFirst = true
    this.#cleanUp = SIGNALS.map((signal) => {
      // Registered before the application's handlers: while this handler runs, handlers added with `once()` are still
      // registered and can be counted.
      const note = (): void => {
        if (isFirst) this.isHandled = process.listenerCount(signal) > ours
        isFirst = false
      }
      process.on(signal, note)
      const ours = process.listenerCount(signal)
      return () => process.off(signal, note)
    })
    // signal-exit and other libraries end the process if no other handler is registered. They count the listeners, so
    // ours are hidden.
    const ours = SIGNALS.flatMap((signal) => process.listeners(signal) as unknown[])
    const listeners = this.#listeners.bind(process) as (event: string | symbol) => unknown[]
    process.listeners = ((event: string | symbol) => {
      const all = listeners(event)
      return STOP_SIGNALS.includes(event) ? all.filter((one) => !ours.includes(one)) : all
    }) as typeof process.listeners
    this.#keepListeners()
    process.exit = ((...codes: [code?: number | string | null]) => {
      if (!this.#stopping()) return this.#exit.apply(process, codes)
      // As on Node: without an argument, the exit code that was set before is kept.
      if (codes.length > 0) process.exitCode = codes[0]
      this.#defer(`process.exit(${codes[0] ?? ''})`)
    }) as typeof process.exit
    process.kill = (pid, signal) => {
      if (pid !== process.pid || !STOP_SIGNALS.includes(signal ?? 'SIGTERM') || !this.#stopping()) {
        return this.#kill.call(process, pid, signal)
      }
      this.#defer(`process.kill(process.pid, ${JSON.stringify(signal ?? 'SIGTERM')})`)
      return true
    }
    return this
  }

  /**
   * An application that removes all listeners of a signal means its own and its libraries' listeners: ours stay, so
   * that the container still drains.
   */
  #keepListeners(): void {
    const all = (event: string | symbol): unknown[] => process.rawListeners(event as 'exit')
    const kept = new Set(process.eventNames().flatMap(all))
    process.removeAllListeners = (...events: [event?: string | symbol]) => {
      for (const event of events.length > 0 ? [events[0]!] : process.eventNames()) {
        for (const one of all(event).reverse()) if (!kept.has(one)) process.removeListener(event, one as () => void)
      }
      return process
    }
  }

  restore(): void {
    process.exit = this.#exit
    process.kill = this.#kill
    process.listeners = this.#listeners
    process.removeAllListeners = this.#removeAllListeners
    for (const cleanUp of this.#cleanUp) cleanUp()
  }

  /** Resolves when the application next tries to end the process. */
  requested(): Promise<void> {
    return new Promise((resolve) => {
      this.#requested = resolve
    })
  }

  #defer(what: string): void {
    this.#log.debug({}, `the application called ${what}: the process ends when the drain is over`)
    this.wasRequested = true
    this.#requested?.()
  }
}
