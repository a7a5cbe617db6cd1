/**
 * Counts the bytes of large reads, for a process that collects garbage in step with them
 * (`process/young-collection.ts`). In a program that uses Gantry as a library nobody asks for the count, and this file
 * has no effect.
 */

/** Smaller buffers are freed with other garbage, which makes V8 collect by itself. */
const LARGE = 16 * 1024

let every = Number.POSITIVE_INFINITY
let bytes = 0
let collect: () => void = () => {}

/**
 * Calls `act` each time that large reads have brought another `interval` bytes into this process.
 *
 * @returns a function that ends this
 */
export function onLargeReads(interval: number, act: () => void): () => void {
  every = interval
  bytes = 0
  collect = act
  return () => {
    every = Number.POSITIVE_INFINITY
    bytes = 0
    collect = () => {}
  }
}

/** To be called for each chunk that a socket or a file gave. @param length bytes */
export function countRead(length: number): void {
  if (length < LARGE || every === Number.POSITIVE_INFINITY) return
  bytes += length
  if (bytes < every) return
  bytes = 0
  collect()
}
