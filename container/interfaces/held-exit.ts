/**
 * An application's shutdown code within a container's process: `process.on('SIGTERM', () => server.close(() => process.exit(0)))` and its kin.
 * Its handlers run when the signal comes, as they always did. From the first signal on the container decides when the process ends:
 * `process.exit()` and a signal that the process sends itself (NestJS, terminus) wait for the drain. Before that they do what they say.
 *
 * `run.ts` keeps the real `process.exit` for itself, and ends with the exit code that the application chose.
 */

import type { Logger } from '../../protocol/log.ts'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
const STOP_SIGNALS: readonly unknown[] = [...SIGNALS, 1, 2, 15]

export class HeldExit {
  /** Whether the application asked to end since the first signal. */
  wasAsked = false
  /** Whether the signal that began the stop has a handler of the application's: it has shutdown code, and runs it. */
  isHandled = false
  #asked: (() => void) | undefined
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
      // Before the application's own are added: while this one runs, those of `once()` are still there to be counted.
      const note = (): void => {
        if (isFirst) this.isHandled = process.listenerCount(signal) > ours
        isFirst = false
      }
      process.on(signal, note)
      const ours = process.listenerCount(signal)
      return () => process.off(signal, note)
    })
    // Libraries clean up and end the process if they alone handle a signal (signal-exit counts the listeners): ours do not count.
    const ours = SIGNALS.flatMap((signal) => process.listeners(signal) as unknown[])
    const listeners = this.#listeners.bind(process) as (event: string | symbol) => unknown[]
    process.listeners = ((event: string | symbol) => {
      const all = listeners(event)
      return STOP_SIGNALS.includes(event) ? all.filter((one) => !ours.includes(one)) : all
    }) as typeof process.listeners
    this.#keepListeners()
    process.exit = ((...codes: [code?: number | string | null]) => {
      if (!this.#stopping()) return this.#exit.apply(process, codes)
      // As Node has it: without a code, the one that was set before stays.
      if (codes.length > 0) process.exitCode = codes[0]
      this.#held(`process.exit(${codes[0] ?? ''})`)
    }) as typeof process.exit
    process.kill = (pid, signal) => {
      if (pid !== process.pid || !STOP_SIGNALS.includes(signal ?? 'SIGTERM') || !this.#stopping()) {
        return this.#kill.call(process, pid, signal)
      }
      this.#held(`process.kill(process.pid, ${JSON.stringify(signal ?? 'SIGTERM')})`)
      return true
    }
    return this
  }

  /** An application that removes all listeners of a signal means its own and its libraries': a container still drains. */
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

  /** Resolves when the application asks to end from now on. */
  asked(): Promise<void> {
    return new Promise((resolve) => {
      this.#asked = resolve
    })
  }

  #held(what: string): void {
    this.#log.debug({}, `the application called ${what}: the process ends when the drain is over`)
    this.wasAsked = true
    this.#asked?.()
  }
}

/** Standard output and error count as active although they keep nothing; a pipe or terminal that is in use has a request as well. */
const STANDARD_STREAMS: readonly string[] = ['PipeWrap', 'TTYWrap']

/** The kinds of what keeps the event loop, each once. */
export function activeResources(): string[] {
  return [...new Set(process.getActiveResourcesInfo())].filter((kind) => !STANDARD_STREAMS.includes(kind))
}

/** What keeps the process while its event loop is empty, as a handle of Node's does. */
export interface Duty {
  unref(): void
  ref(): void
}

/**
 * Resolves when nothing is left in the event loop, which is when Node itself would end the process. What keeps the loop only for us (the
 * duty of a server, the channel to a parent process) does not count.
 */
export function idle(duty: Duty): { readonly reached: Promise<void>; cancel(): void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  // Listeners of the application's ran before this one, and may have begun something: then Node emits the event again.
  const onIdle = (): void => {
    if (activeResources().length === 0) resolve()
  }
  process.channel?.unref()
  duty.unref()
  process.on('beforeExit', onIdle)
  return {
    reached: promise,
    cancel: () => {
      process.off('beforeExit', onIdle)
      process.channel?.ref()
      duty.ref()
    },
  }
}
