/** Loaded into a process before its own code (`--import`): reports over IPC how much memory the process still uses. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** The message that requests a report. */
export const HELD_QUESTION = 'held'

/** The report: bytes of the heap and of buffers outside the heap, after a collection. */
export interface Held {
  readonly held: number
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

process.on('message', (message) => {
  if (message !== HELD_QUESTION) return
  // The first collection frees the objects; the second frees what their finalisers have released.
  collect()
  setImmediate(() => {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    process.send?.({ held: heapUsed + external } satisfies Held)
  })
})
process.channel?.unref()
