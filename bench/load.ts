/** One round of load by wrk, and what it and the servers' CPU clocks say of it. */

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Arrangement } from './arrangements.ts'
import { cpuMicroseconds } from './process-usage.ts'
import { findProgram } from './workshop.ts'

export interface LoadPlan {
  /** The arrangement's port, unless told. */
  readonly port?: number
  readonly path: string
  readonly connections: number
  readonly seconds: number
  /** Bytes that each request carries; 0 for GET. */
  readonly upload: number
}

export interface Round {
  readonly requestsPerSecond: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  /** Microseconds of all server processes for each request. */
  readonly cpu: number
  /** Of `cpu`, by process, in the order of the arrangement's servers. */
  readonly cpuByServer: readonly number[]
  /** Requests that failed, or were answered with 4xx or 5xx. */
  readonly errors: number
}

const script = join(import.meta.dirname, 'peers', 'browser.lua')
const run = promisify(execFile)

/** What `done()` of browser.lua printed. @throws Error when it is not there. */
export function parseResult(output: string): {
  requests: number
  seconds: number
  p50: number
  p99: number
  errors: number
} {
  const line = /^RESULT (\{.*\})$/m.exec(output)
  if (line === null) throw new Error(`wrk gave no result:\n${output}`)
  const result = JSON.parse(line[1]!) as Record<string, number>
  const errors = ['connect', 'read', 'write', 'status', 'timeout'].reduce((sum, kind) => sum + (result[kind] ?? 0), 0)
  return {
    requests: result['requests']!,
    seconds: result['microseconds']! / 1e6,
    p50: result['p50']! / 1000,
    p99: result['p99']! / 1000,
    errors,
  }
}

/** @throws Error when wrk is not there or was not answered at all. */
export async function load(arrangement: Arrangement, plan: LoadPlan): Promise<Round> {
  const wrk = findProgram('wrk')
  if (wrk === undefined) throw new Error('wrk is not installed: there is nothing to make load with')
  const used = (): number[] => arrangement.servers.map(({ pid }) => cpuMicroseconds(pid))
  const before = used()
  const { stdout } = await run(wrk, [
    '-t1',
    `-c${plan.connections}`,
    `-d${plan.seconds}s`,
    '--timeout',
    '5s',
    '-s',
    script,
    `http://127.0.0.1:${plan.port ?? arrangement.port}${plan.path}`,
    '--',
    plan.upload > 0 ? 'POST' : 'GET',
    String(plan.upload),
  ])
  const after = used()
  const result = parseResult(stdout)
  if (result.requests === 0) throw new Error(`no request was answered:\n${stdout}`)
  const cpuByServer = after.map((value, at) => (value - before[at]!) / result.requests)
  return {
    requestsPerSecond: result.requests / result.seconds,
    p50: result.p50,
    p99: result.p99,
    cpu: cpuByServer.reduce((sum, value) => sum + value, 0),
    cpuByServer,
    errors: result.errors,
  }
}
