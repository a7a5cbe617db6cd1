import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { charts } from '../../bench/draw/charts.ts'
import { experiments } from '../../bench/experiments/experiments.ts'
import { busy, type Machine } from '../../bench/machine.ts'
import { peers, setupOf, titleOf } from '../../bench/peers/peers.ts'
import { Ledger } from '../../bench/report/ledger.ts'
import { figures, history, page, replaceBetween, summary } from '../../bench/report/page.ts'
import { type HistoryLine, historyLine, ledgerOf, type Results } from '../../bench/report/results.ts'
import { limits, targets } from '../../bench/report/targets.ts'

const machine: Machine = {
  cores: 2,
  node: '24.0.0',
  others: { wrk: '4.1.0' },
  loadBefore: 3.149,
  foreignPercent: 4.4,
  stolenPercent: 0.26,
  revision: 'abc1234567-dirty',
}

function results(ledger: Ledger, skipped: readonly string[] = []): Results {
  return {
    date: '2026-11-30T12:00:00.000Z',
    mode: '`npm run bench` in 60 s',
    machine,
    skipped,
    entries: ledger.entries,
  }
}

function twoRounds(): Ledger {
  const ledger = new Ledger()
  const rates = { pair: [120, 140], 'nginx-node': [100, 100], container: [50, 50], node: [100, 100] } as const
  for (const [setup, values] of Object.entries(rates) as [keyof typeof rates, readonly number[]][]) {
    for (const value of values) ledger.add('hello', setup, 'rate', value)
  }
  for (const [role, value] of [
    ['proxy', 12],
    ['container', 8],
  ] as const) {
    ledger.add('hello', 'pair', `cpu of ${role}`, value)
  }
  return ledger
}

test('the summary says on which machine, under which load, and what is behind before what is ahead', () => {
  const text = summary(results(twoRounds()))
  assert.match(
    text,
    /^2026-11-30, revision abc1234567-dirty, .*2 cores .*load average before the run 3\.1; during the run other processes used 4 % of the CPU, the hypervisor 0\.3 %/,
  )
  assert.match(text, /behind in 1 of these 2 comparisons, ahead in 1 and about equal in 0; 1 reach their goal/)
  const [behind, ahead] = text.split('\n').slice(-2)
  assert.match(behind!, /container’s port ÷ node:http, requests\/s +\| +0\.50 \| +0\.50 to 0\.50 .* missed \| behind/)
  assert.match(ahead!, /warm: pair ÷ nginx → node:http, requests\/s +\| +1\.30 \| +1\.25 to 1\.35 .* met \| +ahead/)
})

test('a comparison whose rounds lie on both sides of 1 is called equal', () => {
  const ledger = new Ledger()
  for (const rate of [90, 100, 130]) {
    ledger.add('hello', 'pair', 'rate', rate)
    ledger.add('hello', 'nginx-node', 'rate', 100)
  }
  assert.match(summary(results(ledger)), /behind in 0 of these 1 comparisons, ahead in 0 and about equal in 1;/)
})

test('a summary of a run on a busy machine says first that its figures are not to be quoted', () => {
  const quiet = results(twoRounds())
  assert.doesNotMatch(summary(quiet), /do not quote these figures/)
  for (const busy of [{ foreignPercent: 30 }, { stolenPercent: 30 }]) {
    const text = summary({ ...quiet, machine: { ...machine, ...busy } })
    assert.match(text, /^\*\*The machine did other work during this run: do not quote these figures/)
  }
})

test('comparisons that are not headlines are listed, but not in the summary', () => {
  const ledger = twoRounds()
  ledger.add('hello', 'http-proxy', 'rate', 20)
  assert.doesNotMatch(summary(results(ledger)), /http-proxy-3/)
  assert.match(figures(results(ledger)), /^\*\*All comparisons\*\*[\s\S]*pair ÷ http-proxy-3 → node:http, requests\/s/)
})

test('the tables have every setup with its processes, and what was left out', () => {
  const text = figures(results(twoRounds(), ['HAProxy → node:http is left out: HAProxy is not installed']))
  assert.match(text, /^\| Gantry: proxy → container \(the pair\) .* proxy 12\.0, container 8\.00 \|$/m)
  assert.match(text, /^\| node:http, no proxy +\| +100 /m)
  assert.match(text, /^Left out:\n- HAProxy → node:http is left out: HAProxy is not installed$/m)
})

