/** A run as Markdown, for the terminal and for README.md: summary, all figures, and the history of recorded runs. */

import { type Chart, charts } from '../draw/charts.ts'
import { experiments } from '../experiments/experiments.ts'
import { type SetupName, titleOf } from '../peers/peers.ts'
import type { Ledger } from './ledger.ts'
import { type MetricName, metrics } from './metrics.ts'
import { type HistoryLine, ledgerOf, nameOf, type Results } from './results.ts'
import { figure, places, table } from './table.ts'
import { limits, type Reached, reached, targets } from './targets.ts'

/** The machine, the load and the revision of a run. */
export function circumstances({ date, mode, machine }: Results): string {
  const { cores, node, others, loadBefore, foreignPercent, stolenPercent, revision } = machine
  const versions = Object.entries({ Node: node, ...others }).map(([name, version]) => `${name} ${version}`)
  return [
    `${date.slice(0, 10)}, revision ${revision}, ${mode}.`,
    `${cores} cores that load and servers share; load average before the run ${places(loadBefore, 1)};`,
    `during the run other processes used ${places(foreignPercent, 0)} % of the CPU, the hypervisor ${places(stolenPercent, 1)} %.`,
    `${versions.join(', ')}.`,
  ].join(' ')
}

// More than a desktop or a cron job needs.
const QUIET_PERCENT = 10

/** A warning on top of the page if the machine was busy during the run. */
function doubt({ machine: { foreignPercent, stolenPercent } }: Results): string | undefined {
  if (foreignPercent + stolenPercent <= QUIET_PERCENT) return undefined
  return '**The machine did other work during this run: do not quote these figures, repeat the run on a quiet machine.**'
}

/** One page: how the headline comparisons stand, drawn by `pictures` and as a table, the furthest behind first. */
export function summary(results: Results, pictures: readonly Chart[] = []): string {
  const all = comparisons(results).filter(({ target }) => target.headline)
  const count = (which: Side): number => all.filter((one) => sideOf(one) === which).length
  const met = all.filter(({ verdict }) => verdict === 'met')
  const sides = `behind in ${count('behind')} of these ${all.length} comparisons, ahead in ${count('ahead')}`
  const standing = `Gantry is ${sides} and about equal in ${count('equal')}; ${met.length} reach their goal.`
  const warning = doubt(results)
  return [
    ...(warning === undefined ? [] : [warning]),
    circumstances(results),
    ...(all.length > 0 ? [`**${standing}**`] : []),
    ...pictures.map(picture),
    ...(all.length > 0 ? [lines(all)] : []),
  ].join('\n\n')
}

type Side = 'behind' | 'equal' | 'ahead'

/** Equal: the middle half of the rounds has ratios on both sides of 1. */
function sideOf({ ratio, advantage }: Reached): Side {
  if (ratio.low <= 1 && ratio.high >= 1) return 'equal'
  return advantage < 1 ? 'behind' : 'ahead'
}

/** What was measured, the furthest behind first. */
function comparisons(results: Results): Reached[] {
  return reached(ledgerOf(results))
    .filter(({ ratio }) => ratio.rounds > 0)
    .sort((a, b) => a.advantage - b.advantage)
}

function picture({ file, alt }: Chart): string {
  return `![${alt}](charts/${file})`
}

function lines(list: readonly Reached[]): string {
  const head = ['comparison', 'ratio', 'half of all rounds', 'goal', 'verdict', 'Gantry']
  return table(
    head,
    list.map((one) => {
      const { target, ratio, verdict } = one
      const sign = metrics[target.metric].better === 'higher' ? '≥' : '≤'
      const range = `${places(ratio.low)} to ${places(ratio.high)}`
      return [nameOf(target), places(ratio.median), range, `${sign} ${target.goal}`, verdict, sideOf(one)]
    }),
  )
}

