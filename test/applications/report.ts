/**
 * `npm run test:applications [NAME…]` compares real applications on plain node and in Gantry, prints a table, and fails
 * if an arrangement differs. Needs the npm registry. `--only TEXT` selects starts by title, `--in up,join`
 * arrangements, `--folder PATH` the working folder.
 */

import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { applications } from './applications.ts'
import { type Arrangement, arrangements } from './command.ts'
import { faultOf, faultOfPlain, type Observation, observe } from './compare.ts'
import { startServer } from './server.ts'
import type { Start, TestedApplication } from './shape.ts'
import { type Stop, stopUnderLoad, worseThan } from './stop.ts'
import { prepare } from './workspace.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', default: '' },
    in: { type: 'string', default: 'up,join,http' },
    folder: { type: 'string', default: join(tmpdir(), 'gantry-applications') },
    verbose: { type: 'boolean', default: false },
  },
})

interface Result {
  readonly observations: ReadonlyMap<string, Observation>
  readonly stops: readonly Stop[]
  /** Why it did not start, or its output about a crash. */
  readonly faults: readonly string[]
}

const rows: string[][] = [['application', 'arrangement', 'cases', 'as on node', 'stop', 'with a WebSocket', 'differs']]
const unexpected: string[] = []

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** Runs the cases of `start` in one arrangement, and stops it twice: with requests, and with a WebSocket. */
async function runStart(arrangement: Arrangement, start: Start, folder: string): Promise<Result> {
  const observations: Map<string, Observation> = new Map()
  const stops: Stop[] = []
  const faults: string[] = []
  for (const socket of start.socket === undefined ? [undefined] : [undefined, start.socket]) {
    try {
      const server = await startServer(arrangement, start, folder)
      try {
        if (stops.length === 0) for (const one of start.cases) observations.set(one.title, await observe(one, server))
        faults.push(...server.crashes())
        if (server.alive) stops.push(await stopUnderLoad(server, start, socket))
        else faults.push('a process ended')
      } finally {
        await server.end()
        if (values.verbose) say(`--- ${start.title} (${arrangement})\n${server.output()}\n---`)
      }
    } catch (error) {
      faults.push((error as Error).message)
    }
  }
  return { observations, stops, faults }
}

function stopCell(stop: Stop | undefined): string {
  if (!stop) return '-'
  const parts = [stop.running === '-' ? '' : `running ${stop.running}`, `exit ${stop.exit}`, `${stop.seconds} s`]
  if (stop.socket !== undefined) parts.unshift(`close ${stop.socket}`)
  return parts.filter(Boolean).join(', ')
}

function judge(
  application: TestedApplication,
  start: Start,
  arrangement: Arrangement,
  plain: Result,
  it: Result,
): void {
  const name = application.name === start.title ? start.title : `${application.name}: ${start.title}`
  const faults: string[] = it.faults.map((fault) => `said: ${fault}`)
  let alike = 0
  for (const one of start.cases) {
    const [before, now] = [plain.observations.get(one.title), it.observations.get(one.title)]
    if (!before || !now) continue
    const fault = arrangement === 'node' ? faultOfPlain(one, now, start) : faultOf(one, before, now, start)
    if (fault === undefined) alike++
    else faults.push(`${one.title}\n${fault}`)
  }
  if (arrangement !== 'node') {
    for (const [at, stop] of it.stops.entries()) {
      const before = plain.stops[at]
      if (before)
        faults.push(
          ...worseThan(before, stop, arrangement).map((fault) => `stop${at ? ' with a WebSocket' : ''}: ${fault}`),
        )
    }
  }
  const cases = String(start.cases.length)
  rows.push([
    name,
    arrangement,
    cases,
    String(alike),
    stopCell(it.stops[0]),
    stopCell(it.stops[1]),
    String(faults.length),
  ])
  for (const fault of faults) unexpected.push(`${name} (${arrangement}): ${fault}`)
  say(`${name} (${arrangement}): ${alike} of ${cases}; ${it.stops.map((stop) => JSON.stringify(stop)).join(' ')}`)
  for (const fault of faults) say(`  ${fault.replaceAll('\n', '\n    ')}`)
}

async function runApplication(application: TestedApplication): Promise<void> {
  const starts = application.starts.filter(({ title }) => title.includes(values.only))
  if (starts.length === 0) return
  let folder: string
  try {
    folder = await prepare(application, values.folder)
  } catch (error) {
    unexpected.push(`${application.name}: ${(error as Error).message}`)
    say(unexpected.at(-1)!)
    return
  }
  for (const start of starts) {
    const plain = await runStart('node', start, folder)
    judge(application, start, 'node', plain, plain)
    const possible = start.arrangements ?? arrangements
    for (const arrangement of possible.filter((one) => values.in.split(',').includes(one))) {
      judge(application, start, arrangement, plain, await runStart(arrangement, start, folder))
    }
  }
}

await mkdir(values.folder, { recursive: true })
const wanted = (name: string): boolean =>
  positionals.length === 0 || positionals.some((one) => name.toLowerCase().includes(one.toLowerCase()))
for (const application of applications.filter(({ name }) => wanted(name))) await runApplication(application)

say('')
for (const [at, row] of rows.entries()) {
  say(`| ${row.join(' | ')} |`)
  if (at === 0) say(`|${row.map(() => '---').join('|')}|`)
}
say('')
say(`${unexpected.length} differences`)
process.exitCode = unexpected.length === 0 ? 0 : 1
