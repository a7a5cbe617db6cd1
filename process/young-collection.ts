/**
 * Collects the young generation every few MiB of large reads. Each read leaves a 64 KiB buffer, which V8 frees only at
 * its next collection; while a process passes bodies on, it allocates little else, so V8 waits for some 64 MiB of them.
 */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { onLargeReads } from '../protocol/net/large-reads.ts'

/**
 * Bytes read between two collections: about what a process grows by. Measured with bodies of 1 GiB: the process grows
 * by less than 10 MiB instead of 60, and a collection costs no more CPU than it saves.
 */
const INTERVAL = 4 * 1024 * 1024

type Collect = (options: { type: 'minor' }) => void

/**
 * For server processes only: at the first collection it sets `--expose-gc` for the whole process.
 *
 * @returns a function that ends the collections; the V8 flag stays
 */
export function collectYoungGeneration(): () => void {
  let collect: Collect | undefined
  return onLargeReads(INTERVAL, () => {
    collect ??= findCollect()
    collect({ type: 'minor' })
  })
}

/**
 * The function that `node --expose-gc` provides, without the flag on the command line. A function without effect if the
 * runtime has none.
 */
function findCollect(): Collect {
  try {
    setFlagsFromString('--expose-gc')
    const found: unknown = runInNewContext('typeof gc === "function" ? gc : undefined')
    if (typeof found === 'function') return found as Collect
  } catch {
    // A runtime that forbids flags or contexts: the process grows more, and works.
  }
  return () => {}
}
