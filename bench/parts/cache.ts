/**
 * `node bench/parts/cache.ts`: requests per second of a container's HTTP port from the cache, of a bare hello, and of a
 * response that the cache may not store. Rounds alternate; it prints medians and ratios of neighbouring rounds.
 */

import { runProgram } from '../measure/ending.ts'
import { closedLoop } from '../measure/load.ts'
import { freePort, Workshop } from '../measure/workshop.ts'
import { parseIntegers } from '../options.ts'
import { entryPoint } from '../peers/gantry.ts'
import { app, type Running, running, thisTree } from '../peers/peer.ts'
import { median, pairedRatio, roundOrder } from '../report/statistics.ts'

type Round = Awaited<ReturnType<typeof closedLoop>>

interface Served extends Running {
  readonly title: string
  readonly rounds: Round[]
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const gantry = entryPoint(thisTree)
const peer = app('cached.ts')

async function start(workshop: Workshop, name: string, title: string): Promise<Served> {
  const port = await freePort()
  const server = await workshop.start({
    name,
    command: process.execPath,
    args: [gantry, 'container', `${peer}:${name}`, '--listen', `127.0.0.1:${port}`, '--access-log', 'off'],
    endpoints: [port],
  })
  return { ...running(port, server), title, rounds: [] }
}

async function main(): Promise<void> {
  const options = parseIntegers(process.argv.slice(2), {
    rounds: { default: 6, most: 1_000 },
    seconds: { default: 1, most: 600 },
  })
  const workshop = new Workshop()
  try {
    const bare = await start(workshop, 'bare', 'bare hello')
    const hit = await start(workshop, 'hit', 'from the cache')
    const passed = await start(workshop, 'passed', 'past the cache')
    const all = [bare, hit, passed]
    const round = (served: Served): Promise<Round> =>
      closedLoop(served, {
        port: served.port,
        path: '/',
        connections: 64,
        seconds: options.seconds,
        upload: 0,
      })
    for (const served of all) await round(served)
    for (let at = 0; at < options.rounds; at++) {
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

await runProgram(main)
