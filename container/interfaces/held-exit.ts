/**
 * An application's shutdown code within a container's process: `process.on('SIGTERM', () => server.close(() => process.exit(0)))` and its kin.
 * Its handlers run when the signal comes, as they always did; but from the first signal on it is the container that decides when the
 * process ends: `process.exit()` and a signal that the process sends itself (NestJS, terminus) wait for the drain. Before that they do
 * what they say.
 *
 * `run.ts` keeps the real `process.exit` for itself.
 */

import type { Logger } from '../../protocol/log.ts'

const STOP_SIGNALS: readonly unknown[] = ['SIGTERM', 'SIGINT', 'SIGHUP', 1, 2, 15]

export class HeldExit {
  /** Whether the application asked to end since the first signal. */
  wasAsked = false
  #asked: (() => void) | undefined
  readonly #stopping: () => boolean
  readonly #log: Logger
  readonly #exit: typeof process.exit = process.exit
  readonly #kill: typeof process.kill = process.kill
  /** Whether a handler of a stop signal was added since `install`: the application has shutdown code. */
  hasHandlers = false
  readonly #added: (name: string | symbol) => void = (name) => {
    if (STOP_SIGNALS.includes(name)) this.hasHandlers = true
  }

  constructor(stopping: () => boolean, log: Logger) {
    this.#stopping = stopping
    this.#log = log
  }

  install(): this {
    process.on('newListener', this.#added)
    process.exit = ((code?: number | string | null) => {
      if (!this.#stopping()) return this.#exit.call(process, code)
      this.#held(`process.exit(${code ?? ''})`)
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

  restore(): void {
    process.exit = this.#exit
    process.kill = this.#kill
    process.off('newListener', this.#added)
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
