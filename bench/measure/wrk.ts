/** Closed-loop load by wrk: each connection sends its next request when the response before has arrived. */

import { join } from 'node:path'
import { headerOptions } from './browser-headers.ts'
import { need, run } from './programs.ts'

export interface ClosedLoop {
  readonly port: number
  readonly path: string
  readonly connections: number
  readonly seconds: number
  /** Bytes of each request's body; 0 for GET. */
  readonly upload: number
}

export interface ClosedLoopResult {
  readonly requests: number
  readonly seconds: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  readonly p999: number
  /** Requests that failed, or were answered with 4xx or 5xx. */
  readonly errors: number
}

const script = join(import.meta.dirname, 'wrk.lua')

/**
 * Reads the line that `done()` of wrk.lua prints.
 *
 * @throws Error if the output has no such line
 */
export function parseWrk(output: string): ClosedLoopResult {
  const line = /^RESULT (\{.*\})$/m.exec(output)
  if (line === null) throw new Error(`wrk printed no RESULT line:\n${output}`)
  const result = JSON.parse(line[1]!) as Record<string, number>
  const errors = ['connect', 'read', 'write', 'status', 'timeout'].reduce((sum, kind) => sum + (result[kind] ?? 0), 0)
  return {
    requests: result['requests']!,
    seconds: result['microseconds']! / 1e6,
    p50: result['p50']! / 1000,
    p99: result['p99']! / 1000,
    p999: result['p999']! / 1000,
    errors,
  }
}

/** @throws Unavailable if wrk is not installed; Error if no request was answered */
export async function wrk({ port, path, connections, seconds, upload }: ClosedLoop): Promise<ClosedLoopResult> {
  const output = await run(need('wrk'), [
    '-t1',
    `-c${connections}`,
    `-d${seconds}s`,
    '--timeout',
    '5s',
    ...headerOptions,
    '-s',
    script,
    `http://127.0.0.1:${port}${path}`,
    '--',
    upload > 0 ? 'POST' : 'GET',
    String(upload),
  ])
  const result = parseWrk(output)
  if (result.requests === 0) throw new Error(`no request was answered:\n${output}`)
  return result
}
