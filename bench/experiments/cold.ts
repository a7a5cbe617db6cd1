/** The first seconds of fresh processes, which is what clients see after each start of a rolling deploy. */

import { withFresh } from '../measure/fleet.ts'
import type { SetupName } from '../peers/peers.ts'
import { roundOrder } from '../report/statistics.ts'
import { attemptRound, type Experiment } from './experiment.ts'
import { closedLoopRound } from './throughput.ts'

/** From the first request on, after one that shows that the setup is ready. */
const COLD_SECONDS = 3

export function cold(plan: {
  readonly name: string
  readonly title: string
  readonly setups: readonly SetupName[]
  readonly core: boolean
  readonly rounds: number
}): Experiment {
  const { name } = plan
  return {
    name,
    title: plan.title,
    setups: plan.setups,
    metrics: ['rate', 'cpu', 'p50', 'p99', 'memory', 'errors'],
    core: plan.core,
    needs: 'wrk',
    async run(bench, contestants) {
      const { settings, say, skipped } = bench
      const rounds = settings.rounds ?? (settings.quick ? 1 : plan.rounds)
      const left = new Set(contestants)
      for (let index = 0; index < rounds; index++) {
        for (const contestant of roundOrder(contestants, index)) {
          if (!left.has(contestant)) continue
          await withFresh([contestant], { say, skipped, warmUpSeconds: 0 }, async ([setup]) => {
            const done =
              setup !== undefined &&
              (await attemptRound(bench, name, contestant, () => {
                const load = { port: setup.port, path: '/', connections: 64, seconds: COLD_SECONDS, upload: 0 }
                return closedLoopRound(bench, name, setup, load)
              }))
            if (!done) left.delete(contestant)
          })
        }
      }
    },
  }
}
