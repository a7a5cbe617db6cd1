/** Load at a fixed rate by h2load: requests are sent when they are due, however long responses take. */

import { readFileSync, rmSync } from 'node:fs'
import { percentile } from '../report/statistics.ts'
import { headerOptions } from './browser-headers.ts'
import { need, run } from './programs.ts'

// The timer of an h2load connection fires every 10 ms at most (`rps_watcher.repeat`): above 100 requests/s of one
// connection, requests would be sent in bursts.
const RATE_OF_A_CONNECTION = 50

// Connections begin one after another over about this time, so that their timers do not fire together: h2load with all
// connections from the start sends one burst of a request per connection each 1/rate seconds.
const RAMP_SECONDS = 0.8

// No divisor or multiple of a connection's 20 ms, so that consecutive connections get different phases.
const RAMP_STEP_MILLISECONDS = 13

export interface FixedRate {
  readonly port: number
  readonly path: string
  /** Requests per second over all connections. */
  readonly rate: number
  /** Load before the measured seconds. */
  readonly lead: number
  readonly seconds: number
  /** Where h2load writes its log; the file is removed afterwards. */
  readonly log: string
}

export interface FixedRateResult {
  /** Responses per second in the measured seconds; below the rate asked for, the server did not keep up. */
  readonly rate: number
  readonly requests: number
  /** All requests of the round, lead and ramp included. */
  readonly total: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly errors: number
}

/** A line of h2load's log. */
export interface Sample {
  /** Microseconds since the epoch. */
  readonly start: number
  /** -1 for a request that failed. */
  readonly status: number
  readonly microseconds: number
}

/** How a rate is spread over connections. */
export interface Spread {
  readonly connections: number
  readonly ratePerConnection: number
  /** Connections that begin in each step of the ramp. */
  readonly perStep: number
  readonly rampSeconds: number
}

export function spreadOf(rate: number): Spread {
  const connections = Math.max(1, Math.ceil(rate / RATE_OF_A_CONNECTION))
  const perStep = Math.max(1, Math.ceil((connections * RAMP_STEP_MILLISECONDS) / (RAMP_SECONDS * 1000)))
  const rampSeconds = (Math.ceil(connections / perStep) * RAMP_STEP_MILLISECONDS) / 1000
  return { connections, ratePerConnection: rate / connections, perStep, rampSeconds }
}

/**
 * Reads h2load's log.
 *
 * @throws Error with the line if a line has no three numbers
 */
export function parseLog(text: string): Sample[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [start, status, microseconds] = line.split('\t').map(Number)
      if (![start, status, microseconds].every(Number.isFinite)) {
        throw new Error(`expected "start\tstatus\tmicroseconds" in h2load's log, got ${JSON.stringify(line)}`)
      }
      return { start: start!, status: status!, microseconds: microseconds! }
    })
}

/**
 * Latencies with those of requests that could not be sent in time. A connection of h2load that waits for a response
 * sends nothing, and its log counts from when a request was sent: a request of 100 ms on a connection that is to send
 * one each 20 ms stands for four more, of 80, 60, 40 and 20 ms (coordinated omission).
 */
export function withOmitted(microseconds: readonly number[], interval: number): number[] {
  const all = [...microseconds]
  for (const value of microseconds) {
    for (let omitted = value - interval; omitted > 0; omitted -= interval) all.push(omitted)
  }
  return all
}

/** The result of the samples that were sent from `from` to `until`, in microseconds since the epoch. */
export function summarize(
  samples: readonly Sample[],
  { from, until, interval }: { readonly from: number; readonly until: number; readonly interval: number },
): FixedRateResult {
  const measured = samples.filter(({ start }) => start >= from && start < until)
  const answered = measured.filter(({ status }) => status >= 200 && status < 400)
  const latencies = withOmitted(
    answered.map(({ microseconds }) => microseconds),
    interval,
  ).sort((a, b) => a - b)
  const at = (share: number): number => percentile(latencies, share) / 1000
  return {
    rate: answered.length / ((until - from) / 1e6),
    requests: measured.length,
    total: samples.length,
    p50: at(0.5),
    p99: at(0.99),
    p999: at(0.999),
    errors: measured.length - answered.length,
  }
}

/** @throws Unavailable if h2load is not installed; Error if it fails or nothing was sent in the measured seconds */
export async function h2load({ port, path, rate, lead, seconds, log }: FixedRate): Promise<FixedRateResult> {
  const { connections, ratePerConnection, perStep, rampSeconds } = spreadOf(rate)
  const whole = rampSeconds + lead + seconds
  const requests = connections * Math.ceil(ratePerConnection * whole)
  const program = need('h2load')
  try {
    await run(
      program,
      [
        '--h1',
        '-t1',
        ...['-c', String(connections), '-n', String(requests)],
        ...['-r', String(perStep), '--rate-period', `${RAMP_STEP_MILLISECONDS}ms`],
        ...['--rps', ratePerConnection.toFixed(3), '--log-file', log],
        // A server that stops to answer must not stop the bench.
        ...['--connection-inactivity-timeout', '5s'],
        ...headerOptions,
        `http://127.0.0.1:${port}${path}`,
      ],
      // A server that cannot keep up answers all requests all the same, later.
      { timeout: (whole * 4 + 10) * 1000 },
    )
    const samples = parseLog(readFileSync(log, 'utf8'))
    if (samples.length === 0) throw new Error('h2load sent no request')
    const first = samples.reduce((least, { start }) => Math.min(least, start), Number.POSITIVE_INFINITY)
    const from = first + (rampSeconds + lead) * 1e6
    const result = summarize(samples, { from, until: from + seconds * 1e6, interval: 1e6 / ratePerConnection })
    if (result.requests === 0) throw new Error('h2load sent no request in the measured seconds')
    return result
  } finally {
    rmSync(log, { force: true })
  }
}
