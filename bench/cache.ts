/**
 * `node bench/cache.ts`: requests a second that a container's own HTTP port answers from the cache, against a bare hello and against one that
 * passes a cache which may not keep it. Rounds alternate; medians and the ratios of rounds that ran next to each other are told.
 */

import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Arrangement } from './arrangements.ts'
import { load, type Round } from './load.ts'
import { median, pairedRatio, roundOrder } from './statistics.ts'
import { freePort, Workshop } from './workshop.ts'

const { values: options } = parseArgs({
  options: { rounds: { type: 'string', default: '6' }, seconds: { type: 'string', default: '1' } },
})

interface Served extends Pick<Arrangement, 'port' | 'servers'> {
  readonly title: string
  readonly rounds: Round[]
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const gantry = join(import.meta.dirname, '..', 'gantry.ts')
const peer = join(import.meta.dirname, 'peers', 'cached.ts')

async function start(workshop: Workshop, name: string, title: string): Promise<Served> {
  const port = await freePort()
  const server = await workshop.start({
    name,
    command: process.execPath,
    args: [gantry, 'container', `${peer}:${name}`, '--listen', `127.0.0.1:${port}`, '--access-log', 'off'],
    endpoints: [port],
  })
  return { port, servers: [server], title, rounds: [] }
}

async function main(): Promise<void> {
  const workshop = new Workshop()
  try {
    const bare = await start(workshop, 'bare', 'bare hello')
    const hit = await start(workshop, 'hit', 'from the cache')
    const passed = await start(workshop, 'passed', 'past the cache')
    const all = [bare, hit, passed]
    const round = (served: Served): Promise<Round> =>
      load(served as unknown as Arrangement, {
        port: served.port,
        path: '/',
        connections: 64,
        seconds: Number(options.seconds),
        upload: 0,
      })
    for (const served of all) await round(served)
    for (let at = 0; at < Number(options.rounds); at++) {
      for (const served of roundOrder(all, at)) served.rounds.push(await round(served))
    }
    const rates = ({ rounds }: Served): number[] => rounds.map(({ requestsPerSecond }) => requestsPerSecond)
    const cpus = ({ rounds }: Served): number[] => rounds.map(({ cpu }) => cpu)
    for (const served of all) {
      const errors = served.rounds.reduce((sum, { errors }) => sum + errors, 0)
      const ratio = pairedRatio(rates(served), rates(bare)).toFixed(2)
      say(
        `${served.title.padEnd(16)} ${median(rates(served)).toFixed(0).padStart(7)} requests/s  ${ratio} of bare  ` +
          `${median(cpus(served)).toFixed(1)} µs CPU per request  ${errors} errors`,
      )
    }
  } finally {
    await workshop.close()
  }
}

await main()
