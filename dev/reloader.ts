/**
 * Keeps one container process serving what the files say: starts another when they have changed, has it take over once it is ready, and lets the
 * one before finish. One that does not come up changes nothing: who serves goes on. Knows no files, no proxy and no real processes,
 * only handles, and no clock but the one it is given.
 *
 * At any time at most one process is loading. A change while it does ends that one, and its end is waited for before the next begins: the
 * latest wins, and two never race.
 */

import type { StopSignal } from '../process/signals.ts'
import { type Child, type ChildExit, KILL_MILLISECONDS } from '../process/supervise.ts'
import { backoff } from '../protocol/net/backoff.ts'
import type { Clock, Timer } from '../protocol/net/clock.ts'

/** Requests reach a process over this. */
export interface ChildLink {
  /** It can be sent requests. */
  readonly ready: Promise<void>
  /** Sends it nothing new, at once; what runs there is finished. */
  stop(reason: string): void
}

export interface ReloaderOptions<Ready> {
  readonly clock: Clock
  /** In [0, 1). */
  readonly random: () => number
  /** Milliseconds that a process which was replaced may take to finish its requests. */
  readonly grace: number
  readonly start: () => Child<Ready>
  readonly connect: (ready: Ready) => ChildLink
  /** A process begins to load. */
  readonly onLoading: () => void
  /** From now on every request goes to `child`. `milliseconds`: how long that took from its start. */
  readonly onServing: (child: Child<Ready>, milliseconds: number) => void
  /** `child` ended before it served; what served before still does. */
  readonly onFailed: (child: Child<Ready>, exit: ChildExit) => void
  /** The one that served has ended by itself; another is started in `wait` milliseconds, or at the next change. */
  readonly onCrashed: (child: Child<Ready>, exit: ChildExit, wait: number) => void
}

/** An editor that saves several files takes a few milliseconds for each; a checkout of a branch somewhat longer. */
const QUIET_MILLISECONDS = 60
/** Files that change all the time are no reason to show nothing for good. */
const MOST_QUIET_MILLISECONDS = 1_000
/** As for the pair (supervise.ts): most crashes are single, and an application that crashes at once is not tried all the time. */
const BACKOFF = { first: 100, most: 5_000 }
const STEADY_MILLISECONDS = 10_000
/** Processes that still finish requests of before. Beyond, the eldest is ended: twenty saves with an endless response open in a browser are not twenty processes. */
const MOST_RETIRED = 3

interface Serving<Ready> {
  readonly child: Child<Ready>
  readonly connection: ChildLink
  readonly since: number
}

export class Reloader<Ready> {
  readonly #options: ReloaderOptions<Ready>
  /** Every process that has not ended. */
  readonly #alive: Set<Child<Ready>> = new Set()
  readonly #retired: Child<Ready>[] = []
  #serving: Serving<Ready> | undefined
  #wanted = false
  #running = false
  #stopping = false
  /** The signal of the stop. */
  #signal: StopSignal = 'SIGTERM'
  #supersede: (() => void) | undefined
  #timer: Timer | undefined
  #changedAt: number | undefined
  #crashes = 0

  constructor(options: ReloaderOptions<Ready>) {
    this.#options = options
  }

  /** Starts the first process. */
  start(): void {
    this.#requestLoad()
  }

