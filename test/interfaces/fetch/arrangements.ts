/**
 * Fetch handlers as applications under lint, and their clients: in this process, over frames, and in a container over
 * HTTP.
 */

import { duplexPair } from 'node:stream'
import { after, before, describe } from 'node:test'
import { fromFetch } from '../../../interfaces/fetch/from-fetch.ts'
import { installLightFetch } from '../../../interfaces/fetch/light.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { ReplayableBody } from '../../../protocol/frames/caller.ts'
import { fixedSlots, serveFrames } from '../../../protocol/frames/server.ts'
import { systemClock } from '../../../protocol/net/clock.ts'
import { Serving } from '../../container/serving.ts'
import type { RequestOptions, Sent } from '../../support/client.ts'
import { linked } from '../../support/linked.ts'
import { RecordingLog } from '../../support/log.ts'
import { facts, MemoryClient, MemoryHost } from '../../support/memory-client.ts'

export type Handler = Parameters<typeof fromFetch>[0]

export interface Served extends AsyncDisposable {
  readonly log: RecordingLog
  request(options: RequestOptions): Sent
  /** Waits for running requests, and accepts no new ones. */
  drain(): Promise<void>
}

export interface ServeOptions {
  readonly around?: (application: Application) => Application
  /** The test is about a handler that breaks the contract: lint checks only the server. */
  readonly faulty?: boolean
}

export interface Arrangement {
  readonly name: string
  serve(handler: Handler, options?: ServeOptions): Promise<Served>
}

interface Linting {
  readonly application: Application
  /** @throws if lint has found a broken rule */
  check(): void
}

function linting(handler: Handler, { around = (application) => application, faulty = false }: ServeOptions): Linting {
  const faults: string[] = []
  const application = lint(around(fromFetch(handler)), {
    ...(faulty ? { only: 'server' as const } : undefined),
    report: (error) => faults.push(error.message),
  })
  return {
    application,
    check() {
      application.assertClosed()
      if (faults.length > 0) throw new Error(faults.join('; '))
    },
  }
}

export const arrangements: readonly Arrangement[] = [
  {
    name: 'in this process',
    async serve(handler, options = {}) {
      const { application, check } = linting(handler, options)
      const log = new RecordingLog()
      const host = new MemoryHost(log)
      const client = new MemoryClient(application, host)
      return {
        log,
        request: (request) => client.request(request),
        drain: () => host.idle(),
        async [Symbol.asyncDispose]() {
          await host.idle()
          check()
          if (host.faults.length > 0) throw new Error(host.faults.join('; '))
        },
      }
    },
  },
  {
    name: 'over frames',
    async serve(handler, options = {}) {
      const { application, check } = linting(handler, options)
      const log = new RecordingLog()
      const far = new MemoryHost(log)
      const [here, there] = duplexPair()
      const served: Application = (environ, startResponse) => {
        far.admit()
        return application(environ, startResponse)
      }
      const identity = { id: 'fetch', worker: 0, workers: 1, slots: 1000, limits: {} }
      serveFrames(there, served, {
        clock: systemClock,
        log,
        host: far,
        process: facts,
        identity,
        slots: fixedSlots(1000),
      })
      const caller = await linked(here, systemClock, log)
      const client = new MemoryClient(
        (environ, startResponse) => caller.call(environ, startResponse, new ReplayableBody(environ['wsgi.input'])),
        new MemoryHost(log),
      )
      return {
        log,
        request: (request) => client.request(request),
        drain: () => far.idle(),
        async [Symbol.asyncDispose]() {
          caller.destroy()
          await far.idle()
          check()
        },
      }
    },
  },
  {
    name: 'in a container, over HTTP',
    async serve(handler, options = {}) {
      const { application, check } = linting(handler, options)
      const serving = await Serving.start(application)
      const client = await serving.http()
      return {
        log: serving.log,
        request: (request) => client.request(request),
        drain: () => serving.container.drain(),
        async [Symbol.asyncDispose]() {
          await serving[Symbol.asyncDispose]()
          check()
        },
      }
    },
  },
]

/** Runs each test with the platform's classes, and with light ones. */
export function describeAll(title: string, define: (arrangement: Arrangement, light: boolean) => void): void {
  for (const light of [false, true]) {
    for (const arrangement of arrangements) {
      describe(`${title}, ${arrangement.name}${light ? ', with light classes' : ''}`, () => {
        withLight(light)
        define(arrangement, light)
      })
    }
  }
}

/** Installs light classes around the tests of this suite if `light` is set. */
export function withLight(light: boolean): void {
  let undo = (): void => {}
  before(() => {
    if (light) undo = installLightFetch()
  })
  after(() => undo())
}

/** Resolves with `value()` when it has not changed for several event-loop iterations. */
export async function stable(value: () => number): Promise<number> {
  let last = value()
  for (let turns = 0; turns < 500; turns++) {
    await new Promise((resolve) => setImmediate(resolve))
    if (value() === last) continue
    last = value()
    turns = 0
  }
  return last
}
