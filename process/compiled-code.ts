/**
 * Keeps a server's optimised code while no requests arrive. After about 8 s with little work V8 collects garbage "to
 * reduce memory" and drops the shapes of objects that do not exist at that moment, and all code that was optimised for
 * them.
 */

import { setFlagsFromString } from 'node:v8'

/** Flags by V8's major version. An unknown version gets none: V8 prints an error for a flag that it does not know. */
const FLAGS: Readonly<Record<string, { readonly flag: string; readonly usual: string }>> = {
  // Collections still happen, but keep shapes as long as in a busy process.
  13: { flag: '--no-memory-reducer-favors-memory', usual: '--memory-reducer-favors-memory' },
  // V8 14 has no such flag: delay these collections by an hour.
  14: { flag: '--gc-memory-reducer-start-delay-ms=3600000', usual: '--gc-memory-reducer-start-delay-ms=30000' },
}

/** The flag for this process's V8, and V8's default. Undefined for an unknown version. */
export const memoryReducerFlag: { readonly flag: string; readonly usual: string } | undefined =
  FLAGS[process.versions.v8.split('.')[0]!]

/**
 * For server processes only, after all modules are loaded: the flag applies to the whole process, and V8 rejects cached
 * code that was compiled under other flags. At exit the flag is reset, so that the next process can use Node's compile
 * cache.
 *
 * Measured with an Express container after 8 s without requests: without the flag, requests cost 160 µs of CPU instead
 * of 85 for three seconds. The cost: an idle process keeps about 25 MB that V8 would have freed, and Node's own modules
 * that are loaded later are compiled again (the first `fetch()` takes about 40 ms longer).
 */
export function keepCompiledCode(): void {
  if (memoryReducerFlag === undefined) return
  // A performance trick: docs/performance-tricks.md has its gain, and the command that shows it.
  setFlagsFromString(memoryReducerFlag.flag)
  process.once('exit', () => setFlagsFromString(memoryReducerFlag!.usual))
}
