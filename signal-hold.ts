/**
 * Postpones an application's handlers of a stop signal. During the drain delay the application still gets requests, and
 * many handlers close at once what requests need (databases; Fastify answers 503 from then on).
 */

import type { SignalSource, StopSignal } from './signals.ts'

type Emit = typeof process.emit

/** What takes the signals, and emits them to everybody who listens; `process` is one. */
export interface Emitter extends SignalSource {
  emit: Emit
}

/**
 * Takes the place of `source.emit`, which Node calls for a signal: our handlers run first, then, at once or after
 * `release()`, the listeners of the application. To be made before anybody listens to a signal.
 */
export class SignalHold implements SignalSource {
  readonly #source: Emitter
  readonly #emit: Emit
  readonly #own: Map<unknown, () => void> = new Map()
  readonly #held: unknown[][] = []
  #holding = false
  /** Our `emit` is calling the listeners. */
  #emitting = false

  constructor(source: Emitter) {
    this.#source = source
    this.#emit = source.emit
    source.emit = ((...event: unknown[]) => {
      this.#own.get(event[0])?.()
      // A later signal of the same kind is held too.
      if (!this.#holding || !this.#own.has(event[0])) return this.#pass(event)
      this.#held.push(event)
      return true
    }) as Emit
  }

  on(signal: StopSignal, listener: () => void): this {
    this.#own.set(signal, listener)
    // Node delivers a signal only while somebody listens, and calls the `emit` of the time of the first listener: if a
    // preloaded module listened before, ours is not called, and nothing can be held.
    this.#source.on(signal, () => {
      if (!this.#emitting) listener()
    })
    return this
  }

  /** From one of our handlers: the application's listeners are called at `release()`. */
  hold(): void {
    this.#holding = true
  }

  /** Calls the application's listeners of the signals that were held. */
  release(): void {
    this.#holding = false
    for (const event of this.#held.splice(0)) this.#pass(event)
  }

  #pass(event: unknown[]): boolean {
    const before = this.#emitting
    this.#emitting = true
    try {
      return (this.#emit as (...event: unknown[]) => boolean).apply(this.#source, event)
    } finally {
      this.#emitting = before
    }
  }
}
