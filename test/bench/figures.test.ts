import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cpuFromStat, machineTicks, parentFromStat, residentFromStatus } from '../../bench/measure/process-usage.ts'
import { parseWrk } from '../../bench/measure/wrk.ts'
import { Ledger } from '../../bench/report/ledger.ts'
import {
  median,
  pairedRatio,
  pairedRatios,
  percentile,
  quantile,
  roundOrder,
  signTest,
  spread,
  verdict,
} from '../../bench/report/statistics.ts'
import { figure, places, size, table } from '../../bench/report/table.ts'
import { reached } from '../../bench/report/targets.ts'

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

test('rounds run forwards and backwards alternately', () => {
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

test('a quantile is interpolated between the two values around it', () => {
  assert.equal(quantile([40, 10, 20, 30], 0.25), 17.5)
  assert.equal(quantile([1, 2, 3], 0), 1)
  assert.equal(quantile([1, 2, 3], 1), 3)
  assert.equal(quantile([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY], 0.5), Number.POSITIVE_INFINITY)
  assert.equal(quantile([], 0.5), Number.NaN)
})

test('a percentile is a value that was measured, and at least that share of all values is not above it', () => {
  const thousand = Array.from({ length: 1000 }, (_, at) => at + 1)
  assert.equal(percentile(thousand, 0.5), 500)
  assert.equal(percentile(thousand, 0.99), 990)
  assert.equal(percentile(thousand, 0.999), 999)
  assert.equal(percentile(thousand, 1), 1000)
  assert.equal(percentile([7], 0.999), 7)
  assert.equal(percentile([7, 8], 0), 7)
  assert.equal(percentile([], 0.5), Number.NaN)
})

test('the spread of ratios is their median with the quartiles', () => {
  const ratios = pairedRatios([10, 22, 36, 52, 7], [10, 20, 30, 40])
  assert.deepEqual(
    ratios.map((ratio) => places(ratio)),
    ['1.00', '1.10', '1.20', '1.30'],
  )
  const { low, high, rounds } = spread(ratios)
  assert.deepEqual([places(low, 3), places(high, 3), rounds], ['1.075', '1.225', 4])
})

test('the sign test tells how likely so lopsided a result is by chance', () => {
  assert.equal(signTest(6, 6), 2 / 64)
  assert.equal(signTest(1, 10), 22 / 1024)
  assert.equal(signTest(9, 10), 22 / 1024)
  assert.equal(signTest(5, 10), 1)
  assert.equal(signTest(0, 0), 1)
  assert.ok(signTest(300, 1000) < 1e-30)
})

test('a target is met by the measured ratio in the direction in which its metric is better', () => {
  const ledger = new Ledger()
  for (const [setup, rate, cpu] of [
    ['pair', 130, 20],
    ['nginx-node', 100, 25],
  ] as const) {
    ledger.add('hello', setup, 'rate', rate)
    ledger.add('hello', setup, 'cpu', cpu)
  }
  const of = (metric: string) =>
    reached(ledger).find(
      ({ target }) => target.metric === metric && target.over === 'pair' && target.under === 'nginx-node',
    )!
  assert.deepEqual([of('rate').advantage, of('rate').verdict], [1.3, 'met'])
  assert.deepEqual([of('cpu').ratio.median, of('cpu').advantage, of('cpu').verdict], [0.8, 1.25, 'met'])
  ledger.add('hello', 'pair', 'cpu', 100)
  ledger.add('hello', 'nginx-node', 'cpu', 25)
  assert.equal(of('cpu').verdict, 'missed')
  assert.equal(of('p99').verdict, 'not measured')
  assert.deepEqual(
    reached(ledger).filter(({ target }) => target.experiment !== 'hello'),
    [],
  )
})

test('a missing setup makes a ratio unmeasured instead of good', () => {
  const ledger = new Ledger()
  ledger.add('hello', 'pair', 'rate', 100)
  assert.equal(ledger.ratio('hello', 'rate', 'pair', 'node').median, Number.NaN)
  assert.equal(ledger.ratio('hello', 'rate', 'pair', 'node').rounds, 0)
  ledger.add('hello', 'node', 'rate', 50)
  assert.equal(ledger.ratio('hello', 'rate', 'pair', 'node').median, 2)
  assert.deepEqual(ledger.setups('hello'), ['pair', 'node'])
})

test('rounds become one figure as their metric says: the median, all errors, the worst memory', () => {
  const ledger = new Ledger()
  for (const value of [1, 2, 9]) {
    ledger.add('hello', 'pair', 'rate', value)
    ledger.add('hello', 'pair', 'errors', value)
    ledger.add('hello', 'pair', 'growth', value)
    ledger.add('hello', 'pair', 'cpu of proxy', value)
  }
  const figures = (['rate', 'errors', 'growth', 'cpu of proxy', 'p99'] as const).map((metric) =>
    ledger.figure('hello', 'pair', metric),
  )
  assert.deepEqual(figures, [2, 12, 9, 2, Number.NaN])
  assert.deepEqual(ledger.roles('hello', 'pair'), ['proxy'])
})

test('figures keep three significant digits', () => {
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

test('resident memory is VmRSS in bytes, undefined for a process that has ended', () => {
  assert.equal(residentFromStatus('Name:\tnode\nVmHWM:\t 20 kB\nVmRSS:\t    12 kB\n'), 12 * 1024)
  assert.equal(residentFromStatus('Name:\tnode\nState:\tZ (zombie)\n'), 0)
})

test('CPU time of the machine is read by its columns in /proc/stat, and guest time is not counted twice', () => {
  const stat = 'cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 1 1 1\n'
  assert.deepEqual(machineTicks(stat), { all: 360, processes: 60, stolen: 80 })
  assert.deepEqual(machineTicks('intr 1 2 3\n'), { all: 0, processes: 0, stolen: 0 })
})

test('wrk’s result is read from its line, with every kind of error counted', () => {
  const line =
    'RESULT {"requests":400,"bytes":1,"microseconds":2000000,"p50":1500,"p99":9000,"p999":12000,"connect":1,"read":2,"write":3,"status":4,"timeout":5}'
  assert.deepEqual(parseWrk(`Running 2s test\n${line}\n`), {
    requests: 400,
    seconds: 2,
    p50: 1.5,
    p99: 9,
    p999: 12,
    errors: 15,
  })
  assert.throws(() => parseWrk('unable to connect'), /wrk printed no RESULT line/)
})