  /** A file has changed. Others may be about to. */
  changed(): void {
    if (this.#stopping) return
    const { clock } = this.#options
    this.#changedAt ??= clock.now()
    const left = this.#changedAt + MOST_QUIET_MILLISECONDS - clock.now()
    this.#timer?.cancel()
    this.#timer = clock.after(Math.max(0, Math.min(QUIET_MILLISECONDS, left)), () => this.#requestLoad())
  }

  /**
   * Ends all; resolves when every process has ended.
   *
   * @param grace milliseconds for processes to end by themselves
   * @param signal sent to the serving process: an application may handle only one of the stop signals
   * @returns how the serving process ended; undefined if there was none, or if even SIGKILL does not end it
   */
  async stop(grace: number, signal: StopSignal = 'SIGTERM'): Promise<ChildExit | undefined> {
    this.#stopping = true
    this.#signal = signal
    this.#timer?.cancel()
    this.#supersede?.()
    const serving = this.#serving?.child
    if (serving) this.#retire(serving, signal)
    const { clock } = this.#options
    const late = Promise.withResolvers<void>()
    let timer = clock.after(grace, () => {
      for (const child of this.#alive) child.kill('SIGKILL')
      timer = clock.after(KILL_MILLISECONDS, late.resolve)
    })
    let exit: ChildExit | undefined
    void serving?.exited.then((one) => {
      exit = one
    })
    await Promise.race([Promise.all([...this.#alive].map(({ exited }) => exited)), late.promise])
    timer.cancel()
    return exit
  }

  /** Ends all at once. */
  kill(): void {
    this.#stopping = true
    this.#timer?.cancel()
    for (const child of this.#alive) child.kill('SIGKILL')
  }

  #requestLoad(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#changedAt = undefined
    this.#wanted = true
    this.#supersede?.()
    void this.#run()
  }

  async #run(): Promise<void> {
    if (this.#running) return
    this.#running = true
    while (this.#wanted && !this.#stopping) {
      this.#wanted = false
      await this.#load()
    }
    this.#running = false
  }

  /** One process, from its start until it serves, has ended, or is not wanted any more. */
  async #load(): Promise<void> {
    const { clock, connect, onLoading, onServing, onFailed } = this.#options
    onLoading()
    const began = clock.now()
    const child = this.#begin()
    const superseded = new Promise<'superseded'>((resolve) => {
      this.#supersede = () => resolve('superseded')
    })
    const ended = child.exited.then((exit) => ({ exit }))
    const first = await Promise.race([child.ready.then((ready) => ({ ready })), ended, superseded])
    if (first === 'superseded') {
      this.#supersede = undefined
      // It has served nothing that could be finished, and a module that hangs would not hear anything milder.
      child.kill('SIGKILL')
      await child.exited
      return
    }
    if ('exit' in first) {
      this.#supersede = undefined
      onFailed(child, first.exit)
      return
    }
    const connection = connect(first.ready)
    const second = await Promise.race([connection.ready.then(() => 'linked' as const), ended, superseded])
    this.#supersede = undefined
    if (second !== 'linked') {
      connection.stop('it does not serve')
      if (second === 'superseded') {
        child.kill('SIGKILL')
        await child.exited
      } else onFailed(child, second.exit)
      return
    }
    const before = this.#serving
    this.#serving = { child, connection, since: clock.now() }
    void child.exited.then((exit) => this.#ended(child, exit))
    before?.connection.stop('a newer one serves')
    onServing(child, clock.now() - began)
    // The stop came after `child` had loaded, and has retired the process that served before.
    if (this.#stopping) this.#retire(child, this.#signal)
    else if (before) this.#retire(before.child, 'SIGTERM')
  }

  #begin(): Child<Ready> {
    const child = this.#options.start()
    this.#alive.add(child)
    void child.exited.then(() => {
      this.#alive.delete(child)
      const at = this.#retired.indexOf(child)
      if (at !== -1) this.#retired.splice(at, 1)
    })
    return child
  }

  /** Lets it finish, within its grace. */
  #retire(child: Child<Ready>, signal: StopSignal): void {
    if (this.#retired.push(child) > MOST_RETIRED) this.#retired[0]!.kill('SIGKILL')
    child.kill(signal)
    const { clock, grace } = this.#options
    const timer = clock.after(grace, () => child.kill('SIGKILL'))
    void child.exited.then(() => timer.cancel())
  }

  /** One that had begun to serve. */
  #ended(child: Child<Ready>, exit: ChildExit): void {
    const serving = this.#serving
    if (serving?.child !== child) return
    this.#serving = undefined
    serving.connection.stop('it has ended')
    if (this.#stopping) return
    const { clock, random, onCrashed } = this.#options
    if (clock.now() - serving.since >= STEADY_MILLISECONDS) this.#crashes = 0
    this.#crashes++
    const wait = backoff(this.#crashes, BACKOFF, random)
    // A process that loads meanwhile, or a change that is about to start one, takes its place.
    if (!this.#running && this.#changedAt === undefined) this.#timer = clock.after(wait, () => this.#requestLoad())
    onCrashed(child, exit, wait)
  }
}
