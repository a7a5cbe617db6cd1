/**
 * The behaviour suite over frames: in memory, on Unix sockets, over TCP, and behind the HTTP gateway. Lint checks both
 * sides.
 */

import { createServer } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import type { Application } from '../../protocol/contract/application.ts'
import { lint } from '../../protocol/contract/lint.ts'
import { ReplayableBody } from '../../protocol/frames/caller.ts'
import type { Identity } from '../../protocol/frames/codec/hello.ts'
import { connect } from '../../protocol/frames/connect.ts'
import { fixedSlots, serveFrames } from '../../protocol/frames/server.ts'
import { serveHttp1 } from '../../protocol/http1/gateway.ts'
import { systemClock } from '../../protocol/net/clock.ts'
import { type Fixtures, makeFixtures } from '../apps/all.ts'
import { linked } from '../support/linked.ts'
import { RecordingLog } from '../support/log.ts'
import { facts, MemoryClient, MemoryHost } from '../support/memory-client.ts'
import { listening, listeningOnPath } from '../support/sockets.ts'
import { type Arrangement, overHttp, type Running } from './arrangement.ts'
import { behaviour } from './behaviour.ts'

const identity: Identity = { id: 'suite', worker: 0, workers: 1, slots: 1000, limits: {} }

/** The container's side: frames on a stream become exchanges of the fixture applications. */
class Container {
  readonly fixtures: Fixtures = makeFixtures()
  readonly host: MemoryHost = new MemoryHost()
  readonly #token: string | undefined

  constructor(token?: string) {
    this.#token = token
  }

  serve(stream: Duplex): void {
    const application: Application = (environ, startResponse) => {
      // The link counts slots; the host counts running exchanges, so that the test can wait for their end.
      this.host.admit()
      return this.fixtures.application(environ, startResponse)
    }
    serveFrames(stream, application, {
      clock: systemClock,
      log: new RecordingLog(),
      host: this.host,
      process: facts,
      identity,
      slots: fixedSlots(1000),
      token: this.#token,
    })
  }
}

/** A remote application under lint, the faults that lint found, and how to end the application. */
interface Remote {
  application: Application
  close(): Promise<void>
}

interface Linted {
  application: Application
  found: string[]
  assertClosed(): void
}

function watched(application: Application): Linted {
  const found: string[] = []
  const linted = lint(application, { report: (error) => found.push(error.message) })
  return { application: linted, found, assertClosed: () => linted.assertClosed() }
}

/** Over two streams of one process. */
async function inMemory(container: Container): Promise<Remote> {
  const [here, there] = duplexPair()
  container.serve(there)
  const caller = await linked(here)
  return {
    application: (environ, startResponse) =>
      caller.call(environ, startResponse, new ReplayableBody(environ['wsgi.input'])),
    close: async () => caller.destroy(),
  }
}

/** Over a socket. */
function onSocket(listen: typeof listeningOnPath | typeof listening, token?: string) {
  return async (container: Container): Promise<Remote> => {
    const server = createServer({ noDelay: true }, (socket) => container.serve(socket))
    const { address, stop } = await listen(server)
    const remote = connect('path' in address ? `unix:${address.path}` : `tcp:127.0.0.1:${address.port}`, { token })
    return {
      application: remote,
      async close() {
        await remote.close()
        await stop()
      },
    }
  }
}

async function front(
  remote: Remote,
  container: Container,
  make: (application: Application) => Promise<Running> | Running,
): Promise<Running> {
  const linted = watched(remote.application)
  const running = await make(linted.application)
  return {
    ...running,
    broken: () => [
      ...container.fixtures.broken,
      ...container.host.faults,
      ...linted.found,
      ...(running.broken?.() ?? []),
    ],
    async close() {
      await running.close()
      await remote.close()
      await container.host.idle()
      linted.assertClosed()
      container.fixtures.assertClosed()
    },
  }
}

/** The behaviour suite with an in-memory client. */
function memory(application: Application): Running {
  const client = new MemoryClient(application)
  return {
    open: async (options) => client.request(options),
    broken: () => client.host.faults,
    close: () => client.host.idle(),
  }
}

/** The behaviour suite with an HTTP client. */
async function http(application: Application): Promise<Running> {
  const host = new MemoryHost()
  const options = { host, facts, admit: () => host.admit() }
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    serveHttp1(socket, application, options)
  })
  const { address, stop } = await listening(server)
  const running = overHttp(address, async () => {
    await stop()
    await host.idle()
  })
  return { ...running, broken: () => [...host.faults, ...(running.broken?.() ?? [])] }
}

const noWire: Arrangement['without'] = {
  framing: 'there is no HTTP wire',
  http10: 'there is no HTTP wire',
  date: 'gateways add Date and Server',
}

behaviour({
  name: 'frames in memory',
  without: noWire,
  async start() {
    const container = new Container()
    return front(await inMemory(container), container, memory)
  },
})

behaviour({
  name: 'frames on a Unix socket',
  without: noWire,
  async start() {
    const container = new Container()
    return front(await onSocket(listeningOnPath)(container), container, memory)
  },
})

behaviour({
  name: 'frames over TCP with a token',
  without: noWire,
  async start() {
    const container = new Container('secret')
    return front(await onSocket(listening, 'secret')(container), container, memory)
  },
})

behaviour({
  name: 'HTTP/1.1 before frames in one process',
  async start() {
    const container = new Container()
    return front(await inMemory(container), container, http)
  },
})
