/** The experiments that are not requests per second: huge bodies, idle crowds, stalled uploads, clients that go away. */

import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Arrangement, ArrangementName } from './arrangements.ts'
import { answer, ask, open, requestHead, sendBody } from './client.ts'
import { withFresh } from './fleet.ts'
import type { Ledger } from './ledger.ts'
import { cpuMicroseconds, MemoryWatch } from './process-usage.ts'
import { median, roundOrder } from './statistics.ts'
import { figure, places, size } from './table.ts'

export interface Settings {
  readonly quick: boolean
}

export interface Context {
  readonly ledger: Ledger
  readonly say: (line: string) => void
  readonly skipped: string[]
  readonly settings: Settings
}

export interface Experiment {
  readonly name: string
  readonly title: string
  run(context: Context): Promise<void>
}

const MIB = 1024 * 1024

/** One body each way through fresh processes: bytes a second, CPU, and how far each process's memory grew. */
async function hugeBodies({ ledger, say, skipped, settings }: Context): Promise<void> {
  const bytes = settings.quick ? 256 * MIB : 1024 * MIB
  await withFresh(['pair', 'nginx-node'], say, skipped, async (arrangements) => {
    for (const direction of ['down', 'up'] as const) {
      for (let index = 0; index < (settings.quick ? 1 : 3); index++) {
        for (const arrangement of roundOrder(arrangements, index)) {
          const watches = arrangement.servers.map(({ pid }) => new MemoryWatch(pid))
          const cpu = (): number => arrangement.servers.reduce((sum, { pid }) => sum + cpuMicroseconds(pid), 0)
          const cpuBefore = cpu()
          const start = performance.now()
          await (direction === 'down' ? download : upload)(arrangement.streamPort, bytes)
          const seconds = (performance.now() - start) / 1000
          const growth = watches.map((watch) => watch.stop())
          const rate = bytes / MIB / seconds
          const cpuPerMib = (cpu() - cpuBefore) / (bytes / MIB)
          const experiment = `1 GiB ${direction}`
          ledger.add(experiment, arrangement.name, 'MiB/s', rate)
          ledger.add(experiment, arrangement.name, 'CPU µs/MiB', cpuPerMib)
          ledger.add(experiment, arrangement.name, 'RSS growth MiB', Math.max(...growth) / MIB)
          say(
            `  ${direction.padEnd(4)} ${arrangement.name.padEnd(12)} ${figure(rate).padStart(7)} MiB/s  ${figure(cpuPerMib)} µs CPU/MiB  RSS grew ${growth.map(size).join(' and ')}`,
          )
        }
      }
    }
  })
}

async function download(port: number, bytes: number): Promise<void> {
  const socket = await open(port)
  socket.write(requestHead('GET', `/bytes/${bytes}`))
  const { status, length } = await answer(socket)
  socket.resetAndDestroy()
  if (status !== 200 || length !== bytes) throw new Error(`asked for ${bytes} bytes, ${length} came (${status})`)
}

async function upload(port: number, bytes: number): Promise<void> {
  const socket = await open(port)
  socket.write(requestHead('POST', '/sink', bytes))
  const answered = answer(socket)
  await sendBody(socket, bytes)
  const { status, text } = await answered
  socket.resetAndDestroy()
  if (status !== 200 || Number(text) !== bytes)
    throw new Error(`sent ${bytes} bytes, ${text.trim()} arrived (${status})`)
}

/** How many connections this process and each server may hold, with room left for what else they open. */
function connectionLimit(): number {
  const soft = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
  return Number(soft?.[1] ?? 1024) - 500
}

