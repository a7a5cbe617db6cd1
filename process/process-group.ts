/**
 * Ends a child together with all processes of its process group: launchers and development servers fork the process
 * that listens. A process that has left the group (`detached`) is meant to stay.
 */

import type { Clock } from '../protocol/net/clock.ts'
import { processTable } from './process-table.ts'
import type { Child } from './supervise.ts'

/** How long remaining processes may take to end after SIGTERM before they are killed, ms. No request waits for them. */
const GROUP_GRACE = 2_000
/** Time for the system to end processes after SIGKILL, ms: a process that waits for a device may never end. */
const KILL_GRACE = 1_000
/** How often to check whether a process is left, ms: the system has no event for this. */
const LOOK_PAUSE = 25

/**
 * The same child, but it counts as exited only when its process group is empty, and SIGKILL is sent to the whole group.
 *
 * @param pid undefined: the child could not be started
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

/** Sends a signal to a process group. @returns whether the group has a process; signal 0 only checks this */
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

/**
 * Whether a group has a process that is not a zombie. Zombies can be signalled, and stay for ever if the first process
 * of a container image does not wait for them.
 */
function isAlive(group: number): boolean {
  if (!signalGroup(group, 0)) return false
  return processTable()?.some((one) => one.group === group && !one.isZombie) ?? true
}
