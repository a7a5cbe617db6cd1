/**
 * Large reads leave a 64 KiB buffer each, which V8 frees only at its next collection; little else is allocated then, so that it waits for
 * some 64 MiB of them. Asking for a collection of the young generation every few MiB keeps a process that passes bodies on at
 * its size (measured with bodies of 1 GiB: it grows by less than 10 MiB instead of 60), and costs no more than it saves.
 */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Bytes read between two collections: about what a process grows by. */
const EVERY = 4 * 1024 * 1024
/** Smaller buffers come with other garbage, which makes V8 collect by itself. */
const LARGE = 16 * 1024

type Collect = (options: { type: 'minor' }) => void

let bytes = 0
let collect: Collect | undefined

/** To be told of every chunk that a socket gave. */
export function relieve(length: number): void {
  if (length < LARGE) return
  bytes += length
  if (bytes < EVERY) return
  bytes = 0
  collect ??= findCollect()
  collect({ type: 'minor' })
}

/** The function that `node --expose-gc` gives, without the flag on the command line; one that does nothing where there is none. */
function findCollect(): Collect {
  try {
    setFlagsFromString('--expose-gc')
    const found: unknown = runInNewContext('typeof gc === "function" ? gc : undefined')
    if (typeof found === 'function') return found as Collect
  } catch {
    // A runtime that forbids flags or contexts: it only grows more.
  }
  return () => {}
}
