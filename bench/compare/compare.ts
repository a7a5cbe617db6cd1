/** Which setups a comparison of two revisions runs, and its ratios with their spread. */

import type { Experiment } from '../experiments/experiment.ts'
import type { Contestant } from '../measure/fleet.ts'
import { thisTree } from '../peers/peer.ts'
import { type SetupName, setupOf, titleOf } from '../peers/peers.ts'
import type { Ledger, SetupKey } from '../report/ledger.ts'
import { type MetricName, metrics } from '../report/metrics.ts'
import { pairedRatios, signTest, spread } from '../report/statistics.ts'
import { figure, places, table } from '../report/table.ts'

/** The name of the working tree's own setups is the plain one. */
export function otherKey(setup: SetupName, revision: string): SetupKey {
  return `${setup}@${revision}`
}

/** Each setup from both trees, next to each other, so that the rounds that are compared are neighbours. */
export function contestantsOfBoth(
  setups: readonly SetupName[],
  revision: string,
  otherTree: string,
): readonly Contestant[] {
  return setups.flatMap((setup): Contestant[] => {
    const { peer, framework } = setupOf(setup)
    const title = titleOf(setup)
    return [
      { key: setup, title, peer, framework, root: thisTree },
      { key: otherKey(setup, revision), title: `${title} at ${revision}`, peer, framework, root: otherTree },
    ]
  })
}

// Of twenty comparisons of equal revisions, about one shows a difference by chance.
const SIGNIFICANT = 0.05

/** What ratios of rounds say: a difference only if so many lie on one side of 1 that chance is an unlikely reason. */
export function conclusion(ratios: readonly number[], better: 'higher' | 'lower'): string {
  // A round with equal figures supports neither side.
  const count = ratios.filter((ratio) => ratio !== 1).length
  const above = ratios.filter((ratio) => ratio > 1).length
  if (signTest(ratios.length, ratios.length) > SIGNIFICANT) return 'too few rounds'
  if (signTest(above, count) > SIGNIFICANT) return 'no difference shown'
  return above > count - above === (better === 'higher') ? 'better' : 'worse'
}

// Metrics without a meaningful ratio: the rate that was asked for, and counts that are mostly zero.
const uncompared: readonly MetricName[] = ['asked', 'answered', 'errors']

/** The working tree ÷ the revision, for each experiment, setup and metric. */
export function comparison(ledger: Ledger, experiments: readonly Experiment[], revision: string): string {
  const rows = experiments.flatMap(({ name, metrics: columns }) =>
    ledger
      .setups(name)
      .filter((key): key is SetupName => !key.includes('@'))
      .flatMap((setup) =>
        columns
          .filter((metric) => !uncompared.includes(metric))
          .map((metric) => {
            const other = otherKey(setup, revision)
            const ratios = pairedRatios(ledger.values(name, setup, metric), ledger.values(name, other, metric))
            const ratio = spread(ratios)
            const { title, better } = metrics[metric]
            return [
              `${name}: ${setup}, ${title}`,
              figure(ledger.figure(name, setup, metric)),
              figure(ledger.figure(name, other, metric)),
              places(ratio.median, 3),
              `${places(ratio.low, 3)} to ${places(ratio.high, 3)}`,
              String(ratio.rounds),
              conclusion(ratios, better),
            ]
          }),
      ),
  )
  const head = ['', 'this tree', revision, 'ratio', 'half of all rounds', 'rounds', '']
  const failed = errors(ledger, experiments)
  return [table(head, rows), ...(failed === undefined ? [] : [failed])].join('\n\n')
}

function errors(ledger: Ledger, experiments: readonly Experiment[]): string | undefined {
  const failed = experiments.flatMap(({ name }) =>
    ledger.setups(name).flatMap((key) => {
      const count = ledger.figure(name, key, 'errors')
      return count > 0 ? [`${name}: ${key} ${count}`] : []
    }),
  )
  return failed.length === 0 ? undefined : `Failed requests: ${failed.join(', ')}.`
}
