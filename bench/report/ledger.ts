/** Every figure that was measured, flat: an experiment, a setup, a metric, and one value per round. */

import type { SetupName } from '../peers/peers.ts'
import { type MetricName, metrics } from './metrics.ts'
import { median, pairedRatios, type Spread, spread } from './statistics.ts'

/** A setup, or with `--compare` a setup of the other revision: `pair@v1`. */
export type SetupKey = SetupName | `${SetupName}@${string}`

/** `cpu of ROLE`: one process's part of `cpu`. */
export type EntryMetric = MetricName | `cpu of ${string}`

export interface Entry {
  readonly experiment: string
  readonly setup: SetupKey
  readonly metric: EntryMetric
  /** In the order of the rounds. */
  readonly values: number[]
}

export class Ledger {
  readonly entries: Entry[] = []

  add(experiment: string, setup: SetupKey, metric: EntryMetric, value: number): void {
    const entry = this.#find(experiment, setup, metric)
    if (entry) entry.values.push(value)
    else this.entries.push({ experiment, setup, metric, values: [value] })
  }

  values(experiment: string, setup: SetupKey, metric: EntryMetric): readonly number[] {
    return this.#find(experiment, setup, metric)?.values ?? []
  }

  /** All rounds as one figure, as the metric folds them; NaN if nothing was measured. */
  figure(experiment: string, setup: SetupKey, metric: EntryMetric): number {
    const values = this.values(experiment, setup, metric)
    if (values.length === 0) return Number.NaN
    const fold = isMetric(metric) ? metrics[metric].fold : 'median'
    if (fold === 'highest') return Math.max(...values)
    if (fold === 'sum') return values.reduce((sum, value) => sum + value, 0)
    return median(values)
  }

  /** The ratio of two setups, round by round; its median is NaN if one was not measured. */
  ratio(experiment: string, metric: MetricName, over: SetupKey, under: SetupKey): Spread {
    return spread(pairedRatios(this.values(experiment, over, metric), this.values(experiment, under, metric)))
  }

  /** The setups that an experiment measured, in the order in which they were added. */
  setups(experiment: string): SetupKey[] {
    return [...new Set(this.entries.filter((entry) => entry.experiment === experiment).map(({ setup }) => setup))]
  }

  /** The processes of a setup whose CPU was measured, by role. */
  roles(experiment: string, setup: SetupKey): string[] {
    return this.entries
      .filter((entry) => entry.experiment === experiment && entry.setup === setup && !isMetric(entry.metric))
      .map(({ metric }) => metric.slice('cpu of '.length))
  }

  #find(experiment: string, setup: SetupKey, metric: EntryMetric): Entry | undefined {
    return this.entries.find(
      (entry) => entry.experiment === experiment && entry.setup === setup && entry.metric === metric,
    )
  }
}

function isMetric(metric: EntryMetric): metric is MetricName {
  return Object.hasOwn(metrics, metric)
}
