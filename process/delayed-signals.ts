/**
 * Delays an application's handlers of a stop signal until the end of the drain delay. Requests still arrive until then,
 * and many handlers immediately close what requests need (databases; Fastify answers 503 from then on).
 */

import type { SignalSource, StopSignal } from './signals.ts'

type Emit = typeof process.emit

/** The source of signals, which emits them to its listeners: `process`. */
export interface Emitter extends SignalSource {
  emit: Emit
}

/**
 * Replaces `source.emit`, which Node calls for a signal: Gantry's handlers run first, then the application's listeners,
 * immediately or after `release()`. Create it before any listener of a signal is added.
 */
export class DelayedSignals implements SignalSource {
  readonly #source: Emitter
  readonly #emit: Emit
  readonly #own: Map<unknown, () => void> = new Map()
  readonly #held: unknown[][] = []
  #holding = false
  /** Whether the replaced `emit` is calling the listeners. */
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
    // Node delivers a signal only while it has a listener, and calls the `emit` that existed when the first listener
    // was added. If a preloaded module has added one before, the replaced `emit` is not called, and no signal can be
    // held.
    this.#source.on(signal, () => {
      if (!this.#emitting) listener()
    })
    return this
  }

  /** Call this in a handler added with `on`: delays the application's listeners until `release()`. */
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
