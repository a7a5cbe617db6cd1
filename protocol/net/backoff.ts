/** How long to wait before the next try: doubling, capped, and jittered, so that many proxies do not return in step. Pure. */

export interface BackoffOptions {
  /** Milliseconds before the second try. */
  readonly first: number
  /** Milliseconds at most. */
  readonly most: number
}

/**
 * Milliseconds to wait after `failures` failures in a row (1 or more): between half of the doubled time and all of it
 * ("equal jitter"; a floor above zero keeps a refusing peer from being called in a tight loop).
 */
export function backoff(failures: number, { first, most }: BackoffOptions, random: () => number): number {
  const full = Math.min(most, first * 2 ** Math.min(failures - 1, 30))
  return full / 2 + (full / 2) * random()
}
