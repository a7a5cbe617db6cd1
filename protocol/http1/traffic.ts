/**
 * How many bytes of a socket have passed: read from Node's handle, since a stream says of a write only that it is over. The handle's counts are
 * what `net.Socket`'s own timeout looks at.
 */

import type { Duplex } from 'node:stream'

/** The part of libuv's handle that is read here. */
interface Handle {
  /** Bytes given to it. */
  readonly bytesWritten?: unknown
  /** Bytes of them that the operating system has not taken: falls while a large write proceeds. */
  readonly writeQueueSize?: unknown
}

/** Bytes that the operating system has taken from `socket` in all, those of an unfinished write too; undefined where nobody counts them. */
export function takenBySystem(socket: Duplex): number | undefined {
  const handle = (socket as { _handle?: Handle | null })._handle
  const given = handle?.bytesWritten
  const waiting = handle?.writeQueueSize
  return typeof given === 'number' && typeof waiting === 'number' ? given - waiting : undefined
}

/** Bytes that were read from `socket`; 0 where nobody counts them. */
export function readFrom(socket: Duplex): number {
  return (socket as { bytesRead?: number }).bytesRead ?? 0
}
