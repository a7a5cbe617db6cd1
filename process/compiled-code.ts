/**
 * A server that is quiet keeps the code that V8 has made for it.
 *
 * After some 8 s in which little happens V8 collects "to reduce memory". It then also drops the shapes of objects of which none is alive, as is
 * so for all of a request's when there is none, and with them all code that was optimised for them: the first seconds of requests after a
 * quiet one cost twice as much as those before (measured: an Express container 160 µs of CPU for each instead of 85, and three seconds
 * until that was over). What it costs: a process that was busy and is quiet keeps some 25 MB that it would have given back, and what Node loads of
 * itself only later is compiled anew (the first `fetch()` takes some 40 ms longer).
 */

import { setFlagsFromString } from 'node:v8'

/** By V8's major version. None for one that is not known: it would complain of a flag that it has not. */
const FLAGS: Readonly<Record<string, { readonly flag: string; readonly usual: string }>> = {
  // It collects as before, and keeps shapes for as long as it does when it is busy.
  13: { flag: '--no-memory-reducer-favors-memory', usual: '--memory-reducer-favors-memory' },
  // There is no such choice any more: an hour goes by before it does so.
  14: { flag: '--gc-memory-reducer-start-delay-ms=3600000', usual: '--gc-memory-reducer-start-delay-ms=30000' },
}

/** What this process's V8 is told, if it is known, and what is so without. */
export const memoryReducerFlag: { readonly flag: string; readonly usual: string } | undefined =
  FLAGS[process.versions.v8.split('.')[0]!]

/**
 * For processes that serve and nothing else, once all is loaded: it changes what V8 does in all of the process, and compiled code that was kept
 * under other flags is none to V8. At the process's end it is as before, so that Node's compile cache can be used by the next.
 */
export function keepCompiledCode(): void {
  if (memoryReducerFlag === undefined) return
  // A performance trick: docs/performance-tricks.md has its gain, and the command that shows it.
  setFlagsFromString(memoryReducerFlag.flag)
  process.once('exit', () => setFlagsFromString(memoryReducerFlag!.usual))
}
