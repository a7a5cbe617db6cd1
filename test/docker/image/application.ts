/**
 * The application in the containers of these tests: it responds with its container's name, records its runs in a file,
 * and can take a given time.
 */

import { appendFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import type { Application } from '../../../protocol/contract/application.ts'

// An image that does not start, for tests that must detect it.
if (process.env['VERSION'] === 'bad') throw new Error('this image is meant to fail')

export const application: Application = async (environ, startResponse) => {
  const query = new URLSearchParams(environ.QUERY_STRING)
  const id = query.get('id') ?? ''
  if (environ.PATH_INFO === '/count') {
    appendFileSync(
      '/runs/runs',
      `${environ.REQUEST_METHOD} ${id} ${hostname()} ${Date.now()} ${process.env['VERSION']}\n`,
    )
  }
  const body = await environ['wsgi.input'].read()
  await delay(Number(query.get('ms') ?? 0))
  startResponse('200 OK', [
    ['Content-Type', 'text/plain'],
    ['X-Id', id],
    ['X-Container', hostname()],
  ])
  if (environ.PATH_INFO === '/count') return [Buffer.from(`${id}:`), body, Buffer.from('\n')]
  return [Buffer.from(JSON.stringify({ container: hostname(), peer: environ.REMOTE_ADDR, ms: query.get('ms') }))]
}
