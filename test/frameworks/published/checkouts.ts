/**
 * `npm run test:checkouts NAME=FOLDER…`: the suites of Express, Koa and Hono's node server, which their packages lack,
 * from checkouts with their packages installed: once on node:http, once with every `listen()` served through the pair.
 * Fails when a test passes on node:http alone and `differences.ts` does not list it.
 */

import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { repositoryFile, TestChild } from '../../support/child.ts'
import { publishedDifference, unneeded } from './differences.ts'
import type { Outcome } from './reporter.ts'
import { runFile } from './suites.ts'

const preload = repositoryFile('test/frameworks/published/through-the-pair.ts')
/** Timeout of a whole suite, milliseconds: a longer run hangs. */
const PATIENCE = 400_000

type Run = (folder: string, throughPair: boolean) => Promise<Omit<Outcome, 'file'>[]>

/** Runs a command that writes its results as JSON to the file that `argv` gets. */
async function results(folder: string, throughPair: boolean, argv: (file: string) => string[]): Promise<unknown> {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-'))
  const file = join(directory, 'results.json')
  try {
    const env = throughPair ? { NODE_OPTIONS: `--import=${preload}` } : {}
    const child = new TestChild(argv(file), { cwd: folder, patience: PATIENCE, env: { NODE_NO_WARNINGS: '1', ...env } })
    await child.exited
    return JSON.parse(readFileSync(file, 'utf8'))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

interface MochaResults {
  readonly tests: readonly { fullTitle: string; err: { message?: string } }[]
  readonly pending: readonly { fullTitle: string }[]
}

const mocha: Run = async (folder, throughPair) => {
  const given = (await results(folder, throughPair, (file) => [
    ...['node_modules/mocha/bin/mocha.js', '--exit', '--require', 'test/support/env', 'test/', 'test/acceptance/'],
    ...['--reporter', 'json', '--reporter-option', `output=${file}`],
  ])) as MochaResults
  const skipped = new Set(given.pending.map(({ fullTitle }) => fullTitle))
  return given.tests.map(({ fullTitle, err }) => ({
    name: fullTitle,
    passed: err.message === undefined,
    skipped: skipped.has(fullTitle),
    error: err.message ?? '',
  }))
}

interface VitestResults {
  readonly testResults: readonly {
    name: string
    assertionResults: readonly { fullName: string; status: string; failureMessages: readonly string[] }[]
  }[]
}

const vitest: Run = async (folder, throughPair) => {
  const given = (await results(folder, throughPair, (file) => [
    ...['node_modules/vitest/vitest.mjs', 'run', '--reporter=json', `--outputFile=${file}`],
  ])) as VitestResults
  return given.testResults.flatMap(({ name, assertionResults }) =>
    assertionResults.map(({ fullName, status, failureMessages }) => ({
      name: `${relative(join(folder, 'test'), name)} > ${fullName}`,
      passed: status === 'passed',
      skipped: status !== 'passed' && status !== 'failed',
      error: failureMessages[0] ?? '',
    })),
  )
}

const nodeTest: Run = async (folder, throughPair) => {
  const all: Omit<Outcome, 'file'>[] = []
  for (const file of globSync('__tests__/**/*.test.js', { cwd: folder })) {
    const { outcomes } = await runFile(join(folder, file), throughPair, folder)
    all.push(...outcomes.map(({ name, ...rest }) => ({ ...rest, name: `${file} > ${name}` })))
  }
  return all
}

const suites: Readonly<Record<string, Run>> = { express: mocha, koa: nodeTest, 'node-server': vitest }

let unexpected = 0
for (const argument of process.argv.slice(2)) {
  const [name = '', folder = ''] = argument.split('=')
  const run = suites[name]
  if (!run)
    throw new Error(
      `expected one of ${Object.keys(suites).join(', ')} and a folder, as express=/tmp/express; got ${argument}`,
    )
  const [plain, pair] = [await run(resolve(folder), false), await run(resolve(folder), true)]
  const passes = plain.filter(({ passed, skipped }) => passed && !skipped)
  const seen = new Map(pair.map((outcome) => [outcome.name, outcome]))
  const differ = passes.filter((outcome) => seen.get(outcome.name)?.passed !== true)
  const file = `checkouts/${name}`
  const failed = differ.filter((outcome) => !publishedDifference(file, outcome.name))
  const listed = differ.map((outcome) => publishedDifference(file, outcome.name)).filter((one) => one !== undefined)
  process.stdout.write(
    `${name}: ${passes.length} pass on node:http, ${passes.length - differ.length} in the pair; ${differ.length - failed.length} differ as listed, ${failed.length} failed\n`,
  )
  for (const outcome of failed) {
    process.stdout.write(
      `not as on node:http: ${outcome.name}: ${(seen.get(outcome.name)?.error ?? 'not run').slice(0, 300)}\n`,
    )
  }
  for (const line of unneeded((one) => one === file, new Set(listed))) process.stdout.write(`${line}\n`)
  unexpected += failed.length
}
process.exitCode = unexpected === 0 ? 0 : 1
