/**
 * What is to be seen now: whether a container serves, what the last load failed of, and that it has changed. Browsers that show an
 * error wait here for it to be mended. Knows neither processes nor HTTP.
 */

import type { Failure } from './messages.ts'

/** What an application failed of, and when. */
export interface Crash {
  readonly failure: Failure
  /** On the clock's `now()`. */
  readonly at: number
}

export class LoadState {
  /** Names this run: a page of an earlier one is out of date. */
  readonly #session: string
  #generation = 0
  /** What `#generation` is once the process that loads serves. */
  #coming = 1
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

  /** Whether a container takes requests. */
  get serving(): boolean {
    return this.#serving
  }

  /** Whether one is about to, or to fail. */
  get loading(): boolean {
    return this.#loading
  }

  /** What the last load failed of, until another succeeds. */
  get failure(): Failure | undefined {
    return this.#failure
  }

  /** The last end of a container that had served. */
  get crash(): Crash | undefined {
    return this.#crash
  }

  /** Those that wait for a change. */
  get watcherCount(): number {
    return this.#watchers.size
  }

  /** The name of the process that is started next: its error pages are of this generation. */
  get next(): string {
    return `${this.#session}.${this.#coming}`
  }

  /** The name of what serves, or served last: its pages are of this generation. */
  get served(): string {
    return `${this.#session}.${this.#generation}`
  }

  /** What a page shows that was made here and now. */
  get now(): string {
    return `${this.edition}${this.#loading && !this.#serving ? '.loading' : ''}`
  }

  /** Differs once what was written has been loaded, well or not: a start of the same again is no news. */
  get edition(): string {
    return `${this.served}.${this.#failures}`
  }

  /**
   * Whether a page shows what is no more. One that is of a process which served is out of date once another generation
   * serves; one of a failed load, or of waiting, when anything has changed.
   */
  outdated(shown: string): boolean {
    return shown !== this.now && shown !== this.served
  }

  /** @param changed whether files differ from those that serve; without, a process that crashed is started again */
  loadBegan(changed: boolean = true): void {
    this.#loading = true
    if (changed || this.#failure) this.#coming = this.#generation + 1
    // Not told to browsers: there is nothing else to be seen yet.
    this.#wake()
  }

  loaded(): void {
    this.#generation = this.#coming
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

  /** The container that served has ended; another is about to be started. */
  crashed(failure: Failure, at: number): void {
    this.#serving = false
    this.#loading = true
    this.#crash = { failure, at }
    this.#wake()
  }

  /** Nothing will change any more: whoever waits is let go. */
  close(): void {
    this.#closed = true
    this.#wake()
  }

  /** Resolves when `condition` holds, with true, or with false when that is given up. */
  until(condition: () => boolean, signal: AbortSignal): Promise<boolean> {
    if (condition()) return Promise.resolve(true)
    if (this.#closed || signal.aborted) return Promise.resolve(false)
    return new Promise((resolve) => {
      const end = (met: boolean): void => {
        this.#watchers.delete(look)
        signal.removeEventListener('abort', leave)
        resolve(met)
      }
      const leave = (): void => end(false)
      const look = (): void => {
        if (condition()) end(true)
        else if (this.#closed) end(false)
      }
      this.#watchers.add(look)
      signal.addEventListener('abort', leave, { once: true })
    })
  }

  #wake(): void {
    for (const look of [...this.#watchers]) look()
  }
}
