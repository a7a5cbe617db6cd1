/** The options of a server with their defaults, and the facts about a socket that go into each environ. */

import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ConnectionFacts } from '../contract/environ.ts'
import { defaultLimits, type Http1Limits } from './codec/limits.ts'
import { DateField } from './date-field.ts'
import { defaultTimeouts, type Http1Options, type Http1Timeouts } from './options.ts'

/** Options with their defaults. */
export interface Settings {
  limits: Http1Limits
  timeouts: Http1Timeouts
  date: DateField
}

/** Options of the gateways for HTTP/1.1 and uwsgi, which write the same responses. */
type ServerOptions = Pick<Http1Options, 'host' | 'limits' | 'timeouts'>

/** By the options object: a server passes the same object for each connection. */
const settings: WeakMap<ServerOptions, Settings> = new WeakMap()

/** The settings of `options`, computed once for all connections that share them. */
export function settingsOf(options: ServerOptions): Settings {
  let made = settings.get(options)
  if (!made) {
    made = {
      limits: { ...defaultLimits, ...options.limits },
      timeouts: { ...defaultTimeouts, ...options.timeouts },
      date: new DateField(options.host.clock),
    }
    settings.set(options, made)
  }
  return made
}

/**
 * The facts that are true for each request on `socket`.
 *
 * @param peer facts that are known better than from the socket
 */
export function factsOf(
  socket: Duplex,
  scheme: 'http' | 'https',
  peer: Partial<ConnectionFacts> | undefined,
): ConnectionFacts {
  const net = socket as Partial<Socket>
  return {
    remoteAddress: net.remoteAddress ?? '',
    remotePort: net.remotePort === undefined ? '' : String(net.remotePort),
    // A Unix socket has neither name nor port, and PEP 3333 requires both.
    serverName: net.localAddress ?? 'localhost',
    serverPort: net.localPort === undefined ? (scheme === 'https' ? '443' : '80') : String(net.localPort),
    scheme,
    ...peer,
  }
}
