/** `npm run bench`: runs the selected experiments and writes the results. The method is described in README.md. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { join } from 'node:path'
import { comparison, contestantsOfBoth } from './compare/compare.ts'
import { checkOut } from './compare/worktree.ts'
import { charts } from './draw/charts.ts'
import type { Bench, Experiment } from './experiments/experiment.ts'
import { coreSetups, experiments } from './experiments/experiments.ts'
import { busy, observeMachine } from './machine.ts'
import { runProgram } from './measure/ending.ts'
import { type Contestant, Fleet } from './measure/fleet.ts'
import { need, Unavailable } from './measure/programs.ts'
import { type Options, parseOptions, type Selection, select, UsageError, usage } from './options.ts'
import { thisTree } from './peers/peer.ts'
import { peers, type SetupName, setupOf, titleOf } from './peers/peers.ts'
import { Ledger } from './report/ledger.ts'
import { circumstances, figures, page, summary } from './report/page.ts'
import { type HistoryLine, historyLine, ledgerOf, type Results } from './report/results.ts'

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const here = import.meta.dirname
const resultsFile = join(here, 'results.json')
const historyFile = join(here, 'history.json')

function list(): void {
  say('experiments (* core):')
  for (const { name, title, core } of experiments) say(`  ${core ? '*' : ' '} ${name.padEnd(18)} ${title}`)
  say('\nsetups:')
  for (const { name, title } of Object.values(peers)) say(`    ${name.padEnd(18)} ${title}`)
}

/** The experiments to run, each with the setups that take part in it. */
function plan(options: Options, { experiments: named, setups }: Selection): Map<Experiment, SetupName[]> {
  const onlyCore = options.quick || options.compare !== undefined
  const chosen = experiments.filter(({ name, core }) => (named === undefined ? !onlyCore || core : named.has(name)))
  const takesPart = (setup: SetupName): boolean => {
    const { peer } = setupOf(setup)
    if (options.compare !== undefined && !peer.gantry) return false
    if (setups !== undefined) return setups.has(peer.name)
    return named !== undefined || !onlyCore || coreSetups.includes(setup)
  }
  return new Map(
    chosen
      .map((experiment) => [experiment, experiment.setups.filter(takesPart)] as const)
      .filter(([, setupNames]) => setupNames.length > 0),
  )
}

function contestantsOf(setups: readonly SetupName[]): Contestant[] {
  return setups.map((key) => ({ key, title: titleOf(key), root: thisTree, ...setupOf(key) }))
}

async function runAll(
  planned: ReadonlyMap<Experiment, SetupName[]>,
  options: Options,
  contestants: (setups: readonly SetupName[]) => readonly Contestant[],
): Promise<Results> {
  const machine = observeMachine()
  const warning = busy(loadavg()[0]!, availableParallelism())
  if (warning !== undefined) say(warning)
  const start = performance.now()
  const ledger = new Ledger()
  const skipped: string[] = []
  const settings = options.compare === undefined ? options : { ...options, rounds: roundsToCompare(options) }
  for (const [experiment, setups] of planned) {
    say(`\n${experiment.title} (${experiment.name})`)
    // The JIT compilers of Node take most of the first three seconds.
    const fleet = new Fleet(say, skipped, options.quick ? 1 : 3)
    const bench: Bench = { ledger, fleet, settings, say, skipped }
    try {
      if (experiment.needs !== undefined) need(experiment.needs)
      await experiment.run(bench, contestants(setups))
    } catch (error) {
      const reason = `${experiment.name} is left out: ${(error as Error).message}`
      skipped.push(reason)
      say(`  ${reason}`)
      if (!(error instanceof Unavailable)) process.exitCode = 1
    } finally {
      await fleet.close()
    }
  }
  const args = process.argv.slice(2)
  const commandLine = args.length === 0 ? [] : ['--', ...args]
  const seconds = Math.round((performance.now() - start) / 1000)
  return {
    date: new Date().toISOString(),
    mode: `\`${['npm run bench', ...commandLine].join(' ')}\` in ${seconds} s`,
    machine: machine(),
    // Only first lines: the output of a program names folders of this machine.
    skipped: skipped.map((reason) => reason.split('\n')[0]!),
    // More digits than anybody can measure would only make the file long.
    entries: ledger.entries.map((entry) => ({
      ...entry,
      values: entry.values.map((value) => Number(value.toPrecision(5))),
    })),
  }
}

