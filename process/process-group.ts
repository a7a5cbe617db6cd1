/**
 * A child that leads a process group, with all that it started: launchers and development servers fork the process that listens. What has left the
 * group (`detached`) was meant to stay.
 */

import type { Clock } from '../protocol/net/clock.ts'
import { processTable } from './process-table.ts'
import type { Child } from './supervise.ts'

/** For what the child has left running to end after SIGTERM before it is killed, ms. Nobody waits for its answers any more. */
const GROUP_GRACE = 2_000
/** Time for the system to end processes after SIGKILL, ms: a process that waits for a device may never end. */
const KILL_GRACE = 1_000
/** Between two looks whether somebody is left, ms: the system does not tell. */
const LOOK_PAUSE = 25

/**
 * The same child, which has exited when nothing is left of its group, and whose SIGKILL reaches all of it.
 *
 * @param pid undefined: it could not be started
 */
export function withGroup<Ready>(child: Child<Ready>, pid: number | undefined, clock: Clock): Child<Ready> {
  if (pid === undefined) return child
  return {
    ...child,
    exited: child.exited.then(async (exit) => {
      await endGroup(pid, clock)
      return exit
    }),
    kill: (signal) => {
      if (signal !== 'SIGKILL' || !signalGroup(pid, signal)) child.kill(signal)
    },
  }
}

/** @returns whether there is a process in the group; signal 0 only asks */
export function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-pid, signal)
  } catch {
    return false
  }
}

/** Ends the processes left in a group whose leader has ended: with SIGTERM, and after 2 s with SIGKILL. */
export async function endGroup(pid: number, clock: Clock): Promise<void> {
  if (!signalGroup(pid, 'SIGTERM') || (await isGone(pid, GROUP_GRACE, clock))) return
  signalGroup(pid, 'SIGKILL')
  // The next child may need a port that this one holds until the system has ended it.
  await isGone(pid, KILL_GRACE, clock)
}

/** Waits for the end of a process group. @returns false if a process is left after `grace` milliseconds */
async function isGone(pid: number, grace: number, clock: Clock): Promise<boolean> {
  const deadline = clock.now() + grace
  while (clock.now() < deadline) {
    await new Promise<void>((resolve) => clock.after(LOOK_PAUSE, resolve))
    if (!isAlive(pid)) return true
  }
  return false
}

/** Zombies can be signalled, and stay for ever where the first process of a container image does not wait for them. */
function isAlive(group: number): boolean {
  if (!signalGroup(group, 0)) return false
  return processTable()?.some((one) => one.group === group && !one.isZombie) ?? true
}
