import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { comparison, conclusion, contestantsOfBoth } from '../../bench/compare/compare.ts'
import { checkOut, commitOf, modulesPlan } from '../../bench/compare/worktree.ts'
import { experiments } from '../../bench/experiments/experiments.ts'
import { UsageError } from '../../bench/options.ts'
import { Ledger } from '../../bench/report/ledger.ts'

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'gantry-test-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  return path
}

const git = (cwd: string, ...args: readonly string[]): string =>
  execFileSync(
    'git',
    ['-c', 'user.name=Test', '-c', 'user.email=test@localhost', '-c', 'commit.gpgsign=false', ...args],
    { cwd, encoding: 'utf8' },
  )

/** A repository of two commits, tagged `old` and `new`, which lock different modules. */
function tinyRepository(t: TestContext): string {
  const root = folder(t)
  git(root, 'init', '--quiet')
  for (const version of ['old', 'new']) {
    writeFileSync(join(root, 'version.txt'), version)
    writeFileSync(join(root, 'package-lock.json'), JSON.stringify({ version }))
    git(root, 'add', '.')
    git(root, 'commit', '--quiet', '--message', version)
    git(root, 'tag', version)
  }
  mkdirSync(join(root, 'node_modules'))
  return root
}

const worktrees = (repository: string): number => git(repository, 'worktree', 'list').trim().split('\n').length
const silent = (): void => {}
const install = async (root: string): Promise<void> => mkdirSync(join(root, 'node_modules'))

test('a revision is checked out into a temporary folder, and nothing is left after its removal', async (t) => {
  const repository = tinyRepository(t)
  writeFileSync(join(repository, 'version.txt'), 'not committed')
  const { root, commit, remove } = await checkOut(repository, 'old', silent, install)
  assert.equal(readFileSync(join(root, 'version.txt'), 'utf8'), 'old')
  assert.equal(commit, git(repository, 'rev-parse', 'old').trim())
  assert.equal(worktrees(repository), 2)
  remove()
  assert.equal(existsSync(join(root, '..')), false)
  assert.equal(worktrees(repository), 1)
  remove()
  assert.equal(readFileSync(join(repository, 'version.txt'), 'utf8'), 'not committed')
})

test('modules are linked if both trees lock the same ones, and the link’s target survives the removal', async (t) => {
  const repository = tinyRepository(t)
  writeFileSync(join(repository, 'node_modules', 'a.js'), '')
  const { root, remove } = await checkOut(repository, 'new', silent, () => assert.fail('nothing is to be installed'))
  assert.ok(lstatSync(join(root, 'node_modules')).isSymbolicLink())
  remove()
  assert.ok(existsSync(join(repository, 'node_modules', 'a.js')))
})

test('modules are installed, with a message, if the lock files differ or nothing can be linked', async (t) => {
  const repository = tinyRepository(t)
  const said: string[] = []
  const { root, remove } = await checkOut(repository, 'old', (line) => said.push(line), install)
  t.after(remove)
  assert.deepEqual(said, ['installing the modules of old (its package-lock.json differs)'])
  assert.ok(lstatSync(join(root, 'node_modules')).isDirectory())
  assert.equal(modulesPlan(repository, repository), 'link')
  rmSync(join(repository, 'node_modules'), { recursive: true })
  assert.equal(modulesPlan(repository, repository), 'install')
})

test('an installation that fails leaves no worktree', async (t) => {
  const repository = tinyRepository(t)
  const fail = async (): Promise<void> => {
    throw new Error('the registry is not reachable')
  }
  await assert.rejects(checkOut(repository, 'old', silent, fail), /the registry is not reachable/)
  assert.equal(worktrees(repository), 1)
})

test('hooks of the repository do not run for the worktree', async (t) => {
  const repository = tinyRepository(t)
  const mark = join(repository, 'hook-ran')
  const hooks = join(repository, '.git', 'hooks')
  mkdirSync(hooks, { recursive: true })
  writeFileSync(join(hooks, 'post-checkout'), `#!/bin/sh\ntouch '${mark}'\n`, { mode: 0o755 })
  const { remove } = await checkOut(repository, 'new', silent)
  remove()
  assert.equal(existsSync(mark), false)
})

test('an unknown revision is refused by name, also if it looks like an option', (t) => {
  const repository = tinyRepository(t)
  for (const name of ['missing', '--all', '', 'old:version.txt']) {
    assert.throws(
      () => commitOf(repository, name),
      (error) => error instanceof UsageError && error.message.endsWith(`got ${JSON.stringify(name)}`),
    )
  }
  assert.throws(() => commitOf(folder(t), 'HEAD'), /--compare needs git .* and a clone of the repository/)
})

