/** A run's results as they are kept in JSON, and the short line of each recorded run in the history. */

import type { Machine } from '../machine.ts'
import { type Entry, Ledger } from './ledger.ts'
import { metrics } from './metrics.ts'
import { reached, type Target } from './targets.ts'

export interface Results {
  /** ISO 8601, when the run ended. */
  readonly date: string
  readonly mode: string
  readonly machine: Machine
  /** What was left out or failed, and why. */
  readonly skipped: readonly string[]
  readonly entries: readonly Entry[]
}

export interface HistoryLine {
  readonly date: string
  readonly revision: string
  readonly loadBefore: number
  readonly foreignPercent: number
  /** Medians of the headline targets, by `nameOf`. */
  readonly ratios: Readonly<Record<string, number>>
}

export function nameOf({ what, metric }: Target): string {
  return `${what}, ${metrics[metric].title}`
}

export function ledgerOf({ entries }: Results): Ledger {
  const ledger = new Ledger()
  for (const { experiment, setup, metric, values } of entries) {
    for (const value of values) ledger.add(experiment, setup, metric, value)
  }
  return ledger
}

export function historyLine(results: Results): HistoryLine {
  const { date, machine } = results
  const headlines = reached(ledgerOf(results)).filter(({ target, ratio }) => target.headline && ratio.rounds > 0)
  return {
    date: date.slice(0, 10),
    revision: machine.revision,
    loadBefore: Math.round(machine.loadBefore * 10) / 10,
    foreignPercent: Math.round(machine.foreignPercent),
    ratios: Object.fromEntries(
      headlines.map(({ target, ratio }) => [nameOf(target), Math.round(ratio.median * 100) / 100]),
    ),
  }
}
