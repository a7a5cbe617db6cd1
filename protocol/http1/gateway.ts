/**
 * The one place where a sans-IO HTTP/1.1 connection meets a socket: reading, backpressure, timeouts, closing.
 * Knows neither syntax (`parser.ts`, `writer.ts`) nor which response may keep a connection (`connection.ts`).
 */

import type { Duplex } from 'node:stream'
import type { Application } from '../application.ts'
import type { ConnectionFacts } from '../environ.ts'
import type { AbortError } from '../errors.ts'
import type { Http1Options } from './options.ts'

/** One client's connection. */
export interface Http1Connection {
  /** No request after the current one: its response says `Connection: close`; an idle connection closes now. */
  drain(): void
  /** Ends the connection at once; a running exchange is aborted with `error`. */
  abort(error: AbortError): void
  /** Whether no request is running or half-read. */
  readonly idle: boolean
  /** Whether an exchange is running. */
  readonly busy: boolean
}

/**
 * Serves HTTP/1.1 on `socket`, which must have been accepted with `allowHalfOpen: true` (a response must be able to follow a FIN
 * of the client, and a FIN of ours must not end reading).
 *
 * @param first bytes that were read already (sniffing)
 * @param peer what is better known than from the socket (PROXY protocol)
 */
export function serveHttp1(
  socket: Duplex,
  application: Application,
  options: Http1Options,
  first?: Uint8Array,
  peer?: Partial<ConnectionFacts>,
): Http1Connection {
  throw new Error(`not yet ${socket} ${application} ${options} ${first} ${peer}`)
}
