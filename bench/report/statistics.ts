/** Numbers from rounds: medians, percentiles, paired ratios with their spread. */

/** The middle value, or the mean of the middle two; NaN without values. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** The value below which `share` (0 to 1) of the values lie, interpolated between neighbours; NaN without values. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  if (sorted.length === 0) return Number.NaN
  const at = (sorted.length - 1) * share
  const below = sorted[Math.floor(at)]!
  const above = sorted[Math.ceil(at)]!
  // Without the shortcut, two infinities would give NaN.
  return below === above ? below : below + (above - below) * (at - Math.floor(at))
}

/**
 * The smallest value that at least `share` of all values do not exceed (nearest rank): a latency that was measured,
 * never one between two; NaN without values.
 *
 * @param sorted ascending
 */
export function percentile(sorted: readonly number[], share: number): number {
  if (sorted.length === 0) return Number.NaN
  return sorted[Math.max(0, Math.ceil(sorted.length * share - 1e-9) - 1)]!
}

/**
 * `numerators[i] / denominators[i]` of rounds that ran next to each other, so that a disturbance of the machine
 * affected both. Rounds that one side lacks, and ratios that are not finite, are left out.
 */
export function pairedRatios(numerators: readonly number[], denominators: readonly number[]): number[] {
  const ratios: number[] = []
  for (let at = 0; at < Math.min(numerators.length, denominators.length); at++) {
    const ratio = numerators[at]! / denominators[at]!
    if (Number.isFinite(ratio)) ratios.push(ratio)
  }
  return ratios
}

/** The median of the rounds' ratios. */
export function pairedRatio(numerators: readonly number[], denominators: readonly number[]): number {
  return median(pairedRatios(numerators, denominators))
}

/**
 * The probability that at least so many of `count` fair coins show one side, whichever it is: the two-sided sign test.
 * A low value says that rounds with a ratio on one side of 1 are no coincidence, whatever the distribution of the
 * ratios.
 */
export function signTest(above: number, count: number): number {
  let tail = 0
  let ways = 1
  for (let at = 0; at <= Math.min(above, count - above); at++) {
    tail += ways
    ways = (ways * (count - at)) / (at + 1)
  }
  return Math.min(1, (2 * tail) / 2 ** count)
}

/** A median with the quartiles around it: half of all rounds lie between `low` and `high`. */
export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
  readonly rounds: number
}

export function spread(values: readonly number[]): Spread {
  return {
    median: median(values),
    low: quantile(values, 0.25),
    high: quantile(values, 0.75),
    rounds: values.length,
  }
}

/** The order of the setups in round `index`: forwards, then backwards, so that a drift of the machine favours none. */
export function roundOrder<T>(items: readonly T[], index: number): readonly T[] {
  return index % 2 === 0 ? items : items.toReversed()
}

export type Verdict = 'met' | 'missed' | 'not measured'

/** Whether `reached` is at least (`'>='`) or at most (`'<='`) the goal. The value is not rounded first. */
export function verdict(reached: number | undefined, comparison: '>=' | '<=', goal: number): Verdict {
  if (reached === undefined || !Number.isFinite(reached)) return 'not measured'
  return (comparison === '>=' ? reached >= goal : reached <= goal) ? 'met' : 'missed'
}