test('a setup that did not keep up with the fixed rate is named under the table', () => {
  const ledger = new Ledger()
  for (const [setup, answered] of [
    ['pair', 979],
    ['node', 990],
  ] as const) {
    ledger.add('fixed-rate', setup, 'asked', 1000)
    ledger.add('fixed-rate', setup, 'answered', answered)
  }
  assert.match(figures(results(ledger)), /^Did not keep up with the rate, .*: pair\.$/m)
})

test('the history has a column for each run, the newest first, and a dash for what a run did not measure', () => {
  const runs: HistoryLine[] = [
    { date: '2026-01-01', revision: 'old', loadBefore: 0.1, foreignPercent: 2, ratios: { 'a ratio of old': 1.5 } },
    historyLine(results(twoRounds())),
  ]
  const lines = history(runs).split('\n')
  const cells = (start: string) =>
    lines
      .find((line) => line.startsWith(`| ${start}`))!
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim())
  assert.deepEqual(cells('revision'), ['revision', 'abc1234567-dirty', 'old'])
  assert.deepEqual(cells('CPU used by other').slice(1), ['4', '2'])
  assert.deepEqual(cells('warm: pair ÷ nginx → node:http, requests/s').slice(1), ['1.30', '–'])
  assert.deepEqual(cells('a ratio of old').slice(1), ['–', '1.50'])
})

test('only the text between two markers is replaced', () => {
  const text = 'before $1\n<!-- a -->\nold\n<!-- end of a -->\nafter\n'
  assert.equal(replaceBetween(text, 'a', '$& new'), 'before $1\n<!-- a -->\n\n$& new\n\n<!-- end of a -->\nafter\n')
  assert.equal(replaceBetween(replaceBetween(text, 'a', 'x'), 'a', 'x'), replaceBetween(text, 'a', 'x'))
  assert.throws(() => replaceBetween(text, 'b', ''), /expected the markers <!-- b --> and <!-- end of b -->/)
})

test('a busy machine is reported before a run, a quiet one is not', () => {
  assert.equal(busy(0.99, 2), undefined)
  assert.equal(busy(11.34, 2), 'the machine is busy: load average 11.3 on 2 cores; trust ratios, not absolute figures')
})

test('targets and limits are about setups and metrics that their experiment measures', () => {
  const byName = new Map(experiments.map((experiment) => [experiment.name, experiment]))
  assert.equal(byName.size, experiments.length)
  for (const { experiment, metric, over, under } of targets) {
    assert.ok(byName.get(experiment)!.metrics.includes(metric), `${experiment} ${metric}`)
    for (const setup of [over, under]) {
      assert.ok(byName.get(experiment)!.setups.includes(setup), `${experiment} ${setup}`)
    }
  }
  for (const { experiment, metric, setup } of limits) {
    assert.ok(byName.get(experiment)!.metrics.includes(metric), `${experiment} ${metric}`)
    assert.ok(byName.get(experiment)!.setups.includes(setup), `${experiment} ${setup}`)
  }
})

test('every peer has one name, and takes part in an experiment', () => {
  const used = new Set(experiments.flatMap(({ setups }) => setups.map((setup) => setupOf(setup).peer.name)))
  for (const [name, peer] of Object.entries(peers)) {
    assert.equal(peer.name, name)
    assert.ok(used.has(name), `${name} is measured`)
  }
  assert.equal(titleOf('nginx-node:hono'), 'nginx → Hono on @hono/node-server')
  assert.equal(titleOf('pair:express'), 'Gantry: proxy → container (the pair): Express')
  assert.throws(() => setupOf('apache' as 'node'), /expected a setup \(pair, .*\), got "apache"/)
})

// After a change of how results are shown: npm run bench -- --redraw
test('README.md and the charts show the recorded results', () => {
  const bench = join(import.meta.dirname, '..', '..', 'bench')
  const read = (file: string): string => readFileSync(join(bench, file), 'utf8')
  const recorded = JSON.parse(read('results.json')) as Results
  const runs = JSON.parse(read('history.json')) as HistoryLine[]
  assert.equal(page(read('README.md'), recorded, runs), read('README.md'))
  assert.deepEqual(runs.at(-1), historyLine(recorded))
  const drawn = charts(ledgerOf(recorded))
  assert.deepEqual(readdirSync(join(bench, 'charts')).sort(), drawn.map(({ file }) => file).sort())
  for (const { file, svg } of drawn) assert.equal(read(join('charts', file)), svg)
})
