/**
 * The backoff before the next attempt: doubled, limited, and jittered, so that many proxies do not retry at the same
 * time.
 */

interface BackoffOptions {
  /** Milliseconds before the second attempt. */
  readonly first: number
  /** The longest backoff, milliseconds. */
  readonly most: number
}

/**
 * Milliseconds to wait after `failures` failures in a row: between half of the doubled time and all of it ("equal
 * jitter"). The minimum above zero keeps a peer that refuses connections from being dialed in a tight loop.
 *
 * @param failures 1 or more
 * @param random returns a number from 0 to below 1
 */
export function backoff(failures: number, { first, most }: BackoffOptions, random: () => number): number {
  const full = Math.min(most, first * 2 ** Math.min(failures - 1, 30))
  return full / 2 + (full / 2) * random()
}
