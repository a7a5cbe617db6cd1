/**
 * Tracks and ends the child processes of an application, and on Linux their descendants. `child-servers.ts` finds out
 * whether one of them listens.
 */

import type { ChildProcess } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { descendantsOf, type ProcessEntry, processTable } from '../../process/process-table.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'

/** Time for child processes to end after SIGTERM before they are killed, ms. No request uses them, so it is short. */
const END_GRACE = 2_000
/** Time for the system to end a process after SIGKILL, ms. A process that waits for a device may never end. */
const KILL_GRACE = 1_000
/** Time between two reads of the process table, ms: the system does not report the end of a grandchild. */
const TABLE_INTERVAL = 25

/** Any interval, ms: the timer only keeps the event loop from being empty. */
const HOLD_INTERVAL = 60_000

/** Replacements of system functions, for tests. */
export interface ChildProcessesOptions {
  readonly clock?: Clock | undefined
  /** Returns undefined if the system has no process table: then only direct child processes are known. */
  readonly table?: (() => readonly ProcessEntry[] | undefined) | undefined
  readonly kill?: ((pid: number, signal: 'SIGTERM' | 'SIGKILL') => void) | undefined
  /** Emits `exit` when this process exits. */
  readonly self?: { once(event: 'exit', listener: () => void): unknown } | undefined
}

/** The child processes that start after `start()` was called. */
export class ChildProcesses {
  readonly #clock: Clock
  readonly #table: () => readonly ProcessEntry[] | undefined
  readonly #kill: (pid: number, signal: 'SIGTERM' | 'SIGKILL') => void
  readonly #self: { once(event: 'exit', listener: () => void): unknown }
  readonly #children: Set<ChildProcess> = new Set()
  #lastFailure = ''
  /** Start times of the processes to end, by pid. The system reuses pids. */
  readonly #startTimes: Map<number, string> = new Map()
  #ending: Promise<void> | undefined
  readonly #onProcess = (message: unknown): void => this.#follow((message as { process: ChildProcess }).process)

  constructor({ clock, table, kill, self }: ChildProcessesOptions = {}) {
    this.#clock = clock ?? systemClock
    this.#table = table ?? processTable
    this.#kill = kill ?? killIfRunning
    this.#self = self ?? process
  }

  /** Tracks child processes that start from now on. */
  start(): void {
    // Node publishes this for each process that node:child_process and node:cluster start (documentation of
    // diagnostics_channel).
    subscribe('child_process', this.#onProcess)
  }

  close(): void {
    unsubscribe('child_process', this.#onProcess)
  }

  /** Child processes that are running. */
  get alive(): ChildProcess[] {
    return [...this.#children].filter(
      ({ pid, exitCode, signalCode }) => pid && exitCode === null && signalCode === null,
    )
  }

  /** For messages: how the last failed child process ended; empty if none has failed. */
  get lastFailure(): string {
    return this.#lastFailure
  }

  /** Resolves when all processes that run now have ended. A launcher may start others instead. */
  async ended(): Promise<void> {
    await Promise.all(this.alive.map((child) => new Promise((resolve) => child.once('exit', resolve))))
  }

  /**
   * Ends all of them. Processes that start meanwhile are killed, at the latest when this process exits: a launcher may
   * restart each child that has ended.
   */
  end(): Promise<void> {
    return (this.#ending ??= this.#end())
  }

  async #end(): Promise<void> {
    this.#self.once('exit', () => this.#signal(this.#left(), 'SIGKILL'))
    const terminated = new Set(this.#left())
    this.#signal(terminated, 'SIGTERM')
    await this.#waitForEnd(terminated, END_GRACE)
    const left = new Set(this.#left())
    this.#signal(left, 'SIGKILL')
    await this.#waitForEnd(left, KILL_GRACE)
    this.close()
  }

  async #waitForEnd(pids: ReadonlySet<number>, grace: number): Promise<void> {
    const deadline = this.#clock.now() + grace
    // The clock's timers do not keep the process alive, and child processes do so only until they have ended.
    const hold = setInterval(() => {}, HOLD_INTERVAL)
    while (this.#left().some((pid) => pids.has(pid)) && this.#clock.now() < deadline) {
      await new Promise<void>((resolve) => this.#clock.after(TABLE_INTERVAL, resolve))
    }
    clearInterval(hold)
  }

  #signal(pids: Iterable<number>, signal: 'SIGTERM' | 'SIGKILL'): void {
    for (const pid of pids) this.#kill(pid, signal)
  }

  /** Pids of the running processes to end, including orphans that were seen before. */
  #left(): number[] {
    const children = new Set(this.alive.map(({ pid }) => pid!))
    const table = this.#table()
    if (table === undefined) return [...children]
    const ownGroup = table.find(({ pid }) => pid === process.pid)?.group
    for (const { pid, group, startedAt } of descendantsOf(process.pid, table)) {
      // A grandchild in its own process group (`detached`) is meant to outlive the application.
      if (children.has(pid) || group === ownGroup || children.has(group)) this.#startTimes.set(pid, startedAt)
    }
    return table
      .filter(({ pid, startedAt, isZombie }) => !isZombie && this.#startTimes.get(pid) === startedAt)
      .map(({ pid }) => pid)
  }

  #follow(child: ChildProcess): void {
    this.#children.add(child)
    child.once('exit', (code, signal) => {
      this.#children.delete(child)
      // Many applications run a helper at startup that exits with 0.
      if (code !== 0) this.#lastFailure = `its child process ${child.pid} ended with ${signal ?? `exit code ${code}`}`
    })
    child.once('error', () => {
      if (child.pid === undefined) this.#children.delete(child)
    })
  }
}

function killIfRunning(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, signal)
  } catch {
    // The process has ended, or belongs to another user.
  }
}
