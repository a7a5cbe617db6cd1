/** Closed-loop throughput of warm setups, in alternating rounds. */

import type { Started } from '../measure/fleet.ts'
import { closedLoop } from '../measure/load.ts'
import { type ClosedLoop, wrk } from '../measure/wrk.ts'
import type { AccessLog } from '../peers/peer.ts'
import type { SetupName } from '../peers/peers.ts'
import { roundOrder } from '../report/statistics.ts'
import { figure, places } from '../report/table.ts'
import { addUsage, attemptRound, type Bench, type Experiment } from './experiment.ts'

export interface ThroughputPlan {
  readonly name: string
  readonly title: string
  readonly setups: readonly SetupName[]
  readonly path?: string
  /** Bytes of each request's body. */
  readonly upload?: number
  readonly connections?: number
  /** Uses nginx's port without buffering of bodies, which is its faster way with large ones. */
  readonly unbuffered?: boolean
  readonly accessLog?: AccessLog
  readonly core?: boolean
  readonly rounds: number
}

// A setup that was idle while the others had their rounds is not what it is under load: this load is not measured.
const LEAD_SECONDS = 1

export function throughput(plan: ThroughputPlan): Experiment {
  const { name, path = '/', upload = 0, connections = 64, accessLog = 'off' } = plan
  return {
    name,
    title: plan.title,
    setups: plan.setups,
    metrics: ['rate', 'cpu', 'p50', 'p99', 'memory', 'errors'],
    core: plan.core ?? false,
    needs: 'wrk',
    async run(bench, contestants) {
      const { fleet, settings } = bench
      const rounds = settings.rounds ?? (settings.quick ? 2 : plan.rounds)
      const seconds = settings.seconds ?? (settings.quick ? 1 : 2)
      const failed = new Set<string>()
      const started = await fleet.start(contestants, accessLog)
      for (let index = 0; index < rounds; index++) {
        for (const setup of roundOrder(started, index)) {
          const { contestant } = setup
          if (failed.has(contestant.key)) continue
          const load = { port: plan.unbuffered ? setup.streamPort : setup.port, path, upload, connections }
          const done = await attemptRound(bench, name, contestant, async () => {
            if (!settings.quick) await wrk({ ...load, seconds: LEAD_SECONDS })
            await closedLoopRound(bench, name, setup, { ...load, seconds })
          })
          if (!done) failed.add(contestant.key)
          fleet.workshop.emptyLogs()
        }
      }
    },
  }
}

/** Measures one round of a setup, and adds and prints its figures. */
export async function closedLoopRound(
  { ledger, say }: Bench,
  experiment: string,
  setup: Started,
  load: ClosedLoop,
): Promise<void> {
  const { key } = setup.contestant
  const result = await closedLoop(setup, load)
  ledger.add(experiment, key, 'rate', result.requestsPerSecond)
  ledger.add(experiment, key, 'p50', result.p50)
  ledger.add(experiment, key, 'p99', result.p99)
  ledger.add(experiment, key, 'errors', result.errors)
  addUsage(ledger, experiment, setup, result)
  const { requestsPerSecond, cpu, p99, errors } = result
  const rate = `${figure(requestsPerSecond).padStart(8)} requests/s`
  const rest = `${places(cpu, 1).padStart(7)} µs CPU  p99 ${places(p99)} ms`
  say(`  ${key.padEnd(20)} ${rate}  ${rest}${errors > 0 ? `  ${errors} errors` : ''}`)
}
