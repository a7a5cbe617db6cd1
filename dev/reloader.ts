/**
 * Starts a new container process when files have changed, lets it take over when it is ready, and lets the old process
 * finish its requests. If the new process fails, the old one continues. Works on handles: `child.ts` starts the
 * processes.
 */

import type { StopSignal } from '../process/signals.ts'
import { type Child, type ChildExit, KILL_MILLISECONDS } from '../process/supervise.ts'
import { backoff } from '../protocol/net/backoff.ts'
import type { Clock, Timer } from '../protocol/net/clock.ts'

/** The link over which a process gets requests. */
export interface ChildLink {
  /** Resolves when the process can get requests. */
  readonly ready: Promise<void>
  /** Sends the process no new requests from now on; running ones finish. */
  stop(reason: string): void
}

interface ReloaderOptions<Ready> {
  readonly clock: Clock
  /** Returns numbers in [0, 1). */
  readonly random: () => number
  /** How long a replaced process may take to finish its requests, ms. */
  readonly grace: number
  readonly start: () => Child<Ready>
  readonly connect: (ready: Ready) => ChildLink
  /** Called when a process begins to load. */
  readonly onLoading: () => void
  /** Called when all new requests go to `child`. @param milliseconds since its start */
  readonly onServing: (child: Child<Ready>, milliseconds: number) => void
  /** Called when `child` has ended before it served; the previous process still serves. */
  readonly onFailed: (child: Child<Ready>, exit: ChildExit) => void
  /**
   * Called when the serving process has ended by itself; another is started in `wait` milliseconds, or at the next
   * change.
   */
  readonly onCrashed: (child: Child<Ready>, exit: ChildExit, wait: number) => void
}

/**
 * How long no file may change before a reload, ms: an editor saves several files within milliseconds, a checkout takes
 * longer.
 */
const SETTLE_MILLISECONDS = 60
/** The longest delay of a reload, ms, for files that change all the time. */
const SETTLE_MAX_MILLISECONDS = 1_000
/**
 * As in `supervise.ts`: most crashes are single, and an application that crashes immediately must not restart all the
 * time.
 */
const BACKOFF = { first: 100, most: 5_000 }
const STEADY_MILLISECONDS = 10_000
/**
 * How many replaced processes may still finish requests; the oldest further one is killed. Twenty saves while a browser
 * has an endless response open must not leave twenty processes.
 */
const RETIRED_MAX = 3

interface Serving<Ready> {
  readonly child: Child<Ready>
  readonly connection: ChildLink
  readonly since: number
}

/**
 * At most one process loads at any time. A change during a load kills the loading process, and the next one starts
 * after its end: the latest change wins, and two processes never race.
 */
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

  /** A file has changed. Other files may follow. */
  changed(): void {
    if (this.#stopping) return
    const { clock } = this.#options
    this.#changedAt ??= clock.now()
    const left = this.#changedAt + SETTLE_MAX_MILLISECONDS - clock.now()
    this.#timer?.cancel()
    this.#timer = clock.after(Math.max(0, Math.min(SETTLE_MILLISECONDS, left)), () => this.#requestLoad())
  }

  /**
   * Ends all processes; resolves when all have ended.
   *
   * @param grace milliseconds until processes are killed
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

  /** Kills all processes. */
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

  /** Starts a process, and waits until it serves, has ended, or is superseded by a change. */
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
      // It has no requests to finish, and a module that blocks the event loop handles no other signal.
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
    before?.connection.stop('a newer process serves')
    onServing(child, clock.now() - began)
    // `stop` was called after `child` had loaded, and has retired only the previous process.
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

  /** Lets a process finish its requests within the grace. */
  #retire(child: Child<Ready>, signal: StopSignal): void {
    if (this.#retired.push(child) > RETIRED_MAX) this.#retired[0]!.kill('SIGKILL')
    child.kill(signal)
    const { clock, grace } = this.#options
    const timer = clock.after(grace, () => child.kill('SIGKILL'))
    void child.exited.then(() => timer.cancel())
  }

  /** A process that served has ended. */
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
    // A process that is loading, or about to be started after a change, replaces it.
    if (!this.#running && this.#changedAt === undefined) this.#timer = clock.after(wait, () => this.#requestLoad())
    onCrashed(child, exit, wait)
  }
}
