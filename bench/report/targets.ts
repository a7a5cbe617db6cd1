/** What Gantry aims at against its peers, and how each figure follows from the ledger. Contains no measured figure. */

import type { SetupName } from '../peers/peers.ts'
import type { Ledger } from './ledger.ts'
import { type MetricName, metrics } from './metrics.ts'
import { type Spread, type Verdict, verdict } from './statistics.ts'

/** A ratio of two setups in one experiment. */
export interface Target {
  readonly what: string
  readonly experiment: string
  readonly metric: MetricName
  readonly over: SetupName
  readonly under: SetupName
  /** At least, or at most, as the metric is better when it is higher or lower. */
  readonly goal: number
  /** Drawn in the overview, and one of the columns of the history. */
  readonly headline?: boolean
}

const fronts = { pair: 'pair', nginx: 'nginx → node:http', haproxy: 'HAProxy → node:http' } as const

export const targets: readonly Target[] = [
  {
    what: `warm: pair ÷ ${fronts.nginx}`,
    experiment: 'hello',
    metric: 'rate',
    over: 'pair',
    under: 'nginx-node',
    goal: 1.25,
    headline: true,
  },
  {
    what: `warm: pair ÷ ${fronts.haproxy}`,
    experiment: 'hello',
    metric: 'rate',
    over: 'pair',
    under: 'haproxy-node',
    goal: 1.2,
    headline: true,
  },
  {
    what: `warm, access logs: pair ÷ ${fronts.nginx}`,
    experiment: 'hello-logs',
    metric: 'rate',
    over: 'pair',
    under: 'nginx-node',
    goal: 1,
    headline: true,
  },
  {
    what: `warm, access logs: pair ÷ ${fronts.haproxy}`,
    experiment: 'hello-logs',
    metric: 'rate',
    over: 'pair',
    under: 'haproxy-node',
    goal: 1,
  },
  {
    what: `cold: pair ÷ ${fronts.nginx}`,
    experiment: 'cold',
    metric: 'rate',
    over: 'pair',
    under: 'nginx-node',
    goal: 0.9,
    headline: true,
  },
  {
    what: `cold: pair ÷ ${fronts.haproxy}`,
    experiment: 'cold',
    metric: 'rate',
    over: 'pair',
    under: 'haproxy-node',
    goal: 0.9,
  },
  {
    what: `warm: pair ÷ ${fronts.nginx}`,
    experiment: 'hello',
    metric: 'cpu',
    over: 'pair',
    under: 'nginx-node',
    goal: 1,
    headline: true,
  },
  {
    what: `warm, 64 connections: pair ÷ ${fronts.nginx}`,
    experiment: 'hello',
    metric: 'p99',
    over: 'pair',
    under: 'nginx-node',
    goal: 1,
    headline: true,
  },
  {
    what: `fixed rate: pair ÷ ${fronts.nginx}`,
    experiment: 'fixed-rate',
    metric: 'p50',
    over: 'pair',
    under: 'nginx-node',
    goal: 1.1,
  },
  {
    what: `fixed rate: pair ÷ ${fronts.nginx}`,
    experiment: 'fixed-rate',
    metric: 'p999',
    over: 'pair',
    under: 'nginx-node',
    goal: 1.2,
    headline: true,
  },
  {
    what: 'container’s port ÷ node:http',
    experiment: 'hello',
    metric: 'rate',
    over: 'container',
    under: 'node',
    goal: 1.4,
    headline: true,
  },
  {
    what: 'container’s port ÷ Deno.serve',
    experiment: 'hello',
    metric: 'cpu',
    over: 'container',
    under: 'deno',
    goal: 1.3,
    headline: true,
  },
  {
    what: 'pair ÷ http-proxy-3 → node:http',
    experiment: 'hello',
    metric: 'rate',
    over: 'pair',
    under: 'http-proxy',
    goal: 4.5,
  },
  {
    what: `proxy → node:http ÷ ${fronts.nginx}`,
    experiment: 'hello',
    metric: 'rate',
    over: 'pair-http',
    under: 'nginx-node',
    goal: 1,
    headline: true,
  },
  {
    what: 'nginx uwsgi_pass: container ÷ uWSGI',
    experiment: 'hello',
    metric: 'rate',
    over: 'nginx-container',
    under: 'nginx-uwsgi',
    goal: 0.75,
    headline: true,
  },
  {
    what: 'proxy with a worker per core ÷ one',
    experiment: 'hello',
    metric: 'rate',
    over: 'pair-workers',
    under: 'pair',
    goal: 1,
  },
  {
    what: 'worker per core: pair ÷ nginx → node:http',
    experiment: 'hello',
    metric: 'rate',
    over: 'pair-workers',
    under: 'nginx-workers',
    goal: 1.2,
  },
  ...(['express', 'hono'] as const).flatMap((framework): Target[] => {
    const name = { express: 'Express', hono: 'Hono' }[framework]
    const [pair, nginx] = [`pair:${framework}`, `nginx-node:${framework}`] as const
    const [container, node] = [`container:${framework}`, `node:${framework}`] as const
    const cold = `${framework}-cold`
    return [
      {
        what: `${name}, warm: pair ÷ nginx`,
        experiment: framework,
        metric: 'rate',
        over: pair,
        under: nginx,
        goal: 1.2,
      },
      { what: `${name}, warm: pair ÷ nginx`, experiment: framework, metric: 'cpu', over: pair, under: nginx, goal: 1 },
      { what: `${name}, cold: pair ÷ nginx`, experiment: cold, metric: 'rate', over: pair, under: nginx, goal: 0.9 },
      {
        what: `${name}: container’s port ÷ own server`,
        experiment: framework,
        metric: 'rate',
        over: container,
        under: node,
        goal: 1,
      },
      {
        what: `${name}: container’s port ÷ own server`,
        experiment: framework,
        metric: 'cpu',
        over: container,
        under: node,
        goal: 1,
      },
    ]
  }),
  ...(['p50', 'p99'] as const).map(
    (metric): Target => ({
      what: `1 connection: pair ÷ ${fronts.nginx}`,
      experiment: '1-connection',
      metric,
      over: 'pair',
      under: 'nginx-node',
      goal: metric === 'p50' ? 1.1 : 1,
    }),
  ),
  ...(
    [
      ['512 connections', '512-connections', 'rate', 1.25, false],
      ['10 KiB down', '10KiB-down', 'rate', 1, true],
      ['1 MiB down', '1MiB-down', 'rate', 1, false],
      ['1 MiB up', '1MiB-up', 'rate', 1, true],
      ['1 GiB down', '1GiB-down', 'bytes', 0.7, false],
      ['1 GiB up', '1GiB-up', 'bytes', 0.7, false],
    ] as const
  ).map(
    ([what, experiment, metric, goal, headline]): Target => ({
      what: `${what}: pair ÷ ${fronts.nginx}`,
      experiment,
      metric,
      over: 'pair',
      under: 'nginx-node',
      goal,
      headline,
    }),
  ),
]