/** Memory that a client costs which has asked once and now keeps its connection open. */
async function idleClients({ ledger, say, skipped, settings }: Context): Promise<void> {
  const wanted = settings.quick ? 2_000 : 10_000
  const count = Math.min(wanted, connectionLimit())
  if (count < wanted) say(`  only ${count} clients: the limit of open files (ulimit -n) allows no more`)
  await withFresh(['pair', 'container', 'nginx-node', 'node'], say, skipped, async (arrangements) => {
    for (const arrangement of arrangements) {
      const watch = new MemoryWatch(arrangement.servers[0]!.pid)
      const sockets = await crowd(arrangement, count)
      // What the last requests left behind is collected when the loop is idle, not at once.
      await delay(settings.quick ? 500 : 2_000)
      const growth = watch.stop()
      const open = sockets.filter((socket) => !socket.destroyed).length
      for (const socket of sockets) socket.resetAndDestroy()
      if (open < count) throw new Error(`${arrangement.name} kept only ${open} of ${count} idle connections`)
      ledger.add('idle clients', arrangement.name, 'KiB each', growth / count / 1024)
      say(`  ${arrangement.name.padEnd(12)} ${places(growth / count / 1024, 1)} KiB for each of ${count}`)
      await delay(200)
    }
  })
}

async function crowd({ port }: Arrangement, count: number): Promise<Socket[]> {
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

/** 1,000 clients that push a megabyte each to an application that reads nothing: memory must stop at one window each. */
async function stalledUploads({ ledger, say, skipped, settings }: Context): Promise<void> {
  const count = Math.min(settings.quick ? 200 : 1_000, connectionLimit())
  await withFresh(['pair', 'container'], say, skipped, async (arrangements) => {
    for (const arrangement of arrangements) {
      const watches = arrangement.servers.map(({ pid }) => new MemoryWatch(pid))
      const sockets: Socket[] = []
      for (let at = 0; at < count; at++) {
        const socket = await open(arrangement.streamPort)
        socket.on('error', () => {})
        socket.write(requestHead('POST', '/stall', MIB))
        void sendBody(socket, MIB).catch(() => {})
        sockets.push(socket)
      }
      await delay(settings.quick ? 500 : 2_000)
      const growth = watches.map((watch) => watch.stop() / count / 1024)
      const open_ = sockets.filter((socket) => !socket.destroyed).length
      for (const socket of sockets) socket.resetAndDestroy()
      if (open_ < count) throw new Error(`${arrangement.name} cut ${count - open_} of ${count} stalled uploads`)
      ledger.add('stalled uploads', arrangement.name, 'KiB each, worst process', Math.max(...growth))
      say(
        `  ${arrangement.name.padEnd(12)} ${growth.map((value) => places(value, 1)).join(' and ')} KiB each in its processes`,
      )
      await delay(200)
    }
  })
}

/** From a client's reset to the application's knowledge of it. Both clocks are CLOCK_MONOTONIC, which processes share. */
async function aborts({ ledger, say, skipped, settings }: Context): Promise<void> {
  const count = settings.quick ? 10 : 50
  const names: readonly ArrangementName[] = ['pair', 'container', 'nginx-node', 'node']
  await withFresh(names, say, skipped, async (arrangements) => {
    for (const arrangement of arrangements) {
      const latencies: number[] = []
      for (let at = 0; at < count; at++) latencies.push(await abortOnce(arrangement.streamPort, `${at}`))
      ledger.add('aborts', arrangement.name, 'median ms', median(latencies))
      ledger.add('aborts', arrangement.name, 'worst ms', Math.max(...latencies))
      say(
        `  ${arrangement.name.padEnd(12)} ${places(median(latencies))} ms, at worst ${places(Math.max(...latencies))} ms`,
      )
    }
  })
}

async function abortOnce(port: number, key: string): Promise<number> {
  const socket = await open(port)
  socket.write(requestHead('GET', `/hold/${key}`))
  await answer(socket, 'held\n'.length)
  const start = process.hrtime.bigint()
  socket.resetAndDestroy()
  for (const deadline = performance.now() + 5_000; performance.now() < deadline; await delay(5)) {
    const { text } = await ask(port, `/aborted/${key}`)
    if (text !== '') return Number(BigInt(text) - start) / 1e6
  }
  throw new Error('the application did not hear of an abort within 5 s')
}

export const experiments: readonly Experiment[] = [
  { name: '1 GiB', title: 'One body of 1 GiB, down and up, buffering off (with --quick: 256 MiB)', run: hugeBodies },
  { name: 'idle clients', title: 'Memory of the front for each idle keep-alive client', run: idleClients },
  { name: 'stalled uploads', title: 'Memory for each upload of 1 MiB that nobody reads', run: stalledUploads },
  { name: 'aborts', title: 'From a client’s reset to the application’s signal', run: aborts },
]
