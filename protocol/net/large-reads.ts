/**
 * Collects garbage after large reads. Each read allocates a 64 KiB buffer, and V8 would collect only after some 64 MiB
 * of them. A minor collection every 4 MiB keeps the process small (bodies of 1 GiB: it grows by less than 10 MiB
 * instead of 60).
 */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Bytes read between two collections: the process grows by about as much. */
const EVERY = 4 * 1024 * 1024
/** Bytes. Smaller reads create other garbage too, so that V8 collects in time by itself. */
const LARGE = 16 * 1024

type Collect = (options: { type: 'minor' }) => void

let bytes = 0
let collect: Collect | undefined

/**
 * To be called with the length of each chunk that was read from a socket or a file.
 *
 * @param length bytes
 */
export function relieve(length: number): void {
  if (length < LARGE) return
  bytes += length
  if (bytes < EVERY) return
  bytes = 0
  collect ??= findCollect()
  collect({ type: 'minor' })
}

/** The function `gc` of `node --expose-gc`, without the flag on the command line; else a function that does nothing. */
function findCollect(): Collect {
  try {
    setFlagsFromString('--expose-gc')
    const found: unknown = runInNewContext('typeof gc === "function" ? gc : undefined')
    if (typeof found === 'function') return found as Collect
  } catch {
    // A runtime that forbids flags or contexts: there the process only grows more.
  }
  return () => {}
}