/** A figure that must not exceed a limit, by itself. */
export interface Limit {
  readonly what: string
  readonly experiment: string
  readonly metric: MetricName
  readonly setup: SetupName
  readonly most: number
}

// The default of --window, in KiB.
const WINDOW = 256

export const limits: readonly Limit[] = [
  ...(['down', 'up'] as const).map(
    (direction): Limit => ({
      // A stream's window, and 48 MiB for garbage that is not collected yet.
      what: `1 GiB ${direction}: how far either process of the pair grows, MiB`,
      experiment: `1GiB-${direction}`,
      metric: 'growth',
      setup: 'pair',
      most: 48,
    }),
  ),
  {
    what: '10,000 idle clients at the proxy: KiB each',
    experiment: 'idle-clients',
    metric: 'kibEach',
    setup: 'pair',
    most: 12,
  },
  {
    what: '1,000 stalled uploads: KiB each in the worse process',
    experiment: 'stalled-uploads',
    metric: 'kibEach',
    setup: 'pair',
    most: WINDOW,
  },
]

export interface Reached {
  readonly target: Target
  readonly ratio: Spread
  /** How many times as good as the peer: above 1, Gantry is ahead, for every metric. */
  readonly advantage: number
  readonly verdict: Verdict
}

export function betterOf(metric: MetricName): 'higher' | 'lower' {
  return metrics[metric].better
}

/** The targets of the experiments that ran. */
export function reached(ledger: Ledger): Reached[] {
  const ran = new Set(ledger.entries.map(({ experiment }) => experiment))
  return targets
    .filter(({ experiment }) => ran.has(experiment))
    .map((target) => {
      const { experiment, metric, over, under, goal } = target
      const ratio = ledger.ratio(experiment, metric, over, under)
      const higher = betterOf(metric) === 'higher'
      const advantage = higher ? ratio.median : 1 / ratio.median
      return { target, ratio, advantage, verdict: verdict(ratio.median, higher ? '>=' : '<=', goal) }
    })
}
