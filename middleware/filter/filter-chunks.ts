/** Filters a body that is complete: an array of chunks becomes an array of chunks. */

import type { Awaitable, Filter } from './filter.ts'
import { EMPTY, isPromise } from './filtered-bodies.ts'

/** Returns the output at once if the filter does. The caller closes the filter. */
export function filterChunks(chunks: readonly Uint8Array[], filter: Filter): Awaitable<Uint8Array[]> {
  const output: Uint8Array[] = []
  const keep = (out: Uint8Array | undefined): void => {
    if (out && out.length > 0) output.push(out)
  }
  for (let at = 0; at < chunks.length; at++) {
    if (chunks[at]!.length === 0) continue
    const out = filter.push(chunks[at]!)
    if (isPromise(out)) return continued(chunks, at, out, filter, output)
    keep(out)
  }
  const out = filter.end()
  if (isPromise(out)) return continued(chunks, chunks.length, out, filter, output)
  keep(out)
  return output
}

/** @param pending the result of the push of `chunks[at]`, or of `end()` after the last chunk */
async function continued(
  chunks: readonly Uint8Array[],
  at: number,
  pending: Promise<Uint8Array | undefined>,
  filter: Filter,
  output: Uint8Array[],
): Promise<Uint8Array[]> {
  output.push((await pending) ?? EMPTY)
  for (let next = at + 1; next < chunks.length; next++) {
    if (chunks[next]!.length > 0) output.push((await filter.push(chunks[next]!)) ?? EMPTY)
  }
  if (at < chunks.length) output.push((await filter.end()) ?? EMPTY)
  return output
}
