/** Numbers from rounds: medians, paired ratios, verdicts. Knows neither servers nor how a round is run. */

/** The middle of the values (the mean of the middle two); NaN when there are none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return Number.NaN
  if (sorted.length % 2 === 1) return sorted[middle]!
  return (sorted[middle - 1]! + sorted[middle]!) / 2
}

/**
 * The median of `numerators[i] / denominators[i]`. Rounds of one index ran next to each other, so that what disturbed
 * the machine then disturbed both; a round that one side lacks is left out.
 */
export function pairedRatio(numerators: readonly number[], denominators: readonly number[]): number {
  const ratios: number[] = []
  for (let at = 0; at < Math.min(numerators.length, denominators.length); at++) {
    const ratio = numerators[at]! / denominators[at]!
    if (Number.isFinite(ratio)) ratios.push(ratio)
  }
  return median(ratios)
}

/** The order of the arrangements in round `index`: forwards and backwards in turn, so that a drift favours none. */
export function roundOrder<T>(items: readonly T[], index: number): readonly T[] {
  return index % 2 === 0 ? items : items.toReversed()
}

export type Verdict = 'met' | 'missed' | 'not measured'

/** Whether `reached` is at least (`'>='`) or at most (`'<='`) the goal. No rounding in our favour. */
export function verdict(reached: number | undefined, comparison: '>=' | '<=', goal: number): Verdict {
  if (reached === undefined || !Number.isFinite(reached)) return 'not measured'
  return (comparison === '>=' ? reached >= goal : reached <= goal) ? 'met' : 'missed'
}
