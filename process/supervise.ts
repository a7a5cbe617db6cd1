/**
 * Keeps one child running: starts it again after a crash, more and more slowly, until it is stopped. Knows no processes,
 * only handles, and no clock but the one it is given.
 */

import { backoff } from '../protocol/net/backoff.ts'
import type { Clock, Timer } from '../protocol/net/clock.ts'
import type { StopSignal } from './signals.ts'

export interface ChildExit {
  /** Null if there is a `signal`, or if the child could not be started. */
  readonly code: number | null
  readonly signal: string | null
}

/** A child that was started. */
export interface Child<Ready> {
  /** Resolves when it serves; stays pending when it ends before. */
  readonly ready: Promise<Ready>
  /** Resolves when it has ended; never rejects. */
  readonly exited: Promise<ChildExit>
  /** Of a child that reports it while it drains: resolves when no request can reach it any more. */
  readonly noMoreRequests?: Promise<void>
  /** Tells the child before its stop that no load balancer needs notice. */
  skipNotice?(): void
  kill(signal: StopSignal | 'SIGKILL'): void
}

export interface SuperviseOptions<Ready> {
  readonly clock: Clock
  readonly random: () => number
  readonly start: () => Child<Ready>
  /** Each time a child serves. */
  readonly onReady: (ready: Ready) => void
  /** A child ended by itself; another is started in `wait` milliseconds. */
  readonly onCrash: (exit: ChildExit, wait: number) => void
  /** A child has not exited within `grace` milliseconds after it was asked to stop, and is killed. */
  readonly onOverdue?: (grace: number) => void
}

// The first restart is nearly at once, since most crashes are single; a broken application is tried every 5 s.
const BACKOFF = { first: 100, most: 5_000 }
/**
 * Time for the system to end a process after SIGKILL, ms: a process that waits for a device may never end, and a stop
 * must not wait for it.
 */
export const KILL_MILLISECONDS = 2_000
// One that served this long had not been broken: its crash counts as the first again.
const STEADY_MILLISECONDS = 10_000

export class Supervised<Ready> {
  readonly #options: SuperviseOptions<Ready>
  #child: Child<Ready> | undefined
  #timer: Timer | undefined
  #failures = 0
  #stopping = false
  /** Whether `restart` was called before the first child was ready. */
  #isOutdated = false
  #isStarting = false

  constructor(options: SuperviseOptions<Ready>) {
    this.#options = options
  }

  /** Starts the first child. @returns what it is ready with, or how it ended, in which case nothing was started again. */
  async start(): Promise<{ ready: Ready } | { exit: ChildExit }> {
    const child = this.#options.start()
    this.#child = child
    this.#isStarting = true
    const first = await Promise.race([
      child.ready.then((ready) => ({ ready })),
      child.exited.then((exit) => ({ exit })),
    ])
    this.#isStarting = false
    if ('ready' in first) {
      this.#options.onReady(first.ready)
      void this.#watch(child, this.#options.clock.now())
      if (this.#isOutdated) this.restart()
    } else {
      this.#child = undefined
    }
    return first
  }

  /**
   * Asks the child to drain. No new child is started.
   *
   * @param grace milliseconds until the child is killed; Infinity: never
   * @param signal what asks it: an application may have a handler for one of them alone
   * @param skipNotice whether the child stops without notice to load balancers
   * @returns how the child ended; undefined if there was no child, or if even SIGKILL does not end it
   */
  async stop(
    grace: number,
    signal: StopSignal = 'SIGTERM',
    skipNotice: boolean = false,
  ): Promise<ChildExit | undefined> {
    this.#stopping = true
    this.#timer?.cancel()
    const child = this.#child
    if (child === undefined) return undefined
    const { clock } = this.#options
    const late = Promise.withResolvers<undefined>()
    let timer = clock.after(grace, () => {
      this.#options.onOverdue?.(grace)
      child.kill('SIGKILL')
      timer = clock.after(KILL_MILLISECONDS, () => late.resolve(undefined))
    })
    if (skipNotice) child.skipNotice?.()
    child.kill(signal)
    const exit = await Promise.race([child.exited, late.promise])
    timer.cancel()
    return exit
  }

  /** Has the child drain and end, and starts another, as after a crash. Without effect while it stops. */
  restart(): void {
    // A draining child would take a second signal for an order to end at once.
    if (this.#stopping) return
    // A first child that ends before it is ready counts as one that cannot start.
    if (this.#isStarting) this.#isOutdated = true
    else this.#child?.kill('SIGTERM')
  }

  /** Resolves when no request can reach the draining child any more. */
  get noMoreRequests(): Promise<void> {
    return this.#child?.noMoreRequests ?? Promise.withResolvers<void>().promise
  }

  /** Ends the child at once. */
  kill(): void {
    this.#stopping = true
    this.#timer?.cancel()
    this.#child?.kill('SIGKILL')
  }

  /** @param readyAt On the clock's `now()`; undefined: it has yet to serve. */
  async #watch(child: Child<Ready>, readyAt: number | undefined): Promise<void> {
    const { clock, random, onReady, onCrash } = this.#options
    let since = readyAt
    if (since === undefined) {
      void child.ready.then((ready) => {
        since = clock.now()
        if (!this.#stopping) onReady(ready)
      })
    }
    const exit = await child.exited
    this.#child = undefined
    if (this.#stopping) return
    if (since !== undefined && clock.now() - since >= STEADY_MILLISECONDS) this.#failures = 0
    this.#failures++
    const wait = backoff(this.#failures, BACKOFF, random)
    this.#timer = clock.after(wait, () => {
      this.#child = this.#options.start()
      void this.#watch(this.#child, undefined)
    })
    onCrash(exit, wait)
  }
}
