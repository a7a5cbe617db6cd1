/** Latency at a fixed rate, the same for all setups: how long users wait for a server that is not overloaded. */

import type { Started } from '../measure/fleet.ts'
import { h2load } from '../measure/h2load.ts'
import { withUsage } from '../measure/load.ts'
import { findProgram, programs } from '../measure/programs.ts'
import { wrk } from '../measure/wrk.ts'
import type { SetupName } from '../peers/peers.ts'
import { roundOrder } from '../report/statistics.ts'
import { figure, places } from '../report/table.ts'
import { addUsage, attemptRound, type Bench, type Experiment } from './experiment.ts'

const LEAD_SECONDS = 1

/** The highest rate that is chosen without `--rate`. */
const HIGHEST_RATE = 15_000

/** The rate if wrk is missing, so that the capacity is unknown: even slow machines can answer it. */
const CAREFUL_RATE = 2_000

/** A server answers fewer than this share of the requests in time if it does not keep up. */
const KEPT_UP = 0.98

/** Half of what the slowest setup can answer, in hundreds: a rate at which no setup is overloaded. */
export function rateFor(capacities: readonly number[]): number {
  if (capacities.length === 0) return CAREFUL_RATE
  return Math.max(100, Math.min(HIGHEST_RATE, Math.floor(Math.min(...capacities) / 2 / 100) * 100))
}

async function chooseRate({ say, settings }: Bench, started: readonly Started[]): Promise<number> {
  if (settings.rate !== undefined) return settings.rate
  const capacities: number[] = []
  if (findProgram(programs.wrk.names) !== undefined) {
    for (const { port } of started) {
      const { requests, seconds } = await wrk({ port, path: '/', connections: 64, seconds: 1, upload: 0 })
      capacities.push(requests / seconds)
    }
  }
  const rate = rateFor(capacities)
  say(`  ${figure(rate)} requests/s: half of what the slowest setup answers (--rate chooses another)`)
  return rate
}

export function fixedRate(plan: {
  readonly name: string
  readonly title: string
  readonly setups: readonly SetupName[]
  readonly rounds: number
}): Experiment {
  const { name } = plan
  return {
    name,
    title: plan.title,
    setups: plan.setups,
    metrics: ['asked', 'answered', 'p50', 'p99', 'p999', 'cpu', 'memory', 'errors'],
    core: true,
    needs: 'h2load',
    note(ledger) {
      const behind = ledger
        .setups(name)
        .filter((key) => ledger.figure(name, key, 'answered') < KEPT_UP * ledger.figure(name, key, 'asked'))
      return behind.length === 0
        ? undefined
        : `Did not keep up with the rate, so that their latencies are those of a queue: ${behind.join(', ')}.`
    },
    async run(bench, contestants) {
      const { ledger, fleet, settings, say } = bench
      const rounds = settings.rounds ?? (settings.quick ? 1 : plan.rounds)
      // 1,000 requests lie above p99.9 of a million; a round of 10 s at 15,000/s has 150.
      const seconds = settings.seconds ?? (settings.quick ? 3 : 10)
      const started = await fleet.start(contestants, 'off')
      if (started.length === 0) return
      const rate = await chooseRate(bench, started)
      const failed = new Set<string>()
      for (let index = 0; index < rounds; index++) {
        for (const setup of roundOrder(started, index)) {
          const { contestant, port } = setup
          const { key } = contestant
          if (failed.has(key)) continue
          const done = await attemptRound(bench, name, contestant, async () => {
            const log = fleet.workshop.path('h2load.log')
            const result = await withUsage(
              setup,
              ({ total }) => total,
              () => h2load({ port, path: '/', rate, lead: LEAD_SECONDS, seconds, log }),
            )
            const { p50, p99, p999, errors } = result
            ledger.add(name, key, 'asked', rate)
            ledger.add(name, key, 'answered', result.rate)
            for (const [metric, value] of Object.entries({ p50, p99, p999, errors })) {
              ledger.add(name, key, metric as 'p50' | 'p99' | 'p999' | 'errors', value)
            }
            addUsage(ledger, name, setup, result)
            const latency = `p50 ${places(p50)}  p99 ${places(p99)}  p99.9 ${places(p999)} ms`
            const text = `${figure(result.rate).padStart(8)} requests/s  ${latency}  ${places(result.cpu, 1)} µs CPU`
            say(`  ${key.padEnd(20)} ${text}${errors > 0 ? `  ${errors} errors` : ''}`)
          })
          if (!done) failed.add(key)
        }
      }
    },
  }
}
