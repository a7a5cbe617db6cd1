/** Experiments of requests per second: which arrangements get which load, round about. */

import { type ArrangementName, type Framework, framed } from './arrangements.ts'
import type { Fleet } from './fleet.ts'
import type { Ledger } from './ledger.ts'
import { load } from './load.ts'
import { roundOrder } from './statistics.ts'
import { figure, places } from './table.ts'

export interface RoundsExperiment {
  readonly name: string
  readonly title: string
  readonly path: string
  readonly upload: number
  readonly connections: number
  /** At nginx's port that does not buffer bodies, which is the faster for large ones. */
  readonly unbuffered?: boolean
  readonly accessLog: 'on' | 'off'
  readonly arrangements: readonly ArrangementName[]
  /** The ones that most targets rest on get more rounds. */
  readonly rounds: number
}

const four: readonly ArrangementName[] = ['pair', 'nginx-node', 'container', 'node']
const every: readonly ArrangementName[] = [
  ...four,
  'pair-workers',
  'nginx-workers',
  'http-proxy',
  'pair-http',
  'nginx-container',
  'nginx-uwsgi',
]
const framedAs = (framework: Framework): ArrangementName[] => framed.map((name) => `${name}:${framework}` as const)
const small = { path: '/', upload: 0, connections: 64 } as const

export const roundsExperiments: readonly RoundsExperiment[] = [
  {
    ...small,
    name: 'hello, logs on',
    title: '13 B, 64 connections, access logs on',
    accessLog: 'on',
    arrangements: every,
    rounds: 5,
  },
  {
    ...small,
    name: 'hello, logs off',
    title: '13 B, 64 connections, access logs off',
    accessLog: 'off',
    arrangements: every,
    rounds: 5,
  },
  {
    ...small,
    name: 'express',
    title: 'Express, 13 B, 64 connections, access logs off',
    accessLog: 'off',
    arrangements: framedAs('express'),
    rounds: 7,
  },
  {
    ...small,
    name: 'hono',
    title: 'Hono, 13 B, 64 connections, access logs off',
    accessLog: 'off',
    arrangements: framedAs('hono'),
    rounds: 7,
  },
  {
    ...small,
    name: '1 connection',
    title: '13 B, 1 connection, logs off',
    connections: 1,
    accessLog: 'off',
    arrangements: four,
    rounds: 3,
  },
  {
    ...small,
    name: '512 connections',
    title: '13 B, 512 connections, logs off',
    connections: 512,
    accessLog: 'off',
    arrangements: four,
    rounds: 3,
  },
  {
    ...small,
    name: '10 KiB down',
    title: '10 KiB down, 64 connections, logs off',
    path: '/10KiB',
    accessLog: 'off',
    arrangements: four,
    rounds: 3,
  },
  {
    ...small,
    name: '1 MiB down',
    title: '1 MiB down, 16 connections, logs off, no buffering',
    path: '/1MiB',
    connections: 16,
    unbuffered: true,
    accessLog: 'off',
    arrangements: four,
    rounds: 3,
  },
  {
    ...small,
    name: '1 MiB up',
    title: '1 MiB up, 16 connections, logs off, no buffering',
    path: '/sink',
    connections: 16,
    unbuffered: true,
    upload: 1024 * 1024,
    accessLog: 'off',
    arrangements: four,
    rounds: 3,
  },
]

export const metrics = {
  rate: 'requests/s',
  cpu: 'CPU µs/request',
  p50: 'p50 ms',
  p99: 'p99 ms',
  errors: 'errors',
} as const

/** Of one round, in whole seconds. */
export interface Times {
  /** Load that is not counted: a process that stood by while the others had their turn is not what it is under load. */
  readonly lead: number
  readonly measured: number
}

/** Runs the arrangements in turn, forwards and backwards. */
export async function runRounds(
  experiment: RoundsExperiment,
  times: Times,
  rounds: number,
  fleet: Fleet,
  ledger: Ledger,
  say: (line: string) => void,
): Promise<void> {
  const arrangements = await fleet.all(experiment.arrangements, experiment.accessLog)
  for (let index = 0; index < rounds; index++) {
    for (const arrangement of roundOrder(arrangements, index)) {
      const { path, upload, connections, unbuffered } = experiment
      const port = unbuffered ? arrangement.streamPort : arrangement.port
      const plan = { port, path, upload, connections }
      if (times.lead > 0) await load(arrangement, { ...plan, seconds: times.lead })
      const round = await load(arrangement, { ...plan, seconds: times.measured })
      const add = (metric: string, value: number): void => ledger.add(experiment.name, arrangement.name, metric, value)
      add(metrics.rate, round.requestsPerSecond)
      add(metrics.cpu, round.cpu)
      add(metrics.p50, round.p50)
      add(metrics.p99, round.p99)
      add(metrics.errors, round.errors)
      arrangement.servers.forEach(({ name }, at) => {
        // Which of two processes works: told by its role, the last part of its name.
        add(`CPU µs/request of ${name.slice(name.lastIndexOf('-') + 1)}`, round.cpuByServer[at]!)
      })
      fleet.workshop.emptyLogs()
      say(
        `  ${arrangement.name.padEnd(18)} ${figure(round.requestsPerSecond).padStart(8)} requests/s  ${places(round.cpu, 1).padStart(7)} µs CPU  p99 ${places(round.p99)} ms${round.errors > 0 ? `  ${round.errors} errors` : ''}`,
      )
    }
  }
}
