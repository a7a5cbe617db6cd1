/**
 * `pool(addresses)`: remote containers and servers as one application, for who puts it into a `mount` or an application of his own. It
 * puts together what `serve.ts` does for the proxy's own pool; balancing, waiting and dialling are theirs.
 */

import { randomBytes } from 'node:crypto'
import { Pool } from '../pool/pool.ts'
import { RETRIES } from '../pool/replay.ts'
import type { Application, Environ, StartResponse } from '../protocol/contract/application.ts'
import type { Token } from '../protocol/frames/codec/tokens.ts'
import { PeerLinks } from '../protocol/frames/watch.ts'
import { type Logger, silent } from '../protocol/log/logger.ts'
import { parseAddress, printAddress } from '../protocol/net/address.ts'
import { type Clock, systemClock } from '../protocol/net/clock.ts'
import { type Resolve, systemResolve } from '../protocol/net/dial.ts'
import { UpstreamSet } from './discovery/upstream-set.ts'
import { needsSecret } from './secrets.ts'
import { http } from './upstreams/http.ts'

/** Defaults are those of `gantry proxy`. */
export interface PooledOptions {
  /** Requests held while no container has room; the next one gets 503 at once. Default 1000. */
  readonly queueSize?: number | undefined
  /** Milliseconds that a request is held before 503: for a container to restart. Default 10000. */
  readonly queueTimeout?: number | undefined
  /** Milliseconds to the head of a response, else 504. Default 60000. */
  readonly timeout?: number | undefined
  /** Milliseconds between bytes of a response, before it is aborted. Default 60000. */
  readonly idleTimeout?: number | undefined
  /**
   * How often a request that may have run is sent again after its container was lost; only idempotent methods are.
   * Default 1.
   */
  readonly retries?: number | undefined
  /**
   * The secret that containers have too. There must be one for addresses of other hosts. Of several the first is
   * proved, and each is accepted.
   */
  readonly token?: Token | undefined
  /** Told of containers that come and go. Default: nobody. */
  readonly log?: Logger | undefined
  readonly clock?: Clock | undefined
  /** In [0, 1). */
  readonly random?: (() => number) | undefined
  readonly resolve?: Resolve | undefined
}

export interface PooledApplication extends Application {
  /** Its members and counters. */
  readonly pool: Pool
  /**
   * Takes no more requests (503), finishes what runs, and closes its links; those that are left after `timeout` milliseconds are cut. Default
   * 30000, as a proxy's drain. It dials until then, which keeps a process alive.
   */
  close(timeout?: number): Promise<void>
}

/** How often names and directories are looked at, milliseconds: as the proxy does. */
const DISCOVERY_INTERVAL = 1_000

/**
 * The containers at `addresses` (`unix:/path`, `unix:/directory/`, `tcp:HOST:PORT`) and servers (`http://…`) as one application that
 * sends each request to one that has room. It dials them at once, and again when they were lost.
 *
 * Calls throw `HttpError`: 503 when none has room in time, 504 when a head does not come in time, 502 when the container was lost and the
 * request may have run.
 *
 * @throws AddressError; TypeError for no address, one without a port, or one of another host without a token; RangeError for a number
 *   that is none
 */
export function pool(addresses: readonly string[], options: PooledOptions = {}): PooledApplication {
  const { clock = systemClock, log = silent, random = Math.random, resolve = systemResolve, token } = options
  const parsed = addresses.map((address) => parseAddress(address))
  if (parsed.length === 0) throw new TypeError('pool() needs an address to send requests to, and got none')
  for (const address of parsed) {
    if (address.kind === 'tcp' && address.port === 0) {
      throw new TypeError(`pool(): ${printAddress(address)} has port 0, expected the port of a container`)
    }
    if (token === undefined && needsSecret(address, true)) {
      throw new TypeError(
        `pool(): ${printAddress(address)} is on another host, so the container must be authenticated; set the option token`,
      )
    }
  }
  const timeout = amount('timeout', options.timeout, 60_000)
  const idleTimeout = amount('idleTimeout', options.idleTimeout, 60_000)
  let upstreams: UpstreamSet | undefined
  const members = new Pool({
    queueSize: amount('queueSize', options.queueSize, 1_000),
    queueTimeout: amount('queueTimeout', options.queueTimeout, 10_000),
    retries: amount('retries', options.retries, RETRIES),
    timeout,
    idleTimeout,
    clock,
    log,
    random,
    onWanted: () => upstreams?.hurry(),
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

/** A number from zero on, in its unit; Infinity is none of a limit. */
function amount(name: string, value: number | undefined, usual: number): number {
  if (value === undefined) return usual
  if (typeof value === 'number' && value >= 0) return value
  throw new RangeError(`pool(): ${name} is ${String(value)}, expected a number from 0`)
}
