/** `npm run bench`: which experiments run, in which order, and where the results go. The method is described in README.md. */

import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { experiments } from './experiments.ts'
import { Fleet } from './fleet.ts'
import { Ledger } from './ledger.ts'
import { type Machine, report } from './report.ts'
import { roundsExperiments, runRounds } from './rounds.ts'
import { findProgram } from './workshop.ts'

const usage = `Usage: npm run bench -- [options]

  --quick           short rounds and small crowds: under 90 s, for a first look
  --only PATTERN    only experiments whose name matches (a regular expression); --list names them
  --list            the experiments
  --record          also writes bench/results.json and the results in bench/README.md
`

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    list: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

const say = (line: string): void => void process.stdout.write(`${line}\n`)

function version(pattern: RegExp, ...command: readonly string[]): string | undefined {
  const program = findProgram(command[0]!)
  if (program === undefined) return undefined
  // Each tells its version on another stream, and wrk with a failure.
  let text = ''
  try {
    text = execFileSync('sh', ['-c', `"$0" "$@" 2>&1 || true`, program, ...command.slice(1)], { encoding: 'utf8' })
  } catch {
    return undefined
  }
  return pattern.exec(text)?.[1]
}

function machine(): Machine {
  const others: Record<string, string> = {}
  const found = {
    nginx: version(/nginx\/([\d.]+)/, 'nginx', '-v'),
    uWSGI: version(/^([\d.]+)/, 'uwsgi-core', '--version'),
    wrk: version(/wrk (?:debian\/)?([\d.]+)/, 'wrk', '-v'),
  }
  for (const [name, text] of Object.entries(found)) if (text !== undefined) others[name] = text
  return { cores: availableParallelism(), node: process.versions.node, others }
}

async function main(): Promise<void> {
  if (options.help) return say(usage)
  if (options.list) {
    for (const { name, title } of [...roundsExperiments, ...experiments]) say(`${name}: ${title}`)
    return
  }
  if (process.platform !== 'linux') throw new Error('the bench reads /proc, which only Linux has')
  if (findProgram('wrk') === undefined) throw new Error('wrk is not installed; nothing can be measured without it')

  const pattern = new RegExp(options.only, 'i')
  const wanted = <T extends { name: string }>(list: readonly T[]): T[] => list.filter(({ name }) => pattern.test(name))
  const start = performance.now()
  const ledger = new Ledger()
  const skipped: string[] = []
  const failures: string[] = []
  const attempt = async (title: string, act: () => Promise<void>): Promise<void> => {
    say(`\n${title}`)
    try {
      await act()
    } catch (error) {
      failures.push(`${title}: ${(error as Error).message}`)
      say(`  FAILED: ${(error as Error).message}`)
    }
  }

  const fleet = new Fleet(say, skipped, options.quick ? 1 : 3)
  try {
    for (const experiment of wanted(roundsExperiments)) {
      const rounds = options.quick ? Math.min(2, experiment.rounds - 2) : experiment.rounds
      const times = options.quick ? { lead: 0, measured: 1 } : { lead: 1, measured: 2 }
      await attempt(experiment.title, () => runRounds(experiment, times, rounds, fleet, ledger, say))
    }
  } finally {
    await fleet.close()
  }
  for (const experiment of wanted(experiments)) {
    await attempt(experiment.title, () => experiment.run({ ledger, say, skipped, settings: { quick: options.quick } }))
  }

  const about = machine()
  const seconds = Math.round((performance.now() - start) / 1000)
  const mode = `${options.quick ? 'a quick run' : 'a full run'} of ${seconds} s${options.only ? ` of what matches “${options.only}”` : ''}`
  const text = report(ledger, about, [...skipped, ...failures], mode)
  say(`\n${text}`)

  // Without the output of what failed: it names folders of this machine.
  const short = (lines: readonly string[]): string[] => lines.map((line) => line.split('\n')[0]!)
  const results = {
    date: new Date().toISOString(),
    machine: about,
    mode,
    skipped: short(skipped),
    failures: short(failures),
    entries: ledger.entries,
  }
  const json = `${JSON.stringify(results, undefined, 1)}\n`
  const folder = join(import.meta.dirname, 'results')
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${results.date.replaceAll(':', '-')}.json`)
  writeFileSync(file, json)
  say(`\nWritten: ${file}`)
  if (options.record) {
    writeFileSync(join(import.meta.dirname, 'results.json'), json)
    const readme = join(import.meta.dirname, 'README.md')
    const marked = /(<!-- results -->\n)[\s\S]*(\n<!-- end of results -->)/
    writeFileSync(
      readme,
      readFileSync(readme, 'utf8').replace(marked, (_all, before, after) => `${before}\n${text}\n${after}`),
    )
  }
  if (failures.length > 0) process.exitCode = 1
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))
await main()
