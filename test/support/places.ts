/**
 * The places of middleware: in the process of its application, in the container of a remote application, and in the
 * proxy in front of a remote application. In each place lint checks both of its sides.
 */

import { duplexPair } from 'node:stream'
import type { Application, Middleware } from '../../protocol/contract/application.ts'
import { lint } from '../../protocol/contract/lint.ts'
import { ReplayableBody } from '../../protocol/frames/caller.ts'
import type { Identity } from '../../protocol/frames/codec/hello.ts'
import { fixedSlots, serveFrames } from '../../protocol/frames/server.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import { linked } from './linked.ts'
import { RecordingLog } from './log.ts'
import { facts, MemoryHost } from './memory-client.ts'

const identity: Identity = { id: 'places', worker: 0, workers: 1, slots: 1000, limits: {} }

/** An application in a place. The test must end it. */
export interface Placed extends AsyncDisposable {
  readonly application: Application
  /** The rules that lint has found broken so far, on any side. */
  readonly faults: readonly string[]
}

export interface Place {
  readonly name: string
  put(
    middleware: Middleware,
    application: Application,
    options?: { clock?: Clock; log?: RecordingLog },
  ): Promise<Placed>
}

/** Wraps an application in lint; `faults` gets each broken rule, also if the error was caught. */
function watched(application: Application, faults: string[], checks: (() => void)[]): Application {
  const linted = lint(application, { report: (error) => faults.push(error.message) })
  checks.push(() => linted.assertClosed())
  return linted
}

/** `middleware` with lint on both sides. */
function bothSides(
  middleware: Middleware,
  application: Application,
  faults: string[],
  checks: (() => void)[],
): Application {
  return watched(middleware(watched(application, faults, checks)), faults, checks)
}

/** `application` as a container serves it, called over an in-memory link. */
async function remote(
  application: Application,
  clock: Clock,
  log: RecordingLog,
): Promise<{ application: Application; end(): Promise<void> }> {
  const [here, there] = duplexPair()
  const host = new MemoryHost(log, clock)
  serveFrames(
    there,
    (environ, startResponse) => {
      host.admit()
      return application(environ, startResponse)
    },
    { clock, log, host, process: facts, identity, slots: fixedSlots(1000) },
  )
  const caller = await linked(here, clock, log)
  return {
    application: (environ, startResponse) =>
      caller.call(environ, startResponse, new ReplayableBody(environ['wsgi.input'])),
    async end() {
      caller.destroy()
      await host.idle()
    },
  }
}

function placed(application: Application, faults: string[], checks: (() => void)[], end: () => Promise<void>): Placed {
  return {
    application,
    faults,
    async [Symbol.asyncDispose]() {
      await end()
      for (const check of checks) check()
      if (faults.length > 0) throw new Error(`the contract was broken: ${faults.join('; ')}`)
    },
  }
}

const nothing = async (): Promise<void> => {}

export const places: readonly Place[] = [
  {
    name: 'beside its application',
    async put(middleware, application) {
      const [faults, checks]: [string[], (() => void)[]] = [[], []]
      return placed(bothSides(middleware, application, faults, checks), faults, checks, nothing)
    },
  },
  {
    name: 'in the container',
    async put(middleware, application, { clock = systemClock, log = new RecordingLog() } = {}) {
      const [faults, checks]: [string[], (() => void)[]] = [[], []]
      const { application: far, end } = await remote(bothSides(middleware, application, faults, checks), clock, log)
      return placed(far, faults, checks, end)
    },
  },
  {
    name: 'in the proxy',
    async put(middleware, application, { clock = systemClock, log = new RecordingLog() } = {}) {
      const [faults, checks]: [string[], (() => void)[]] = [[], []]
      const { application: far, end } = await remote(application, clock, log)
      return placed(bothSides(middleware, far, faults, checks), faults, checks, end)
    },
  },
]
