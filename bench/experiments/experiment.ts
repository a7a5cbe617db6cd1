/** The interface of an experiment, and what a run passes to it. */

import type { Contestant, Fleet, Started } from '../measure/fleet.ts'
import type { Usage } from '../measure/load.ts'
import type { Program } from '../measure/programs.ts'
import type { SetupName } from '../peers/peers.ts'
import type { Ledger } from '../report/ledger.ts'
import type { MetricName } from '../report/metrics.ts'

/** Options of the command line; for an undefined one, each experiment has its own default. */
export interface Settings {
  readonly quick: boolean
  readonly rounds: number | undefined
  readonly seconds: number | undefined
  /** Requests per second at a fixed rate. */
  readonly rate: number | undefined
}

export interface Bench {
  readonly ledger: Ledger
  /** Starts and warms up the setups of this experiment; they end with it. */
  readonly fleet: Fleet
  readonly settings: Settings
  readonly say: (line: string) => void
  /** Collects what was left out, and why. */
  readonly skipped: string[]
}

export interface Experiment {
  /** As on the command line. */
  readonly name: string
  readonly title: string
  readonly setups: readonly SetupName[]
  /** Columns of its table. */
  readonly metrics: readonly MetricName[]
  /** Part of `--quick` and of `--compare`, unless `--only` names others. */
  readonly core: boolean
  /** Without it the experiment is left out. */
  readonly needs?: Program
  /** A note under its table, from what was measured. */
  note?(ledger: Ledger): string | undefined
  run(bench: Bench, contestants: readonly Contestant[]): Promise<void>
}

/** Adds a round's CPU and memory. */
export function addUsage(ledger: Ledger, experiment: string, { contestant, servers }: Started, usage: Usage): void {
  ledger.add(experiment, contestant.key, 'cpu', usage.cpu)
  ledger.add(experiment, contestant.key, 'memory', usage.resident / 1024 / 1024)
  servers.forEach(({ name }, at) => {
    // Processes are named LABEL-ROLE.
    ledger.add(experiment, contestant.key, `cpu of ${name.slice(name.lastIndexOf('-') + 1)}`, usage.cpuByServer[at]!)
  })
}

/** Runs one round; a failure of one setup is reported and keeps no other from its round. */
export async function attemptRound(
  { say, skipped }: Bench,
  experiment: string,
  contestant: Contestant,
  act: () => Promise<void>,
): Promise<boolean> {
  try {
    await act()
    return true
  } catch (error) {
    const reason = `${experiment}: ${contestant.title} failed: ${(error as Error).message}`
    skipped.push(reason)
    say(`  ${reason}`)
    return false
  }
}
