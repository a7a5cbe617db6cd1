/** What is aimed at, and how each figure follows from the ledger. Sets no figure itself. */

import { type Framed, type Framework, frameworks } from './arrangements.ts'
import type { Ledger } from './ledger.ts'
import { metrics } from './rounds.ts'
import { verdict } from './statistics.ts'

export interface Target {
  readonly what: string
  readonly comparison: '>=' | '<='
  /** What this version must reach. */
  readonly goal: number | undefined
  /** What is aimed at in the end. */
  readonly target: number | undefined
  readonly unit: string
  reach(ledger: Ledger): number
}

/** What a team that moves an application in may ask: not to be slower than it was. */
function frameworkTargets(framework: Framework): Target[] {
  const { title, pair } = { express: { title: 'Express', pair: 1 }, hono: { title: 'Hono', pair: 1.1 } }[framework]
  const ratio = (what: string, metric: string, over: Framed, under: Framed, goal?: number): Target => ({
    what: `${title}: ${what}, ${metric === metrics.cpu ? 'CPU per request' : 'requests/s'}, logs off`,
    comparison: metric === metrics.cpu ? '<=' : '>=',
    goal,
    target: goal ?? 1,
    unit: '',
    reach: (ledger) => ledger.ratio(framework, metric, `${over}:${framework}`, `${under}:${framework}`),
  })
  return [
    ratio('pair ÷ nginx → node:http', metrics.rate, 'pair', 'nginx-node', pair),
    ratio('pair ÷ nginx → node:http', metrics.cpu, 'pair', 'nginx-node'),
    ratio('pair ÷ nginx → node:http, workers for each core', metrics.rate, 'pair-workers', 'nginx-workers'),
    ratio('container’s HTTP port ÷ node:http', metrics.rate, 'container', 'node', 1),
    ratio('container’s HTTP port ÷ node:http', metrics.cpu, 'container', 'node'),
  ]
}

// The window of --window's default, in KiB.
const WINDOW = 256

export const targets: readonly Target[] = [
  {
    what: 'pair ÷ nginx → node:http, requests/s, logs on',
    comparison: '>=',
    goal: 0.8,
    target: 1,
    unit: '',
    reach: (ledger) => ledger.ratio('hello, logs on', metrics.rate, 'pair', 'nginx-node'),
  },
  {
    what: 'pair ÷ nginx → node:http, requests/s, logs off',
    comparison: '>=',
    goal: 1,
    target: 1.2,
    unit: '',
    reach: (ledger) => ledger.ratio('hello, logs off', metrics.rate, 'pair', 'nginx-node'),
  },
  {
    what: 'pair ÷ nginx → node:http, workers for each core, requests/s, logs on',
    comparison: '>=',
    goal: undefined,
    target: 1,
    unit: '',
    reach: (ledger) => ledger.ratio('hello, logs on', metrics.rate, 'pair-workers', 'nginx-workers'),
  },
  {
    what: 'pair ÷ nginx → node:http, workers for each core, requests/s, logs off',
    comparison: '>=',
    goal: undefined,
    target: 1.2,
    unit: '',
    reach: (ledger) => ledger.ratio('hello, logs off', metrics.rate, 'pair-workers', 'nginx-workers'),
  },
  {
    what: 'pair ÷ nginx → node:http, CPU per request, logs on',
    comparison: '<=',
    goal: undefined,
    target: 1,
    unit: '',
    reach: (ledger) => ledger.ratio('hello, logs on', metrics.cpu, 'pair', 'nginx-node'),
  },
  {
    what: 'pair ÷ nginx → node:http, p99, 64 connections, logs on',
    comparison: '<=',
    goal: undefined,
    target: 1,
    unit: '',
    reach: (ledger) => ledger.ratio('hello, logs on', metrics.p99, 'pair', 'nginx-node'),
  },
  {
    what: 'pair ÷ http-proxy-3 → node:http, requests/s, logs on',
    comparison: '>=',
    goal: 3.5,
    target: 4.5,
    unit: '',
    reach: (ledger) => ledger.ratio('hello, logs on', metrics.rate, 'pair', 'http-proxy'),
  },
  {
    what: 'container’s HTTP port ÷ node:http, requests/s, logs on',
    comparison: '>=',
    goal: 1.2,
    target: 1.4,
    unit: '',
    reach: (ledger) => ledger.ratio('hello, logs on', metrics.rate, 'container', 'node'),
  },
  {
    what: 'container’s HTTP port ÷ node:http, requests/s, logs off',
    comparison: '>=',
    goal: 1.2,
    target: 1.4,
    unit: '',
    reach: (ledger) => ledger.ratio('hello, logs off', metrics.rate, 'container', 'node'),
  },
  ...frameworks.flatMap((framework) => frameworkTargets(framework)),
  {
    what: 'nginx uwsgi_pass: container ÷ uWSGI, requests/s, logs on',
    comparison: '>=',
    goal: undefined,
    target: 0.9,
    unit: '',
    reach: (ledger) => ledger.ratio('hello, logs on', metrics.rate, 'nginx-container', 'nginx-uwsgi'),
  },
  ...(['down', 'up'] as const).map(
    (direction): Target => ({
      what: `1 GiB ${direction}: pair ÷ nginx → node:http, bytes/s`,
      comparison: '>=',
      goal: 0.5,
      target: 0.7,
      unit: '',
      reach: (ledger) => ledger.ratio(`1 GiB ${direction}`, 'MiB/s', 'pair', 'nginx-node'),
    }),
  ),
  {
    what: '1 GiB each way: RSS growth of either process',
    comparison: '<=',
    // One stream's window and 32 MiB.
    goal: 32 + WINDOW / 1024,
    target: 48,
    unit: ' MiB',
    reach: (ledger) =>
      Math.max(...['1 GiB down', '1 GiB up'].map((name) => ledger.highest(name, 'pair', 'RSS growth MiB'))),
  },
  {
    what: '10,000 idle keep-alive clients at the proxy, each',
    comparison: '<=',
    goal: undefined,
    target: 12,
    unit: ' KiB',
    reach: (ledger) => ledger.median('idle clients', 'pair', 'KiB each'),
  },
  {
    what: '1,000 stalled uploads: memory of the worse process, each',
    comparison: '<=',
    goal: undefined,
    target: WINDOW,
    unit: ' KiB',
    reach: (ledger) => ledger.median('stalled uploads', 'pair', 'KiB each, worst process'),
  },
]

/** In words, of both: what this version must reach and what is aimed at. */
export function judge({ comparison, goal, target }: Target, reached: number): string {
  const now = goal === undefined ? undefined : verdict(reached, comparison, goal)
  const finally_ = target === undefined ? undefined : verdict(reached, comparison, target)
  if (now === 'not measured' || finally_ === 'not measured') return 'not measured'
  if (now === 'missed') return finally_ === 'met' ? 'target met, goal missed' : 'MISSED'
  if (finally_ === 'missed') return now === 'met' ? 'goal met, target missed' : 'target missed'
  return 'met'
}
