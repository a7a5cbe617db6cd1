/**
 * `pool(addresses)`: remote containers and servers as one application, to be used in a `mount` or another application.
 * Connects `Pool` and `UpstreamSet`, as `serve.ts` does for the proxy's own pool.
 */

import { randomBytes } from 'node:crypto'
import { Pool } from '../pool/pool.ts'
import type { Application, Environ, StartResponse } from '../protocol/contract/application.ts'
import type { Token } from '../protocol/frames/codec/tokens.ts'
import { PeerLinks } from '../protocol/frames/watch.ts'
import { type Logger, silent } from '../protocol/log/logger.ts'
import { parseAddress, printAddress } from '../protocol/net/address.ts'
import { type Clock, systemClock } from '../protocol/net/clock.ts'
import { type Resolve, systemResolve } from '../protocol/net/dial.ts'
import { parseOptions } from '../protocol/options/options.ts'
import { UpstreamSet } from './discovery/upstream-set.ts'
import { proxyOptions } from './options.ts'
import { needsSecret } from './secrets.ts'
import { http } from './upstreams/http.ts'

/** The defaults are those of `gantry proxy`. */
export interface PooledOptions {
  /** How many requests wait while no container has a free slot; the next one gets 503 immediately. Default 1000. */
  readonly queueSize?: number | undefined
  /** How long a request waits before it gets 503, ms: long enough for a container to restart. Default 10000. */
  readonly queueTimeout?: number | undefined
  /** How long a container may take until the head of its response, ms, else 504. Default 60000. */
  readonly timeout?: number | undefined
  /** How long a container may pause between bytes of a response before the response is aborted, ms. Default 60000. */
  readonly idleTimeout?: number | undefined
  /**
   * How often a request that may have run is sent again after its container was lost. Only requests with an idempotent
   * method are sent again. Default 1.
   */
  readonly retries?: number | undefined
  /**
   * The secret that the containers have too; required for addresses of other hosts. This side proves the first of
   * several tokens, and accepts each of them.
   */
  readonly token?: Token | undefined
  /** Logs containers that become ready, drain or are lost. Default: no log. */
  readonly log?: Logger | undefined
  readonly clock?: Clock | undefined
  /** Returns numbers in [0, 1). Default: `Math.random`. */
  readonly random?: (() => number) | undefined
  readonly resolve?: Resolve | undefined
}

/** An application that `pool` returns: it passes each request to one of its members. */
export interface PooledApplication extends Application {
  /** Its members and counters. */
  readonly pool: Pool
  /**
   * Refuses new requests (503), finishes running ones, and closes the links. The pool dials until this is called, which
   * keeps the process alive.
   *
   * @param timeout milliseconds after which links that are still open are destroyed. Default 30000, as in a proxy's
   *   drain.
   * @throws RangeError if the timeout is not a number of at least 0
   */
  close(timeout?: number): Promise<void>
}

/** How often names are resolved and directories are read, ms: as in the proxy. */
const DISCOVERY_INTERVAL = 1_000

/**
 * Containers and HTTP servers as one application, which sends each request to a member with a free slot. It connects to
 * all of them immediately, and again after a connection was lost.
 *
 * Calls reject with `HttpError`: 503 if no slot becomes free in time, 504 if the response's head does not arrive in
 * time, 502 if the container was lost and the request may have run.
 *
 * @param addresses `unix:/path`, `unix:/directory/` (every socket in it), `tcp:HOST:PORT`, `http://…`, `https://…`
 * @throws AddressError if an address is invalid
 * @throws TypeError if there is no address, an address has port 0, or a token is missing for another host
 * @throws RangeError if a number of the options is negative or not a number
 * @example
 * ```ts
 * import { makeServer } from 'gantry/container'
 * import { mount } from 'gantry/middleware'
 * import { pool } from 'gantry/proxy'
 *
 * const api = pool(['unix:/run/one.sock', 'unix:/run/two.sock'], { queueTimeout: 2_000 })
 * const shop = pool(['http://127.0.0.1:3000'])
 * const server = await makeServer('127.0.0.1', 8080, mount({ '/api': api, '/': shop }))
 * await server.serveForever()
 * await Promise.all([api.close(), shop.close()])
 * ```
 */
export function pool(addresses: readonly string[], options: PooledOptions = {}): PooledApplication {
  const { clock = systemClock, log = silent, random = Math.random, resolve = systemResolve, token } = options
  const parsed = addresses.map((address) => parseAddress(address))
  if (parsed.length === 0) throw new TypeError('pool(): expected at least one address to send requests to, got none')
  for (const address of parsed) {
    if (address.kind === 'tcp' && address.port === 0) {
      throw new TypeError(`pool(): ${printAddress(address)} has port 0, expected the port of a container`)
    }
    if (token === undefined && needsSecret(address, true)) {
      throw new TypeError(
        `pool(): ${printAddress(address)} is on another host, and containers there must be authenticated: give the option token`,
      )
    }
  }
  const defaults = parseOptions(proxyOptions, []).values
  const timeout = amount('timeout', options.timeout, defaults.timeout)
  const idleTimeout = amount('idleTimeout', options.idleTimeout, defaults.idleTimeout)
  let upstreams: UpstreamSet | undefined
  const members = new Pool({
    queueSize: amount('queueSize', options.queueSize, defaults.queueSize),
    queueTimeout: amount('queueTimeout', options.queueTimeout, defaults.queueTimeout),
    retries: amount('retries', options.retries, defaults.retries),
    timeout,
    idleTimeout,
    clock,
    log,
    random,
    onWanted: () => upstreams?.dialNow(),
  })
  upstreams = new UpstreamSet(parsed, {
    pool: members,
    clock,
    log,
    token,
    peers: new PeerLinks(),
    random,
    resolve,
    interval: DISCOVERY_INTERVAL,
    identity: { id: randomBytes(6).toString('hex'), worker: 0, workers: 1, slots: 0, limits: {} },
    http: (url) => http(url, { timeout, idleTimeout, clock, log }),
  })
  let closing: Promise<void> | undefined
  const close = async (grace: number): Promise<void> => {
    upstreams.stop('no longer needed')
    members.close('no longer needed')
    if (!(await members.whenEmpty(grace))) members.destroy('no longer needed')
  }
  const application = (environ: Environ, startResponse: StartResponse) => members.application(environ, startResponse)
  return Object.assign(application, {
    pool: members,
    close: (grace: number = 30_000) => (closing ??= close(amount('the time to close', grace, 0))),
  })
}

/** Checks a number of the options. Infinity means no limit. */
function amount(name: string, value: number | undefined, usual: number): number {
  if (value === undefined) return usual
  if (typeof value === 'number' && value >= 0) return value
  throw new RangeError(`pool(): ${name} is ${String(value)}, expected a number from 0`)
}
