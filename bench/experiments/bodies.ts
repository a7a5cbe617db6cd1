/** One huge body each way through fresh processes: bytes per second, CPU, and how far the memory of a process grows. */

import { answer, open, requestHead, sendBody } from '../measure/client.ts'
import { withFresh } from '../measure/fleet.ts'
import { cpuMicroseconds, MemoryWatch } from '../measure/process-usage.ts'
import { roundOrder } from '../report/statistics.ts'
import { figure, size } from '../report/table.ts'
import { attemptRound, type Experiment } from './experiment.ts'

const MIB = 1024 * 1024
const directions = { down: download, up: upload }

export function hugeBody(direction: 'down' | 'up'): Experiment {
  const name = `1GiB-${direction}`
  return {
    name,
    title: `One body of 1 GiB, ${direction}, no buffering (with --quick: 256 MiB)`,
    setups: ['pair', 'nginx-node', 'haproxy-node'],
    metrics: ['bytes', 'cpuPerMib', 'growth'],
    core: false,
    async run(bench, contestants) {
      const { ledger, say, skipped, settings } = bench
      const bytes = (settings.quick ? 256 : 1024) * MIB
      const rounds = settings.rounds ?? (settings.quick ? 1 : 3)
      await withFresh(contestants, { say, skipped, warmUpSeconds: 1 }, async (started) => {
        const failed = new Set<string>()
        for (let index = 0; index < rounds; index++) {
          for (const { contestant, servers, streamPort } of roundOrder(started, index)) {
            const { key } = contestant
            if (failed.has(key)) continue
            const watches = servers.map(({ pid }) => new MemoryWatch(pid))
            const cpu = (): number => servers.reduce((sum, { pid }) => sum + cpuMicroseconds(pid), 0)
            const done = await attemptRound(bench, name, contestant, async () => {
              const before = cpu()
              const start = performance.now()
              await directions[direction](streamPort, bytes)
              const seconds = (performance.now() - start) / 1000
              const growth = watches.map((watch) => watch.stop())
              const rate = bytes / MIB / seconds
              const cpuPerMib = (cpu() - before) / (bytes / MIB)
              ledger.add(name, key, 'bytes', rate)
              ledger.add(name, key, 'cpuPerMib', cpuPerMib)
              ledger.add(name, key, 'growth', Math.max(...growth) / MIB)
              const memory = `memory grew ${growth.map(size).join(' and ')}`
              say(`  ${key.padEnd(20)} ${figure(rate).padStart(7)} MiB/s  ${figure(cpuPerMib)} µs CPU/MiB  ${memory}`)
            })
            for (const watch of watches) watch.stop()
            if (!done) failed.add(key)
          }
        }
      })
    },
  }
}

async function download(port: number, bytes: number): Promise<void> {
  const socket = await open(port)
  socket.write(requestHead('GET', `/bytes/${bytes}`))
  const { status, length } = await answer(socket)
  socket.resetAndDestroy()
  if (status !== 200 || length !== bytes) throw new Error(`expected ${bytes} bytes, got ${length} (status ${status})`)
}

async function upload(port: number, bytes: number): Promise<void> {
  const socket = await open(port)
  socket.write(requestHead('POST', '/sink', bytes))
  const answered = answer(socket)
  await sendBody(socket, bytes)
  const { status, text } = await answered
  socket.resetAndDestroy()
  if (status !== 200 || Number(text) !== bytes) {
    throw new Error(`sent ${bytes} bytes, the application received ${text.trim()} (status ${status})`)
  }
}
