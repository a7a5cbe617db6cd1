/**
 * Finds bytes that arrived at a socket while the event loop was busy, so that a connection in which a request waits is
 * not closed as idle.
 */

import { readSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** Bytes of one read: as many as libuv reads at once. */
const READ = 64 * 1024

/** One buffer for all reads: the bytes are copied from it. */
const scratch = Buffer.allocUnsafeSlow(READ)

/**
 * Whether bytes wait in the operating system's buffer of `socket`. Node can find out only by reading them: the stream
 * receives them when the current callback ends, before it reads again itself.
 *
 * Always false for TLS, and on systems where Node does not know the descriptor of a socket (Windows).
 */
export function receiveUnread(socket: Duplex): boolean {
  const descriptor = descriptorOf(socket)
  if (descriptor === undefined) return false
  let length: number
  try {
    length = readSync(descriptor, scratch)
  } catch {
    // EAGAIN: no bytes wait. Any other error: the connection is broken.
    return false
  }
  // The client has closed its side.
  if (length === 0) return false
  const bytes = Buffer.from(scratch.subarray(0, length))
  process.nextTick(() => {
    if (!socket.destroyed) socket.push(bytes)
  })
  return true
}

function descriptorOf(socket: Duplex): number | undefined {
  if (!(socket instanceof Socket) || socket.destroyed || 'encrypted' in socket) return undefined
  const handle = (socket as { _handle?: { readonly fd?: unknown } | null })._handle
  return typeof handle?.fd === 'number' && handle.fd >= 0 ? handle.fd : undefined
}
