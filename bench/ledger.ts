/** Every figure that was measured, flat: an experiment, an arrangement, a metric, and one value a round. */

import type { ArrangementName } from './arrangements.ts'
import { median, pairedRatio } from './statistics.ts'

export interface Entry {
  readonly experiment: string
  readonly arrangement: ArrangementName
  /** With its unit, as `requests/s`. */
  readonly metric: string
  /** In the order of the rounds. */
  readonly values: number[]
}

export class Ledger {
  readonly entries: Entry[] = []

  add(experiment: string, arrangement: ArrangementName, metric: string, value: number): void {
    const entry = this.#find(experiment, arrangement, metric)
    if (entry) entry.values.push(value)
    else this.entries.push({ experiment, arrangement, metric, values: [value] })
  }

  values(experiment: string, arrangement: ArrangementName, metric: string): readonly number[] {
    return this.#find(experiment, arrangement, metric)?.values ?? []
  }

  median(experiment: string, arrangement: ArrangementName, metric: string): number {
    return median(this.values(experiment, arrangement, metric))
  }

  /** The highest value; NaN when there is none. */
  highest(experiment: string, arrangement: ArrangementName, metric: string): number {
    const values = this.values(experiment, arrangement, metric)
    return values.length === 0 ? Number.NaN : Math.max(...values)
  }

  /** The median of round-by-round ratios; NaN when a side is missing. */
  ratio(experiment: string, metric: string, over: ArrangementName, under: ArrangementName): number {
    return pairedRatio(this.values(experiment, over, metric), this.values(experiment, under, metric))
  }

  /** The arrangements that an experiment measured, in the order they came. */
  arrangements(experiment: string): ArrangementName[] {
    return [...new Set(this.entries.filter((entry) => entry.experiment === experiment).map((e) => e.arrangement))]
  }

  #find(experiment: string, arrangement: ArrangementName, metric: string): Entry | undefined {
    return this.entries.find(
      (entry) => entry.experiment === experiment && entry.arrangement === arrangement && entry.metric === metric,
    )
  }
}
