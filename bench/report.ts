/** The ledger as Markdown: targets first, then every experiment. Used for the terminal and for the README alike. */

import { titleOf } from './arrangements.ts'
import { experiments } from './experiments.ts'
import type { Ledger } from './ledger.ts'
import { metrics, roundsExperiments } from './rounds.ts'
import { figure, places, table } from './table.ts'
import { judge, targets } from './targets.ts'

export interface Machine {
  readonly cores: number
  readonly node: string
  readonly others: Readonly<Record<string, string>>
}

export function report(ledger: Ledger, machine: Machine, skipped: readonly string[], mode: string): string {
  const others = Object.entries(machine.others).map(([name, version]) => `, ${name} ${version}`)
  const parts = [
    `${machine.cores} cores (load and servers share them, nothing is pinned), Node ${machine.node}${others.join('')}; ${mode}.`,
    targetTable(ledger),
  ]
  for (const { name, title, path, connections } of roundsExperiments) {
    const arrangements = ledger.arrangements(name)
    if (arrangements.length === 0) continue
    const megabytes = path !== '/' || connections === 1
    const rows = arrangements.map((arrangement) => {
      const value = (metric: string): number => ledger.median(name, arrangement, metric)
      return [
        titleOf(arrangement),
        figure(value(metrics.rate)),
        places(value(metrics.cpu), megabytes ? 0 : 1),
        places(value(metrics.p50)),
        places(value(metrics.p99)),
        split(ledger, name, arrangement),
        String(ledger.values(name, arrangement, metrics.errors).reduce((sum, count) => sum + count, 0)),
      ]
    })
    const head = ['setup', 'requests/s', 'CPU µs/request', 'p50 ms', 'p99 ms', 'CPU by process', 'errors']
    parts.push(`**${title}**`, table(head, rows))
  }
  for (const { name, title } of experiments) {
    const entries = ledger.entries.filter(({ experiment }) => experiment.startsWith(name))
    if (entries.length === 0) continue
    const columns = [
      ...new Set(entries.map(({ experiment, metric }) => `${experiment.slice(name.length)} ${metric}`.trim())),
    ]
    const rows = [...new Set(entries.map(({ arrangement }) => arrangement))].map((arrangement) => [
      titleOf(arrangement),
      ...columns.map((column) => {
        const entry = entries.find(
          (candidate) =>
            candidate.arrangement === arrangement &&
            `${candidate.experiment.slice(name.length)} ${candidate.metric}`.trim() === column,
        )
        if (entry === undefined) return '–'
        // Of memory the worst counts, of all else the median.
        return figure(
          column.includes('RSS')
            ? ledger.highest(entry.experiment, arrangement, entry.metric)
            : ledger.median(entry.experiment, arrangement, entry.metric),
        )
      }),
    ])
    parts.push(`**${title}**`, table(['setup', ...columns], rows))
  }
  if (skipped.length > 0) parts.push(`Left out:\n${skipped.map((reason) => `- ${reason.split('\n')[0]}`).join('\n')}`)
  return parts.join('\n\n')
}

function targetTable(ledger: Ledger): string {
  const rows = targets.map((target) => {
    const { what, comparison, goal, target: aim, unit } = target
    const reached = target.reach(ledger)
    const sign = comparison === '>=' ? '≥' : '≤'
    const asked = (value: number | undefined): string => (value === undefined ? '–' : `${sign} ${value}${unit}`)
    return [
      what,
      asked(goal),
      asked(aim),
      Number.isFinite(reached) ? `${places(reached)}${unit}` : '–',
      judge(target, reached),
    ]
  })
  return table(['what', 'goal now', 'target', 'reached', 'verdict'], rows)
}

function split(
  ledger: Ledger,
  experiment: string,
  arrangement: (typeof ledger.entries)[number]['arrangement'],
): string {
  const prefix = 'CPU µs/request of '
  const entries = ledger.entries.filter(
    (entry) => entry.experiment === experiment && entry.arrangement === arrangement && entry.metric.startsWith(prefix),
  )
  if (entries.length < 2) return ''
  return entries
    .map(({ metric }) => `${metric.slice(prefix.length)} ${figure(ledger.median(experiment, arrangement, metric))}`)
    .join(', ')
}
