/** The table of all experiments, in the order in which they run and are reported. */

import type { SetupName } from '../peers/peers.ts'
import { aborts } from './aborts.ts'
import { hugeBody } from './bodies.ts'
import { cold } from './cold.ts'
import { idleClients, stalledUploads } from './crowds.ts'
import type { Experiment } from './experiment.ts'
import { fixedRate } from './fixed-rate.ts'
import { throughput } from './throughput.ts'

/** The pair, the two fronts that it is measured against, and the three servers that need no front. */
export const coreSetups: readonly SetupName[] = ['pair', 'nginx-node', 'haproxy-node', 'container', 'node', 'deno']
const five: readonly SetupName[] = ['pair', 'nginx-node', 'haproxy-node', 'container', 'node']
const fronts: readonly SetupName[] = [
  'pair-workers',
  'nginx-workers',
  'http-proxy',
  'pair-http',
  'nginx-container',
  'nginx-uwsgi',
  'nginx-gunicorn',
]

/** Setups with a framework's application, those that are compared next to each other. */
function framed(framework: 'express' | 'hono'): SetupName[] {
  const peers = ['pair', 'nginx-node', 'pair-workers', 'nginx-workers', 'container', 'node'] as const
  return peers.map((peer) => `${peer}:${framework}` as const)
}

export const experiments: readonly Experiment[] = [
  throughput({
    name: 'hello',
    title: 'Warm: 13 B, 64 connections, no access log',
    setups: [...coreSetups, ...fronts],
    core: true,
    rounds: 5,
  }),
  cold({
    name: 'cold',
    title: 'Cold: the first 3 s of fresh processes, 13 B, 64 connections, no access log',
    setups: coreSetups,
    core: true,
    rounds: 5,
  }),
  fixedRate({
    name: 'fixed-rate',
    title: 'Latency at a fixed rate, 13 B, no access log',
    setups: coreSetups,
    rounds: 5,
  }),
  throughput({
    name: 'hello-logs',
    title: 'Warm: 13 B, 64 connections, access log of the front',
    setups: [...five, ...fronts],
    accessLog: 'on',
    rounds: 5,
  }),
  ...(['express', 'hono'] as const).flatMap((framework) => {
    const title = { express: 'Express', hono: 'Hono' }[framework]
    return [
      throughput({
        name: framework,
        title: `${title}, warm: 13 B, 64 connections, no access log`,
        setups: framed(framework),
        rounds: 7,
      }),
      cold({
        name: `${framework}-cold`,
        title: `${title}, cold: the first 3 s of fresh processes`,
        setups: [`pair:${framework}`, `nginx-node:${framework}`],
        core: false,
        rounds: 3,
      }),
    ]
  }),
  throughput({
    name: '1-connection',
    title: '13 B, 1 connection, no access log',
    connections: 1,
    setups: five,
    rounds: 3,
  }),
  throughput({
    name: '512-connections',
    title: '13 B, 512 connections, no access log',
    connections: 512,
    setups: five,
    rounds: 3,
  }),
  throughput({
    name: '10KiB-down',
    title: '10 KiB down, 64 connections, no access log',
    path: '/10KiB',
    setups: five,
    rounds: 3,
  }),
  throughput({
    name: '1MiB-down',
    title: '1 MiB down, 16 connections, no access log, no buffering',
    path: '/1MiB',
    connections: 16,
    unbuffered: true,
    setups: five,
    rounds: 3,
  }),
  throughput({
    name: '1MiB-up',
    title: '1 MiB up, 16 connections, no access log, no buffering',
    path: '/sink',
    upload: 1024 * 1024,
    connections: 16,
    unbuffered: true,
    setups: five,
    rounds: 3,
  }),
  hugeBody('down'),
  hugeBody('up'),
  idleClients,
  stalledUploads,
  aborts,
]
