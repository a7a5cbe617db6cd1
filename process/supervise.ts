/**
 * Keeps one child running: restarts it with backoff after a crash, until it is stopped. Works on handles: `children.ts`
 * starts the processes.
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
  /** Resolves when the child serves; stays pending if the child ends before. */
  readonly ready: Promise<Ready>
  /** Resolves when the child has ended; never rejects. */
  readonly exited: Promise<ChildExit>
  /** Resolves when no request can reach the draining child any more, if the child reports that. */
  readonly noMoreRequests?: Promise<void>
  /** Tells the child, before its stop, that no load balancer needs notice. */
  skipNotice?(): void
  kill(signal: StopSignal | 'SIGKILL'): void
}

interface SuperviseOptions<Ready> {
  readonly clock: Clock
  readonly random: () => number
  readonly start: () => Child<Ready>
  /** Called each time a child serves. */
  readonly onReady: (ready: Ready) => void
  /** Called when a child has ended by itself; another is started in `wait` milliseconds. */
  readonly onCrash: (exit: ChildExit, wait: number) => void
  /** Called when a child has not exited within `grace` milliseconds after it was asked to stop, and is killed. */
  readonly onOverdue?: (grace: number) => void
}

// The first restart is nearly immediate, since most crashes are single; a broken application is restarted every 5 s.
const BACKOFF = { first: 100, most: 5_000 }
/**
 * Time for the system to end a process after SIGKILL, ms: a process that waits for a device may never end, and a stop
 * must not wait for it.
 */
export const KILL_MILLISECONDS = 2_000
// A child that served this long was not broken: its crash counts as the first one again.
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

  /** Starts the first child. @returns its `ready`, or how it ended; in this case no other child is started */
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
   * @param signal the signal to send: an application may handle only one of the stop signals
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

  /** Drains the child, and starts another after it has ended, as after a crash. Has no effect during a stop. */
  restart(): void {
    // A draining child would exit immediately at a second signal.
    if (this.#stopping) return
    // If the first child ended before it is ready, it would count as one that cannot start.
    if (this.#isStarting) this.#isOutdated = true
    else this.#child?.kill('SIGTERM')
  }

  /** Resolves when no request can reach the draining child any more. */
  get noMoreRequests(): Promise<void> {
    return this.#child?.noMoreRequests ?? Promise.withResolvers<void>().promise
  }

  /** Kills the child. */
  kill(): void {
    this.#stopping = true
    this.#timer?.cancel()
    this.#child?.kill('SIGKILL')
  }

  /** @param readyAt on the clock's `now()`; undefined: the child does not serve yet */
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
