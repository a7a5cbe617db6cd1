import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rateFor } from '../../bench/experiments/fixed-rate.ts'
import { parseLog, type Sample, spreadOf, summarize, withOmitted } from '../../bench/measure/h2load.ts'

test('h2load’s log is read line by line, and a malformed line is reported', () => {
  assert.deepEqual(parseLog('1796041771943484\t200\t205\n1796041771955950\t-1\t632\n'), [
    { start: 1796041771943484, status: 200, microseconds: 205 },
    { start: 1796041771955950, status: -1, microseconds: 632 },
  ])
  // "More columns may be added later" (h2load --help).
  assert.deepEqual(parseLog('1\t200\t3\tmore\n'), [{ start: 1, status: 200, microseconds: 3 }])
  assert.deepEqual(parseLog(''), [])
  assert.throws(() => parseLog('1\t200\n'), /expected "start\tstatus\tmicroseconds" in h2load's log, got "1\\t200"/)
})

test('a rate is spread over connections that send at most 50 requests a second and begin one after another', () => {
  for (const rate of [1, 100, 2_000, 15_000, 200_000]) {
    const { connections, ratePerConnection, perStep, rampSeconds } = spreadOf(rate)
    assert.ok(ratePerConnection <= 50, `${rate}: ${ratePerConnection} of a connection`)
    assert.ok(Math.abs(connections * ratePerConnection - rate) < 1e-6, `${rate}: the connections make up the rate`)
    assert.ok(perStep >= 1 && rampSeconds <= 1, `${rate}: ${perStep} each step, ${rampSeconds} s of ramp`)
  }
})

test('a request that blocks its connection counts for the requests that were scheduled meanwhile', () => {
  assert.deepEqual(withOmitted([100, 5], 20), [100, 5, 80, 60, 40, 20])
  assert.deepEqual(withOmitted([20, 19], 20), [20, 19])
  assert.deepEqual(withOmitted([], 20), [])
})

const sample = (start: number, microseconds: number, status = 200): Sample => ({ start, status, microseconds })

test('only requests that were sent in the measured time count', () => {
  const samples = [sample(999, 9_000), sample(1_000, 1_000), sample(1_999_999, 3_000), sample(2_000_000, 9_000)]
  const result = summarize(samples, { from: 1_000, until: 2_000_000, interval: 20_000 })
  assert.equal(result.requests, 2)
  assert.equal(result.total, 4)
  assert.equal(result.p50, 1)
  assert.equal(result.p99, 3)
  assert.equal(result.errors, 0)
})

test('failed requests and error responses are errors, neither latencies nor answers', () => {
  const samples = [sample(0, 1_000), sample(1, 50_000, -1), sample(2, 60_000, 503), sample(3, 2_000, 304)]
  const result = summarize(samples, { from: 0, until: 1_000_000, interval: 20_000 })
  assert.equal(result.errors, 2)
  assert.equal(result.rate, 2)
  assert.equal(result.p999, 2)
})

test('the fixed rate is half of what the slowest setup answers, in hundreds and at most 15,000', () => {
  assert.equal(rateFor([40_000, 9_876]), 4_900)
  assert.equal(rateFor([90_000, 60_000]), 15_000)
  assert.equal(rateFor([30]), 100)
  assert.equal(rateFor([]), 2_000)
})
