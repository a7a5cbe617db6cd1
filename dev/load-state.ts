/**
 * The state of the application in development: whether a container serves, and the error of the last load. Pages that
 * show an error wait here for a change.
 */

import type { Failure } from './messages.ts'

/** The failure of a container that had served, and its time. */
interface Crash {
  readonly failure: Failure
  /** On the clock's `now()`. */
  readonly at: number
}

export class LoadState {
  /** The name of this run: a page of an earlier run is out of date. */
  readonly #session: string
  #generation = 0
  /** The `#generation` of the process that is loading, once it serves. */
  #nextGeneration = 1
  #failures = 0
  #serving = false
  #loading = false
  #closed = false
  #failure: Failure | undefined
  #crash: Crash | undefined
  #watchers: Set<() => void> = new Set()

  constructor(session: string) {
    this.#session = session
  }

  /** Whether a container serves requests. */
  get serving(): boolean {
    return this.#serving
  }

  /** Whether a container is being loaded. */
  get loading(): boolean {
    return this.#loading
  }

  /** The error of the last load, until a load succeeds. */
  get failure(): Failure | undefined {
    return this.#failure
  }

  /** The last crash of a container that had served. */
  get crash(): Crash | undefined {
    return this.#crash
  }

  /** How many callers of `until` wait for a change. */
  get watcherCount(): number {
    return this.#watchers.size
  }

  /** The name of the process that is started next, for its error pages. */
  get next(): string {
    return `${this.#session}.${this.#nextGeneration}`
  }

  /** The name of the process that serves, or served last. */
  get served(): string {
    return `${this.#session}.${this.#generation}`
  }

  /** The name of the current state, for a page that is made now. */
  get now(): string {
    return `${this.edition}${this.#loading && !this.#serving ? '.loading' : ''}`
  }

  /** Changes when changed files were loaded, with or without success; not when the same files are loaded again. */
  get edition(): string {
    return `${this.served}.${this.#failures}`
  }

  /**
   * Whether a page is out of date. A page of a process that served is out of date when another generation serves; a
   * page about a failed or running load, when anything has changed.
   */
  outdated(shown: string): boolean {
    return shown !== this.now && shown !== this.served
  }

  /**
   * @param changed whether files have changed since the serving process loaded them; false: a crashed process restarts
   */
  loadBegan(changed: boolean = true): void {
    this.#loading = true
    if (changed || this.#failure) this.#nextGeneration = this.#generation + 1
    // Pages are not out of date yet.
    this.#wake()
  }

  loaded(): void {
    this.#generation = this.#nextGeneration
    this.#serving = true
    this.#loading = false
    this.#failure = undefined
    this.#wake()
  }

  loadFailed(failure: Failure): void {
    this.#failures++
    this.#loading = false
    this.#failure = failure
    this.#wake()
  }

  /** The serving container has ended; another one is about to be started. */
  crashed(failure: Failure, at: number): void {
    this.#serving = false
    this.#loading = true
    this.#crash = { failure, at }
    this.#wake()
  }

  /** Ends all waits: nothing will change any more. */
  close(): void {
    this.#closed = true
    this.#wake()
  }

  /** Resolves with true when `condition` holds, or with false after `signal` aborts or `close` is called. */
  until(condition: () => boolean, signal: AbortSignal): Promise<boolean> {
    if (condition()) return Promise.resolve(true)
    if (this.#closed || signal.aborted) return Promise.resolve(false)
    return new Promise((resolve) => {
      const end = (met: boolean): void => {
        this.#watchers.delete(look)
        signal.removeEventListener('abort', giveUp)
        resolve(met)
      }
      const giveUp = (): void => end(false)
      const look = (): void => {
        if (condition()) end(true)
        else if (this.#closed) end(false)
      }
      this.#watchers.add(look)
      signal.addEventListener('abort', giveUp, { once: true })
    })
  }

  #wake(): void {
    for (const look of [...this.#watchers]) look()
  }
}