test('both revisions of a setup are neighbours in a round', () => {
  const both = contestantsOfBoth(['pair', 'container', 'pair:express'], 'abc', '/other')
  assert.deepEqual(
    both.map(({ key }) => key),
    ['pair', 'pair@abc', 'container', 'container@abc', 'pair:express', 'pair:express@abc'],
  )
  assert.deepEqual(new Set(both.filter(({ key }) => key.includes('@')).map(({ root }) => root)), new Set(['/other']))
  assert.ok(both.filter(({ key }) => !key.includes('@')).every(({ root }) => root !== '/other'))
})

test('a difference is claimed only if chance is an unlikely reason, and in the metric’s direction', () => {
  const rounds = (above: number, below: number, equal = 0) => [
    ...Array<number>(above).fill(1.1),
    ...Array<number>(below).fill(0.9),
    ...Array<number>(equal).fill(1),
  ]
  assert.equal(conclusion(rounds(6, 0), 'higher'), 'better')
  assert.equal(conclusion(rounds(6, 0), 'lower'), 'worse')
  assert.equal(conclusion(rounds(1, 9), 'lower'), 'better')
  assert.equal(conclusion(rounds(2, 8), 'lower'), 'no difference shown')
  assert.equal(conclusion(rounds(0, 0, 10), 'higher'), 'no difference shown')
  assert.equal(conclusion(rounds(4, 0, 6), 'higher'), 'no difference shown')
  assert.equal(conclusion(rounds(5, 0), 'higher'), 'too few rounds')
  assert.equal(conclusion([], 'higher'), 'too few rounds')
})

test('the comparison prints both figures, the ratio with its quartiles, and failed requests', () => {
  const ledger = new Ledger()
  for (const [own, other] of [
    [110, 100],
    [120, 100],
    [130, 100],
    [140, 100],
    [150, 100],
    [130, 100],
  ] as const) {
    ledger.add('hello', 'pair', 'rate', own)
    ledger.add('hello', 'pair@abc', 'rate', other)
  }
  ledger.add('hello', 'pair@abc', 'errors', 7)
  const text = comparison(
    ledger,
    experiments.filter(({ name }) => name === 'hello'),
    'abc',
  )
  const row = text.split('\n').find((line) => line.includes('hello: pair, requests/s'))!
  assert.deepEqual(
    row.split('|').map((cell) => cell.trim()),
    ['', 'hello: pair, requests/s', '130', '100', '1.300', '1.225 to 1.375', '6', 'better', ''],
  )
  assert.match(text, /Failed requests: hello: pair@abc 7\./)
})

/** The bench of this repository; its temporary files go to `temporary`. */
function bench(temporary: string, args: readonly string[]): ChildProcess {
  const file = join(import.meta.dirname, '..', '..', 'bench', 'run.ts')
  return spawn(process.execPath, [file, ...args], {
    env: { ...process.env, TMPDIR: temporary },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

/** What the bench itself has left there. */
const leftIn = (temporary: string): string[] => readdirSync(temporary).filter((name) => name.startsWith('gantry-'))

const ours = join(import.meta.dirname, '..', '..')
const skip = process.platform !== 'linux' || !existsSync(join(ours, '.git'))

test('--compare runs both trees and leaves neither a worktree nor a folder', { skip }, async (t) => {
  const temporary = folder(t)
  const child = bench(temporary, ['--compare', 'HEAD', '--only', 'aborts,pair', '--quick'])
  const [output, [code]] = await Promise.all([text(child.stdout!), once(child, 'exit')])
  assert.equal(code, 0, output)
  assert.match(output, /^\| aborts: pair, median ms /m)
  assert.deepEqual(leftIn(temporary), [])
  assert.equal(git(ours, 'worktree', 'list').includes(temporary), false)
})

test('--compare ended by Ctrl-C leaves neither a worktree nor a folder', { skip }, async (t) => {
  const temporary = folder(t)
  const child = bench(temporary, ['--compare', 'HEAD', '--only', 'aborts,pair', '--quick'])
  const exit = once(child, 'exit')
  let output = ''
  for await (const chunk of child.stdout!.setEncoding('utf8')) {
    output += chunk
    // Printed once the worktree is there and servers are about to start.
    if (output.includes('(aborts)')) child.kill('SIGINT')
  }
  assert.deepEqual(await exit, [130, null], output)
  assert.deepEqual(leftIn(temporary), [])
  assert.equal(git(ours, 'worktree', 'list').includes(temporary), false)
})
