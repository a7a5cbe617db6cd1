import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Ledger } from '../../bench/ledger.ts'
import { parseResult } from '../../bench/load.ts'
import { cpuFromStat, parentFromStat, residentFromStatus } from '../../bench/process-usage.ts'
import { median, pairedRatio, roundOrder, verdict } from '../../bench/statistics.ts'
import { figure, places, size, table } from '../../bench/table.ts'
import { judge, type Target } from '../../bench/targets.ts'

test('the median is the middle value, or the mean of the middle two, whatever the order', () => {
  assert.equal(median([30, 1, 20]), 20)
  assert.equal(median([4, 1, 3, 2]), 2.5)
  assert.equal(median([100, 9]), 54.5)
  assert.equal(median([]), Number.NaN)
})

test('a ratio is the median of the rounds’ ratios, not the ratio of medians', () => {
  assert.equal(pairedRatio([10, 30, 8], [10, 10, 4]), 2)
  assert.equal(pairedRatio([10, 20], [5]), 2)
  assert.equal(pairedRatio([10, 20], [0, 5]), 4)
  assert.equal(pairedRatio([], [1]), Number.NaN)
})

test('rounds go forwards and backwards in turn', () => {
  assert.deepEqual(roundOrder(['a', 'b'], 0), ['a', 'b'])
  assert.deepEqual(roundOrder(['a', 'b'], 1), ['b', 'a'])
})

test('a verdict does not round in our favour', () => {
  assert.equal(verdict(0.7999, '>=', 0.8), 'missed')
  assert.equal(verdict(0.8, '>=', 0.8), 'met')
  assert.equal(verdict(1.0001, '<=', 1), 'missed')
  assert.equal(verdict(Number.NaN, '<=', 1), 'not measured')
  assert.equal(verdict(undefined, '>=', 1), 'not measured')
})

test('a target tells apart what had to be reached now and what is aimed at', () => {
  const target: Target = { what: '', comparison: '>=', goal: 0.8, target: 1, unit: '', reach: () => 0 }
  assert.equal(judge(target, 1), 'met')
  assert.equal(judge(target, 0.9), 'goal met, target missed')
  assert.equal(judge(target, 0.7), 'MISSED')
  assert.equal(judge(target, Number.NaN), 'not measured')
  assert.equal(judge({ ...target, goal: undefined }, 0.9), 'target missed')
})

test('a missing arrangement makes a ratio not measured instead of good', () => {
  const ledger = new Ledger()
  ledger.add('hello', 'pair', 'requests/s', 100)
  assert.equal(ledger.ratio('hello', 'requests/s', 'pair', 'node'), Number.NaN)
  ledger.add('hello', 'node', 'requests/s', 50)
  assert.equal(ledger.ratio('hello', 'requests/s', 'pair', 'node'), 2)
  assert.deepEqual(ledger.arrangements('hello'), ['pair', 'node'])
})

test('figures keep three digits that mean something', () => {
  assert.equal(figure(47_312.4), '47,300')
  assert.equal(figure(999.6), '1,000')
  assert.equal(figure(18.234), '18.2')
  assert.equal(figure(0.31549), '0.315')
  assert.equal(figure(0), '0')
  assert.equal(figure(-1234), '-1,230')
  assert.equal(figure(Number.NaN), '–')
  assert.equal(places(1.005, 1), '1.0')
  assert.equal(places(undefined), '–')
})

test('sizes are in the largest unit that they fill', () => {
  assert.equal(size(13), '13 B')
  assert.equal(size(10 * 1024), '10 KiB')
  assert.equal(size(1.5 * 1024 * 1024), '1.5 MiB')
  assert.equal(size(1024 ** 3), '1 GiB')
})

test('a table is padded Markdown', () => {
  assert.equal(
    table(['setup', 'n'], [['a', '1,000'], ['longer']]),
    ['| setup  |     n |', '| ------ | ----: |', '| a      | 1,000 |', '| longer |       |'].join('\n'),
  )
})

test('CPU time is found behind a process name with spaces and parentheses', () => {
  const stat = '42 (a (b) c) S 7 42 42 0 -1 4194304 100 0 0 0 150 50 20 5 20 0 1 0 100 1000 10'
  assert.equal(parentFromStat(stat), 7)
  assert.equal(cpuFromStat(stat), 2_250_000)
})

test('resident memory is VmRSS in bytes, none for a process that has ended', () => {
  assert.equal(residentFromStatus('Name:\tnode\nVmHWM:\t 20 kB\nVmRSS:\t    12 kB\n'), 12 * 1024)
  assert.equal(residentFromStatus('Name:\tnode\nState:\tZ (zombie)\n'), 0)
})

test('wrk’s result is read from its line, with every kind of error counted', () => {
  const line =
    'RESULT {"requests":400,"bytes":1,"microseconds":2000000,"p50":1500,"p99":9000,"connect":1,"read":2,"write":3,"status":4,"timeout":5}'
  assert.deepEqual(parseResult(`Running 2s test\n${line}\n`), {
    requests: 400,
    seconds: 2,
    p50: 1.5,
    p99: 9,
    errors: 15,
  })
  assert.throws(() => parseResult('unable to connect'), /wrk gave no result/)
})
