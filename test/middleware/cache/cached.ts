/** A cache on a stopped clock, around an application that a test scripts, and the responses that clients get. */

import { type Cache, type CacheOptions, cache } from '../../../middleware/cache/cache.ts'
import type { Application, Environ, Headers } from '../../../protocol/contract/application.ts'
import { type CallRequest, type CallResult, call } from '../../../protocol/contract/call.ts'
import { FakeClock } from '../../support/clock.ts'
import { RecordingLog } from '../../support/log.ts'

export interface Cached {
  readonly cache: Cache
  readonly clock: FakeClock
  readonly log: RecordingLog
  readonly application: Application
  /** The environs with which the application was called. */
  readonly asked: Environ[]
  get(request?: CallRequest | string): Promise<CallResult>
}

export function cached(application: Application, options: CacheOptions = {}): Cached {
  const clock = new FakeClock()
  const log = new RecordingLog()
  const asked: Environ[] = []
  const made = cache({ clock, log, report: 'x-cache', ...options })
  const outer = made((environ, startResponse) => {
    asked.push(environ)
    return application(environ, startResponse)
  })
  return {
    cache: made,
    clock,
    log,
    application: outer,
    asked,
    get: (request = {}) => call(outer, { clock, log, ...(typeof request === 'string' ? { path: request } : request) }),
  }
}

/** Answers each call with a new number, and these fields. */
export function counting(headers: Headers | ((environ: Environ) => Headers), status = '200 OK'): Application {
  let calls = 0
  return (environ, startResponse) => {
    startResponse(status, typeof headers === 'function' ? headers(environ) : headers)
    return [Buffer.from(`answer ${++calls}`)]
  }
}

/** An event that a test triggers. */
export class Gate {
  readonly #opened: PromiseWithResolvers<void> = Promise.withResolvers()
  open(): void {
    this.#opened.resolve()
  }
  get passed(): Promise<void> {
    return this.#opened.promise
  }
}

/** Runs everything that is ready. */
export async function calm(): Promise<void> {
  for (let round = 0; round < 5; round++) await new Promise((resolve) => setImmediate(resolve))
}
