/**
 * Messages between fixture applications and tests, in requests alone, so that an application in another process works
 * too. Events have a key of the test. Gates hold an application: each release lets one step continue, and an early
 * release is kept.
 */

export class Journal {
  readonly #events: Map<string, string[]> = new Map()
  readonly #readers: Set<() => void> = new Set()
  readonly #released: Map<string, number> = new Map()
  readonly #held: Map<string, (() => void)[]> = new Map()

  record(key: string, event: string): void {
    const events = this.#events.get(key) ?? []
    events.push(event)
    this.#events.set(key, events)
    for (const reader of this.#readers) reader()
  }

  /** The events of `key`, when there are `count` of them. */
  async events(key: string, count: number, signal: AbortSignal): Promise<string[]> {
    for (;;) {
      const events = this.#events.get(key) ?? []
      if (events.length >= count) return events
      const changed = Promise.withResolvers<void>()
      this.#readers.add(changed.resolve)
      const gone = (): void => changed.reject(signal.reason)
      signal.addEventListener('abort', gone)
      try {
        await changed.promise
      } finally {
        this.#readers.delete(changed.resolve)
        signal.removeEventListener('abort', gone)
      }
    }
  }

  release(gate: string): void {
    const held = this.#held.get(gate)?.shift()
    if (held) held()
    else this.#released.set(gate, (this.#released.get(gate) ?? 0) + 1)
  }

  /** Resolves at the next release; rejects when the request is aborted. */
  async held(gate: string, signal: AbortSignal): Promise<void> {
    const ready = this.#released.get(gate) ?? 0
    if (ready > 0) {
      this.#released.set(gate, ready - 1)
      return
    }
    signal.throwIfAborted()
    const released = Promise.withResolvers<void>()
    const waiting = this.#held.get(gate) ?? []
    waiting.push(released.resolve)
    this.#held.set(gate, waiting)
    const gone = (): void => {
      const all = this.#held.get(gate)
      const at = all?.indexOf(released.resolve) ?? -1
      if (at !== -1) all?.splice(at, 1)
      released.reject(signal.reason)
    }
    signal.addEventListener('abort', gone)
    try {
      await released.promise
    } finally {
      signal.removeEventListener('abort', gone)
    }
  }
}

/** Resolves when `signal` is aborted, with the code of the reason. */
export function whenAborted(signal: AbortSignal): Promise<string> {
  const code = (): string => String((signal.reason as { code?: unknown } | undefined)?.code)
  if (signal.aborted) return Promise.resolve(code())
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(code()), { once: true }))
}
