/**
 * Opens a descriptor so that writing log lines does not wait for its reader. A write to a full pipe, terminal or socket
 * blocks its thread, and Node waits for its threads before it exits. `log-output.ts` writes the lines.
 */

import { constants, fstatSync, openSync } from 'node:fs'
import { isatty } from 'node:tty'

/**
 * What a write can wait for.
 *
 * - `never`: nothing; a full pipe, socket or terminal refuses the write (EAGAIN)
 * - `disk`: a disk, but not a reader
 */
type Waits = 'never' | 'disk'

/** A descriptor for log lines. */
export interface LogDescriptor {
  readonly descriptor: number
  /** Call it before each write, since another process that shares the descriptor may have changed its mode. */
  waits(): Waits
}

const ownMode = constants.O_WRONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0) | constants.O_APPEND

/** Returns a descriptor to which log lines can be written without waiting for the reader of `descriptor`. */
export function logDescriptor(descriptor: number): LogDescriptor {
  const disk: LogDescriptor = { descriptor, waits: () => 'disk' }
  const kind = kindOf(descriptor)
  if (kind === 'device') return { descriptor, waits: () => 'never' }
  if (kind === 'file') return disk
  if (kind !== 'socket') {
    const own = reopened(descriptor)
    if (own !== undefined) return { descriptor: own, waits: () => 'never' }
    // The terminal of another user (su) cannot be opened again. Only the person at the terminal can pause it (Ctrl-S).
    if (kind === 'terminal') return disk
  }
  return { descriptor, waits: () => (setNonBlocking(descriptor) ? 'never' : 'disk') }
}

type Kind = 'file' | 'pipe' | 'socket' | 'terminal' | 'device'

function kindOf(descriptor: number): Kind {
  try {
    const stats = fstatSync(descriptor)
    if (stats.isFIFO()) return 'pipe'
    if (stats.isSocket()) return 'socket'
    if (stats.isCharacterDevice()) return isatty(descriptor) ? 'terminal' : 'device'
  } catch {
    // The descriptor is closed: every write fails at once.
    return 'device'
  }
  return 'file'
}

/**
 * Opens the pipe or terminal again, only for this process: O_NONBLOCK then affects no other process, and no other
 * process resets it (a Node process restores the original mode when it exits). This works only on Linux, and not for
 * sockets.
 */
function reopened(descriptor: number): number | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    return openSync(`/proc/self/fd/${descriptor}`, ownMode)
  } catch {
    return undefined
  }
}

/** Sets O_NONBLOCK, as Node does for standard streams that are pipes or sockets. Returns whether that was possible. */
function setNonBlocking(descriptor: number): boolean {
  const stream = descriptor === 1 ? process.stdout : descriptor === 2 ? process.stderr : undefined
  // Node has no other API for the mode of a descriptor. It costs one fcntl(2).
  const handle = (stream as { _handle?: { setBlocking?(blocking: boolean): number } } | undefined)?._handle
  return handle?.setBlocking?.(false) === 0
}
