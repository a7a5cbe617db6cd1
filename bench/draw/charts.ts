/** Which charts the page has, from a ledger: a file name and its SVG each. */

import { type SetupName, setupOf, titleOf } from '../peers/peers.ts'
import type { Ledger } from '../report/ledger.ts'
import { type MetricName, metrics } from '../report/metrics.ts'
import { spread } from '../report/statistics.ts'
import { betterOf, reached } from '../report/targets.ts'
import { barChart, type Group } from './bars.ts'
import { ratioChart } from './ratios.ts'

export interface Chart {
  readonly file: string
  /** What the picture shows, for the page's text. */
  readonly alt: string
  readonly svg: string
}

interface Series {
  readonly label: string
  readonly experiment: string
  readonly metric: MetricName
}

/** The charts for which something was measured. */
export function charts(ledger: Ledger): Chart[] {
  return [overview(ledger), throughput(ledger), latency(ledger), cpu(ledger), memory(ledger)].filter(
    (chart) => chart !== undefined,
  )
}

function overview(ledger: Ledger): Chart | undefined {
  const rows = reached(ledger)
    .filter(({ target, ratio }) => target.headline && ratio.rounds > 0)
    .map(({ target, ratio, advantage }) => {
      const better = (value: number): number => (betterOf(target.metric) === 'higher' ? value : 1 / value)
      return {
        label: `${target.what}, ${metrics[target.metric].title}`,
        advantage,
        low: better(ratio.low),
        high: better(ratio.high),
        goal: better(target.goal),
      }
    })
  if (rows.length === 0) return undefined
  const title = 'Gantry against its peers: how many times as good'
  const subtitle = 'right of “equal”: Gantry is ahead; line: half of all rounds lie on it; purple: what we aim at'
  return { file: 'overview.svg', alt: title, svg: ratioChart(title, subtitle, rows) }
}

function throughput(ledger: Ledger): Chart | undefined {
  return grouped(ledger, {
    file: 'throughput.svg',
    title: 'Requests per second, warm and cold',
    subtitle:
      '13 B, 64 connections, browser headers, no access log; cold: the first 3 s of fresh processes; more is better',
    unit: '/s',
    series: [
      { label: 'warm', experiment: 'hello', metric: 'rate' },
      { label: 'cold', experiment: 'cold', metric: 'rate' },
    ],
  })
}

function latency(ledger: Ledger): Chart | undefined {
  const asked = spread(ledger.setups('fixed-rate').flatMap((key) => ledger.values('fixed-rate', key, 'asked'))).median
  return grouped(ledger, {
    file: 'latency.svg',
    title: `Latency at ${Math.round(asked).toLocaleString('en-US')} requests per second`,
    subtitle: 'the same rate for all, counted from when a request was due; 13 B, no access log; less is better',
    unit: 'ms',
    series: (['p50', 'p99', 'p999'] as const).map((metric) => ({
      label: metrics[metric].title.replace(' ms', ''),
      experiment: 'fixed-rate',
      metric,
    })),
  })
}

function cpu(ledger: Ledger): Chart | undefined {
  return grouped(ledger, {
    file: 'cpu.svg',
    title: 'CPU for each request, all server processes',
    subtitle: '13 B, 64 connections, no access log; less is better',
    unit: 'µs',
    series: [{ label: 'warm', experiment: 'hello', metric: 'cpu' }],
  })
}

function memory(ledger: Ledger): Chart | undefined {
  return grouped(ledger, {
    file: 'memory.svg',
    title: 'Resident memory after the load, all server processes',
    subtitle: '13 B, 64 connections, no access log; pages that processes share count in each; less is better',
    unit: 'MiB',
    series: [{ label: 'warm', experiment: 'hello', metric: 'memory' }],
  })
}

function grouped(
  ledger: Ledger,
  plan: {
    readonly file: string
    readonly title: string
    readonly subtitle: string
    readonly unit: string
    readonly series: readonly Series[]
  },
): Chart | undefined {
  const names = [...new Set(plan.series.flatMap(({ experiment }) => ledger.setups(experiment)))] as SetupName[]
  const groups = names
    .map(
      (setup): Group => ({
        label: titleOf(setup),
        ours: setupOf(setup).peer.gantry,
        values: plan.series
          .map(({ experiment, metric }) => spread(ledger.values(experiment, setup, metric)))
          .filter(({ rounds }) => rounds > 0),
      }),
    )
    // A setup of which only a part was measured is in the tables, not in the picture.
    .filter(({ values }) => values.length === plan.series.length)
  if (groups.length === 0) return undefined
  const better = betterOf(plan.series[0]!.metric) === 'higher' ? -1 : 1
  groups.sort((a, b) => better * (a.values[0]!.median - b.values[0]!.median))
  const { file, title, subtitle, unit } = plan
  const series = plan.series.map(({ label }) => label)
  return { file, alt: title, svg: barChart({ title, subtitle, unit, series, groups }) }
}
