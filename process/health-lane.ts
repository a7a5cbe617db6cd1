/**
 * The health listener: `/live` and `/ready` as JSON on a separate port. Probes need no slot and no queue, so that a
 * busy server is not taken for a dead one, and the application keeps all of its paths. The proxy and the container
 * decide whether they are ready.
 */

import { UNIX_PEER } from '../protocol/client/peers.ts'
import type { Application } from '../protocol/contract/application.ts'
import { AbortError } from '../protocol/contract/errors.ts'
import type { ExchangeHost } from '../protocol/contract/exchange.ts'
import { statusPage } from '../protocol/contract/status-page.ts'
import { serveHttp1 } from '../protocol/http1/gateway.ts'
import type { Http1Connection, Http1Options } from '../protocol/http1/options.ts'
import type { Logger } from '../protocol/log/logger.ts'
import type { TcpAddress, UnixAddress } from '../protocol/net/address.ts'
import { type Clock, Deadlines } from '../protocol/net/clock.ts'
import { ConnectionLimit } from '../protocol/net/connection-limit.ts'
import { fitsInReserve } from '../protocol/net/descriptors.ts'
import { listen } from '../protocol/net/listen.ts'

/** Whether requests can be served now, and the numbers behind that decision. */
export interface ReadinessReport {
  readonly ready: boolean
  readonly [fact: string]: boolean | number | string
}

export interface HealthLane {
  readonly address: UnixAddress | TcpAddress
  /** Stops listening, and aborts connected probes. */
  close(): void
}

interface HealthOptions {
  readonly clock: Clock
  readonly log: Logger
  /** Permissions of a Unix socket. */
  readonly mode?: number | undefined
  /** Called for each `/ready`. An answer also shows that the event loop is not blocked. */
  readonly readiness: () => ReadinessReport
}

/** The timeouts of a probe's connection, ms: a probe sends its few bytes immediately. */
const PATIENCE = 5_000

/**
 * How many probes may be connected at once: they are few, and each is answered immediately. A further probe replaces
 * one that has sent nothing.
 */
const PROBES = 32

/** `/live` and `/ready`, as an application. */
function healthApplication(readiness: () => ReadinessReport): Application {
  const missing = statusPage(404)
  return (environ, startResponse) => {
    const report = reportOn(environ.PATH_INFO, readiness)
    if (!report) return missing(environ, startResponse)
    const [good, facts] = report
    startResponse(good ? '200 OK' : '503 Service Unavailable', [
      ['Content-Type', 'application/json'],
      ['Cache-Control', 'no-store'],
    ])
    return [Buffer.from(`${JSON.stringify(facts)}\n`)]
  }
}

function reportOn(path: string, readiness: () => ReadinessReport): [good: boolean, facts: object] | undefined {
  if (path === '/live') return [true, { live: true }]
  if (path !== '/ready') return undefined
  const facts = readiness()
  return [facts.ready, facts]
}

/**
 * Starts the health listener.
 *
 * @throws ListenError if the address is in use or cannot be listened on
 */
export async function serveHealth(address: UnixAddress | TcpAddress, options: HealthOptions): Promise<HealthLane> {
  const { clock, log, mode } = options
  const application = healthApplication(options.readiness)
  const connections: Set<Http1Connection> = new Set()
  const limit = new ConnectionLimit(fitsInReserve(PROBES), { clock, log, what: 'health' })
  const host: ExchangeHost = { clock, log, deadlines: new Deadlines(clock), draining: false, settled: () => {} }
  const http: Http1Options = {
    host,
    facts: { multithread: true, multiprocess: true, runOnce: false },
    timeouts: { head: PATIENCE, body: PATIENCE, keepAlive: PATIENCE, write: PATIENCE },
    onClose: (connection) => {
      connections.delete(connection)
      limit.left(connections)
    },
  }
  const peer = address.kind === 'unix' ? { remoteAddress: UNIX_PEER, remotePort: '' } : undefined
  const listener = await listen(address, { log, mode }, (socket) => {
    if (!limit.admit(0, connections)) {
      socket.destroy()
      return
    }
    const connection = serveHttp1(socket, application, http, undefined, peer)
    if (!socket.destroyed) connections.add(connection)
  })
  return {
    address: listener.address,
    close: () => {
      void listener.close()
      for (const connection of [...connections])
        connection.abort(new AbortError('DRAIN_TIMEOUT', 'the health server stops'))
    },
  }
}
