/** Loaded into a process before its own code (`--import`): says how much memory it still holds, when asked over IPC. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** What a process is asked. */
export const HELD_QUESTION = 'held'

/** What it answers: bytes of the heap and of buffers outside it, after a collection. */
export interface Held {
  readonly held: number
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

process.on('message', (message) => {
  if (message !== HELD_QUESTION) return
  // The first frees the objects, the second what their finalisers let go of.
  collect()
  setImmediate(() => {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    process.send?.({ held: heapUsed + external } satisfies Held)
  })
})
process.channel?.unref()
