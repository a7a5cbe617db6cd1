/** Child processes as handles for `supervise.ts`: a child reports over its IPC channel that it is ready. */

import type { ChildProcess } from 'node:child_process'
import type { Address } from '../protocol/net/address.ts'
import type { Clock, Timer } from '../protocol/net/clock.ts'
import { childMessageOf, type SkipNoticeMessage } from './run.ts'
import type { Child, ChildExit } from './supervise.ts'

/** Reports a child whose start takes long and whose event loop is blocked, so that it cannot log this itself. */
interface StartWatch {
  readonly clock: Clock
  /** Called every 15 s until the child is ready, has ended, or logs its slow start itself. */
  readonly onBlocked: (seconds: number) => void
}

/** Longer than the interval at which a child logs its slow start (`run.ts`). */
const BLOCKED_MILLISECONDS = 15_000

/**
 * Starts a child process.
 *
 * @param start starts the process with an IPC channel
 * @param onError called if the process could not be started, or a message could not be sent to it
 */
export function childOf(
  start: () => ChildProcess,
  onError: (error: Error) => void,
  watch?: StartWatch,
): Child<readonly Address[]> {
  const ready = Promise.withResolvers<readonly Address[]>()
  const exited = Promise.withResolvers<ChildExit>()
  const noMoreRequests = Promise.withResolvers<void>()
  const child = started(start)
  if (child instanceof Error) {
    onError(child)
    return {
      ready: ready.promise,
      exited: Promise.resolve(NOT_STARTED),
      noMoreRequests: noMoreRequests.promise,
      kill: () => {},
    }
  }
  const blocked = watch && watchStart(watch)
  child.on('message', (sent) => {
    const message = childMessageOf(sent)
    if (message?.gantry === 'ready') ready.resolve(message.addresses)
    else if (message?.gantry === 'no-more-requests') noMoreRequests.resolve()
    if (message?.gantry === 'starting') blocked?.again()
    else if (message !== undefined) blocked?.end()
  })
  child.on('exit', (code, signal) => {
    blocked?.end()
    exited.resolve({ code, signal })
  })
  child.on('error', (error) => {
    onError(error)
    // If only a message could not be sent, the child still runs. Node emits no `exit` for a process that never started.
    if (child.pid !== undefined) return
    blocked?.end()
    exited.resolve(NOT_STARTED)
  })
  const kill = (signal: Parameters<Child<unknown>['kill']>[0]): void => {
    child.kill(signal)
    // A stopped process (SIGSTOP, a debugger) handles no signal until it continues (systemd.kill(5) sends SIGCONT too).
    if (signal !== 'SIGKILL') child.kill('SIGCONT')
  }
  const skipNotice = (): void => {
    const message: SkipNoticeMessage = { gantry: 'skip-notice' }
    if (child.connected) child.send(message, () => {})
  }
  return { ready: ready.promise, exited: exited.promise, noMoreRequests: noMoreRequests.promise, kill, skipNotice }
}

function watchStart({ clock, onBlocked }: StartWatch): { again(): void; end(): void } {
  const began = clock.now()
  let timer: Timer | undefined
  const wait = (): void => {
    timer = clock.after(BLOCKED_MILLISECONDS, () => {
      onBlocked(Math.round((clock.now() - began) / 1_000))
      wait()
    })
  }
  wait()
  return {
    // Has no effect after the end: a message may arrive after the child's exit, and an application may send any
    // message.
    again: () => {
      if (timer === undefined) return
      timer.cancel()
      wait()
    },
    end: () => {
      timer?.cancel()
      timer = undefined
    },
  }
}

/** The exit of a child process that could not be started. */
export const NOT_STARTED: ChildExit = { code: null, signal: null }

/**
 * Calls `start`, and returns an error that it throws. Node reports some failures of the system as an event and throws
 * others (no file descriptors, memory or processes).
 */
export function started(start: () => ChildProcess): ChildProcess | Error {
  try {
    return start()
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

/** `SIGKILL`, `exit code 1`. */
export function describeExit({ code, signal }: ChildExit): string {
  return signal ?? (code === null ? 'it could not be started' : `exit code ${code}`)
}
