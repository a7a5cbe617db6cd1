/**
 * `npm run test:frameworks`: the cases of each framework and the tests that packages publish, on node:http and in the
 * pair, and a table of both. Fails when something differs that is not listed with its reason.
 */

import { repositoryFile } from '../support/child.ts'
import { differenceOf } from './differences.ts'
import { type PublishedDifference, publishedDifference, unneeded } from './published/differences.ts'
import { filesOf, packages, type Ran, runFile } from './published/suites.ts'
import type { Framework } from './shape.ts'

/** The number of files that run concurrently. */
const AT_ONCE = 3

const frameworks: readonly [Framework, file: string][] = [
  ['Express', 'express'],
  ['Koa', 'koa'],
  ['Fastify', 'fastify'],
  ['Hono', 'hono'],
  ['NestJS', 'nest'],
]

/** The test that counts the cases is not a case. */
const COUNTED = 'is asked in at least'

type Row = readonly (string | number)[]

function table(rows: readonly Row[]): string {
  const widths = rows[0]!.map((_, at) => Math.max(...rows.map((row) => String(row[at]).length)))
  const line = (row: Row): string =>
    row
      .map((cell, at) => (typeof cell === 'number' ? `${cell}`.padStart(widths[at]!) : cell.padEnd(widths[at]!)))
      .join('  ')
  return `${rows.map(line).join('\n')}\n`
}

const unexpected: string[] = []

/** The cases of one framework: each case compares both servers in one run. */
async function cases(): Promise<void> {
  const rows: Row[] = [['Framework', 'cases', 'as on node:http', 'differ as listed', 'failed']]
  for (const [framework, name] of frameworks) {
    const ran = await runFile(repositoryFile(`test/frameworks/${name}.test.ts`), false)
    const outcomes = ran.outcomes.filter((one) => !one.name.includes(COUNTED))
    const passed = outcomes.filter((one) => one.passed)
    const listed = passed.filter((one) => differenceOf(framework, one.name.split(' > ').at(-1)!))
    const failed = outcomes.filter((one) => !one.passed)
    rows.push([framework, outcomes.length, passed.length - listed.length, listed.length, failed.length])
    unexpected.push(...failed.map((one) => `${framework}: ${one.name}: ${one.error}`))
    if (outcomes.length === 0) unexpected.push(`${framework}: no case was run`)
  }
  process.stdout.write(`${table(rows)}\n`)
}

interface Both {
  readonly plain: Ran
  readonly pair: Ran
}

async function runBoth(files: string[]): Promise<Both[]> {
  const all: Both[] = []
  const work = async (): Promise<void> => {
    for (let file = files.shift(); file !== undefined; file = files.shift()) {
      all.push({ plain: await runFile(file, false), pair: await runFile(file, true) })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return all
}

function passes(ran: Ran): string[] {
  return ran.outcomes.filter((one) => one.passed && !one.skipped).map((one) => one.name)
}

/** The published tests: a test that fails on node:http too does not concern the pair. */
async function published(): Promise<void> {
  const rows: Row[] = [
    ['Package', 'files', 'not to be run', 'pass on node:http', 'pass in the pair', 'differ as listed', 'failed'],
  ]
  const needed: Set<PublishedDifference> = new Set()
  for (const name of packages) {
    const both = await runBoth(filesOf(name))
    // Most of them need modules that only their own repository installs.
    const idle = both.filter(({ plain }) => passes(plain).length === 0).length
    let plainPasses = 0
    let pairPasses = 0
    let listed = 0
    let failed = 0
    for (const { plain, pair } of both) {
      const good = new Set(passes(pair))
      for (const test of passes(plain)) {
        plainPasses++
        if (good.has(test)) pairPasses++
        else if (publishedDifference(plain.file, test)) {
          listed++
          needed.add(publishedDifference(plain.file, test)!)
        } else {
          failed++
          unexpected.push(
            `${plain.file}: ${test}: ${pair.outcomes.find((one) => one.name === test)?.error ?? 'not run'}`,
          )
        }
      }
    }
    rows.push([name, both.length, idle, plainPasses, pairPasses, listed, failed])
  }
  process.stdout.write(`${table(rows)}\n`)
  for (const line of unneeded((file) => !file.startsWith('checkouts/'), needed)) process.stdout.write(`${line}\n`)
}

const [only] = process.argv.slice(2)
if (only === undefined || only === 'cases') await cases()
if (only === undefined || only === 'published') await published()
for (const line of unexpected) process.stdout.write(`not as on node:http: ${line}\n`)
process.exitCode = unexpected.length === 0 ? 0 : 1
