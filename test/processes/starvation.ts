/**
 * Attacks real processes with slow clients of one address, and counts what a client of another address and one of the
 * same get: `node test/processes/starvation.ts uploads|readers|heads [pair|http|container] [COUNT] [OPTION…]`. Linux
 * only: its loopback has several addresses. `unshare -n` around it, with small tcp_rmem and tcp_wmem, saves memory.
 */

import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { repositoryFile } from '../support/child.ts'
import { type Gantry, startGantry } from '../support/gantry.ts'

type Attack = 'uploads' | 'readers' | 'heads'
type Arrangement = 'pair' | 'http' | 'container'

const APPLICATION = repositoryFile('test/processes/starvation-app.ts')
const ATTACKER = '127.0.0.2'
const OTHER = '127.0.0.3'
/**
 * Milliseconds between two requests of a client that is not slow, and how long it asks once all slow ones are there.
 */
const PACE = 100
const LONG = 15_000

const [attack = 'uploads', arrangement = 'pair', count = '2000', ...extra] = process.argv.slice(2) as [
  Attack?,
  Arrangement?,
  ...string[],
]

const first: Readonly<Record<Attack, string>> = {
  uploads: 'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx',
  readers: 'GET /big HTTP/1.1\r\nHost: a\r\n\r\n',
  heads: 'GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ',
}

/** The responses of one client that is not slow. */
class Tally {
  readonly statuses: Map<string, number> = new Map()
  readonly times: number[] = []

  async ask(port: number, localAddress: string): Promise<void> {
    const began = performance.now()
    const status = await new Promise<string>((resolve) => {
      const asking = request(
        { host: '127.0.0.1', port, localAddress, path: '/hello', agent: false, timeout: 20_000 },
        (response) => {
          response.resume()
          response.once('end', () => resolve(String(response.statusCode)))
        },
      )
      asking.once('timeout', () => asking.destroy(new Error('timeout')))
      asking.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
      asking.end()
    })
    this.times.push(performance.now() - began)
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
  }

  toString(): string {
    const times = [...this.times].sort((a, b) => a - b)
    const at = (part: number): string => (times[Math.floor(part * (times.length - 1))] ?? 0).toFixed(0)
    const statuses = [...this.statuses].map(([status, number]) => `${number} × ${status}`).join(', ')
    return `${statuses}; median ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms`
  }
}

async function start(): Promise<{ port: number; processes: Gantry[] }> {
  const log = ['--access-log', 'off', '--log-level', 'info', ...extra]
  if (arrangement === 'container') {
    const container = await startGantry(['container', APPLICATION, '--listen', '127.0.0.1:0', ...log])
    return { port: container.port, processes: [container] }
  }
  const container = await startGantry(['container', APPLICATION, '--listen', '127.0.0.1:0', '--access-log', 'off'])
  const address = `${arrangement === 'http' ? 'http://' : ''}127.0.0.1:${container.port}`
  const proxy = await startGantry(['proxy', '--listen', '127.0.0.1:0', '--upstream', address, ...log])
  return { port: proxy.port, processes: [proxy, container] }
}

function resident({ child }: Gantry): number {
  const status = readFileSync(`/proc/${child.process.pid}/status`, 'latin1')
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024)
}

const { port, processes } = await start()
const before = processes.map(resident)
const other = new Tally()
const same = new Tally()
const pending: Set<Promise<void>> = new Set()
const ask = setInterval(() => {
  for (const [tally, address] of [
    [other, OTHER],
    [same, ATTACKER],
  ] as const) {
    const asked: Promise<void> = tally.ask(port, address).finally(() => pending.delete(asked))
    pending.add(asked)
  }
}, PACE)

const slow: Set<Socket> = new Set()
const answers: Map<string, number> = new Map()
let ended = 0
for (let at = 0; at < Number(count); at++) {
  const socket = connect({ host: '127.0.0.1', port, localAddress: ATTACKER })
  slow.add(socket)
  socket.on('error', () => {})
  socket.once('close', () => {
    ended++
    slow.delete(socket)
  })
  socket.once('connect', () => socket.write(first[attack]))
  if (attack === 'readers') socket.pause()
  else {
    socket.on('data', (chunk) => {
      const line = chunk.toString('latin1').split('\r\n', 1)[0]!
      answers.set(line, (answers.get(line) ?? 0) + 1)
    })
  }
  if (at % 50 === 49) await delay(10)
}
let most = before
for (let left = LONG; left > 0; left -= 500) {
  await delay(500)
  most = processes.map(resident).map((now, at) => Math.max(now, most[at]!))
}
clearInterval(ask)
await Promise.all(pending)

const aborted = processes[0]!.child.log.filter(({ code }) => code === 'SLOW_CLIENT').length
console.log(`${count} slow ${attack} at ${arrangement}`)
console.log(`  another address: ${other}`)
console.log(`  the same address: ${same}`)
console.log(
  `  slow clients: ${slow.size} still connected, ${ended} ended, ${aborted} aborted as slow; answers ${JSON.stringify(Object.fromEntries(answers))}`,
)
console.log(`  resident MiB before → most: ${before.map((mib, at) => `${mib} → ${most[at]}`).join(', ')}`)
for (const socket of slow) socket.destroy()
for (const { child } of processes) await child.end()
