/**
 * An application whose event loop blocks, or whose process exits, when a test asks for it. Each run appends a line to
 * the file RUNS_FILE: the container and the request's id. A waiting request continues when the file `until` of the
 * query exists.
 */

import { appendFileSync, existsSync } from 'node:fs'
import type { Application } from '../../protocol/contract/application.ts'
import { bytes, number, octets, pattern, plain, query } from './tools.ts'

const WHO = process.env['WHO'] ?? ''
const sleeping = new Int32Array(new SharedArrayBuffer(4))

export const application: Application = async (environ, startResponse) => {
  const asked = query(environ)
  const until = asked.get('until') ?? ''
  appendFileSync(process.env['RUNS_FILE']!, `${WHO} ${asked.get('id')}\n`)
  switch (environ.PATH_INFO) {
    case '/block':
      while (!existsSync(until)) Atomics.wait(sleeping, 0, 0, 5)
      break
    case '/wait':
      while (!existsSync(until)) await new Promise((resolve) => setTimeout(resolve, 5))
      break
    case '/crash':
      process.kill(process.pid, 'SIGKILL')
      return new Promise(() => {})
    case '/big':
      startResponse('200 OK', [...octets])
      return [pattern(0, number(environ, 'bytes', 0))]
  }
  startResponse('200 OK', [...plain])
  return [bytes(WHO)]
}
