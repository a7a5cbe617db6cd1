/**
 * Counts the bytes that have passed through a socket, from Node's handle: a stream reports only the end of a write.
 * `net.Socket` reads the handle's `writeQueueSize` for its own timeout.
 */

import type { Duplex } from 'node:stream'

/** The part of libuv's handle that is used here. */
interface Handle {
  /** Bytes written to it. */
  readonly bytesWritten?: unknown
  /** Those of them that the operating system has not accepted yet: decreases while a large write proceeds. */
  readonly writeQueueSize?: unknown
}

/**
 * Bytes that the operating system has accepted from `socket`, unfinished writes included; undefined without a handle.
 */
export function acceptedBySystem(socket: Duplex): number | undefined {
  const handle = (socket as { _handle?: Handle | null })._handle
  const written = handle?.bytesWritten
  const waiting = handle?.writeQueueSize
  return typeof written === 'number' && typeof waiting === 'number' ? written - waiting : undefined
}

/** Bytes read from `socket`; 0 if it does not count them. */
export function readFrom(socket: Duplex): number {
  return (socket as { bytesRead?: number }).bytesRead ?? 0
}