/** Below six, not even a difference in every round is distinguishable from chance. */
function roundsToCompare({ rounds, quick }: Options): number {
  return rounds ?? (quick ? 6 : 10)
}

async function compare(
  planned: ReadonlyMap<Experiment, SetupName[]>,
  options: Options,
  revision: string,
): Promise<void> {
  const worktree = await checkOut(thisTree, revision, say)
  try {
    const short = worktree.commit.slice(0, 10)
    say(`comparing this working tree with ${revision} (${short})`)
    const results = await runAll(planned, options, (setups) => contestantsOfBoth(setups, short, worktree.root))
    say(`\n${circumstances(results)}\n\n${comparison(ledgerOf(results), [...planned.keys()], short)}`)
    say('\nratio: this tree ÷ the revision, the median over pairs of neighbouring rounds')
    tellSkipped(results)
    keep(results, false)
  } finally {
    worktree.remove()
  }
}

async function measure(planned: ReadonlyMap<Experiment, SetupName[]>, options: Options): Promise<void> {
  const results = await runAll(planned, options, contestantsOf)
  if (results.entries.length > 0) say(`\n${summary(results)}\n\n${figures(results)}`)
  else tellSkipped(results)
  keep(results, true)
  if (options.record && results.entries.length > 0) record(results)
}

function tellSkipped({ skipped }: Results): void {
  if (skipped.length > 0) say(`\nLeft out:\n${skipped.map((reason) => `- ${reason}`).join('\n')}`)
}

function keep(results: Results, chartsToo: boolean): void {
  if (results.entries.length === 0) {
    say('\nNothing was measured.')
    process.exitCode = 1
    return
  }
  const folder = join(here, 'results', results.date.replaceAll(':', '-'))
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'results.json'), json(results))
  if (chartsToo) draw(results, folder)
  say(`\nWritten: ${folder}`)
}

/** Everything that is committed: the results, their line in the history, the charts, and the page. */
function record(results: Results): void {
  writeFileSync(resultsFile, json(results))
  writeFileSync(historyFile, json([...read<HistoryLine[]>(historyFile), historyLine(results)]))
  redraw()
}

function draw(results: Results, folder: string): void {
  for (const { file, svg } of charts(ledgerOf(results))) writeFileSync(join(folder, file), svg)
}

/** The charts and the page from the recorded results. */
function redraw(): void {
  const results = read<Results>(resultsFile)
  const folder = join(here, 'charts')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  draw(results, folder)
  const readme = join(here, 'README.md')
  writeFileSync(readme, page(readFileSync(readme, 'utf8'), results, read<HistoryLine[]>(historyFile)))
  say(`Written: ${readme} and ${folder}`)
}

function read<T>(file: string): T {
  return JSON.parse(readFileSync(file, 'utf8')) as T
}

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 1)}\n`

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2))
  if (options.help) return void process.stdout.write(usage)
  if (options.list) return list()
  if (options.redraw) return redraw()
  const names = experiments.map(({ name }) => name)
  const planned = plan(options, select(options.only, names, Object.keys(peers)))
  if (planned.size === 0) {
    const which =
      options.compare === undefined ? 'any of these setups' : 'any of these setups, or they do not run Gantry'
    throw new UsageError(`--only: none of these experiments has ${which} (--list prints them)`)
  }
  if (process.platform !== 'linux') throw new UsageError('the bench needs Linux: it reads CPU and memory from /proc')
  if (options.compare === undefined) await measure(planned, options)
  else await compare(planned, options, options.compare)
}

await runProgram(main)
