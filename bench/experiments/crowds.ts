/** Memory of many clients that wait: idle keep-alive connections, and uploads that the application does not read. */

import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { answer, open, requestHead, sendBody } from '../measure/client.ts'
import { type Contestant, type Started, withFresh } from '../measure/fleet.ts'
import { MemoryWatch } from '../measure/process-usage.ts'
import type { SetupName } from '../peers/peers.ts'
import { places } from '../report/table.ts'
import { attemptRound, type Bench, type Experiment } from './experiment.ts'

const MIB = 1024 * 1024

interface Plan {
  readonly name: string
  readonly title: string
  readonly setups: readonly SetupName[]
  readonly clients: number
  readonly quickClients: number
  /** Memory of all processes counts, or of the first only, which clients connect to. */
  readonly processes: 'all' | 'first'
  /** Opens the connections of all clients. */
  crowd(setup: Started, count: number): Promise<Socket[]>
}

function memoryOf(plan: Plan): Experiment {
  return {
    name: plan.name,
    title: plan.title,
    setups: plan.setups,
    metrics: ['kibEach'],
    core: false,
    run: (bench, contestants) => measure(plan, bench, contestants),
  }
}

async function measure(plan: Plan, bench: Bench, contestants: readonly Contestant[]): Promise<void> {
  const { ledger, say, skipped, settings } = bench
  const wanted = settings.quick ? plan.quickClients : plan.clients
  const count = Math.min(wanted, connectionLimit())
  if (count < wanted) say(`  ${count} clients instead of ${wanted}: the limit of open files (ulimit -n) is too low`)
  await withFresh(contestants, { say, skipped, warmUpSeconds: 1 }, async (started) => {
    for (const setup of started) {
      const { contestant, servers } = setup
      await attemptRound(bench, plan.name, contestant, async () => {
        const watched = plan.processes === 'all' ? servers : servers.slice(0, 1)
        const watches = watched.map(({ pid }) => new MemoryWatch(pid))
        const sockets = await plan.crowd(setup, count)
        // Garbage of the last requests is collected when the event loop is idle.
        await delay(settings.quick ? 500 : 2_000)
        const growth = watches.map((watch) => watch.stop() / count / 1024)
        const open = sockets.filter((socket) => !socket.destroyed).length
        for (const socket of sockets) socket.resetAndDestroy()
        if (open < count) throw new Error(`it closed ${count - open} of ${count} connections`)
        ledger.add(plan.name, contestant.key, 'kibEach', Math.max(...growth))
        const each = growth.map((value) => places(value, 1)).join(' and ')
        say(`  ${contestant.key.padEnd(20)} ${each} KiB for each of ${count}`)
        await delay(200)
      })
    }
  })
}

/**
 * Connections that each server accepts. Gantry's container and HAProxy count two file descriptors for a client, and
 * keep a reserve.
 */
function connectionLimit(): number {
  const soft = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
  return Math.floor(Number(soft?.[1] ?? 1024) * 0.4)
}

async function idle({ port }: Started, count: number): Promise<Socket[]> {
  const sockets: Socket[] = []
  while (sockets.length < count) {
    const batch = await Promise.all(
      Array.from({ length: Math.min(100, count - sockets.length) }, async () => {
        const socket = await open(port)
        socket.on('error', () => {})
        socket.write(requestHead('GET', '/'))
        await answer(socket)
        return socket
      }),
    )
    sockets.push(...batch)
  }
  return sockets
}

async function stalled({ streamPort }: Started, count: number): Promise<Socket[]> {
  const sockets: Socket[] = []
  for (let at = 0; at < count; at++) {
    const socket = await open(streamPort)
    socket.on('error', () => {})
    socket.write(requestHead('POST', '/stall', MIB))
    void sendBody(socket, MIB).catch(() => {})
    sockets.push(socket)
  }
  return sockets
}

export const idleClients: Experiment = memoryOf({
  name: 'idle-clients',
  title: 'Memory of the front for each of 10,000 idle keep-alive clients (with --quick: 2,000)',
  setups: ['pair', 'container', 'nginx-node', 'haproxy-node', 'node'],
  clients: 10_000,
  quickClients: 2_000,
  processes: 'first',
  crowd: idle,
})

export const stalledUploads: Experiment = memoryOf({
  name: 'stalled-uploads',
  title: 'Memory of the worse process for each of 1,000 uploads of 1 MiB that the application does not read',
  setups: ['pair', 'container'],
  clients: 1_000,
  quickClients: 200,
  processes: 'all',
  crowd: stalled,
})