/** Every table, in the order of the experiments. */
export function figures(results: Results): string {
  const ledger = ledgerOf(results)
  const parts: string[] = []
  const all = comparisons(results)
  if (all.length > 0) parts.push('**All comparisons**, the furthest behind first', lines(all))
  const measured = limits.filter(({ experiment, setup }) => ledger.setups(experiment).includes(setup))
  if (measured.length > 0) {
    const rows = measured.map(({ what, experiment, setup, metric, most }) => {
      const value = ledger.figure(experiment, setup, metric)
      return [what, figure(value), `≤ ${most}`, value <= most ? 'met' : 'missed']
    })
    parts.push('**Limits**', table(['what', 'reached', 'goal', 'verdict'], rows))
  }
  for (const experiment of experiments) {
    const setups = ledger.setups(experiment.name) as SetupName[]
    if (setups.length === 0) continue
    const rows = setups.map((setup) => [
      titleOf(setup),
      ...experiment.metrics.map((metric) => cell(metric, ledger.figure(experiment.name, setup, metric))),
      byProcess(ledger, experiment.name, setup),
    ])
    const head = ['setup', ...experiment.metrics.map((metric) => metrics[metric].title), 'CPU by process']
    const hasProcesses = rows.some((row) => row.at(-1) !== '')
    const shown = hasProcesses ? rows : rows.map((row) => row.slice(0, -1))
    parts.push(
      `**${experiment.title}** (\`${experiment.name}\`)`,
      table(hasProcesses ? head : head.slice(0, -1), shown),
    )
    const note = experiment.note?.(ledger)
    if (note !== undefined) parts.push(note)
  }
  if (results.skipped.length > 0) parts.push(`Left out:\n${results.skipped.map((reason) => `- ${reason}`).join('\n')}`)
  return parts.join('\n\n')
}

function cell(metric: MetricName, value: number): string {
  return metric === 'p50' || metric === 'p99' || metric === 'p999' ? places(value) : figure(value)
}

/** `proxy 12.1, container 7.7`; empty for a single process. */
function byProcess(ledger: Ledger, experiment: string, setup: SetupName): string {
  const roles = ledger.roles(experiment, setup)
  if (roles.length < 2) return ''
  return roles.map((role) => `${role} ${figure(ledger.figure(experiment, setup, `cpu of ${role}`))}`).join(', ')
}

/** The recorded runs, one column each, the newest first. */
export function history(runs: readonly HistoryLine[]): string {
  const newest = runs.toReversed()
  const names = [
    ...new Set([
      ...targets.filter(({ headline }) => headline).map(nameOf),
      ...newest.flatMap(({ ratios }) => Object.keys(ratios)),
    ]),
  ]
  const head = ['', ...newest.map(({ date }) => date)]
  const rows = [
    ['revision', ...newest.map(({ revision }) => revision)],
    ['load average before', ...newest.map(({ loadBefore }) => places(loadBefore, 1))],
    ['CPU used by other processes, %', ...newest.map(({ foreignPercent }) => places(foreignPercent, 0))],
    ...names.map((name) => [name, ...newest.map(({ ratios }) => places(ratios[name]))]),
  ]
  return table(head, rows)
}

/** README.md with the summary, the figures and the history of these results. */
export function page(readme: string, results: Results, runs: readonly HistoryLine[]): string {
  const parts = {
    summary: summary(results, charts(ledgerOf(results))),
    figures: figures(results),
    history: history(runs),
  }
  return Object.entries(parts).reduce((text, [name, content]) => replaceBetween(text, name, content), readme)
}

/**
 * Replaces what stands between `<!-- NAME -->` and `<!-- end of NAME -->`.
 *
 * @throws Error if the text has no such markers
 */
export function replaceBetween(text: string, name: string, content: string): string {
  const [start, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`]
  const [from, to] = [text.indexOf(start), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`expected the markers ${start} and ${end}, in this order`)
  return `${text.slice(0, from + start.length)}\n\n${content}\n\n${text.slice(to)}`
}
