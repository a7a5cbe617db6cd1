/** What a server gives to uwsgi connections (limits, timeouts, hooks), and what it sees of a connection. Plain data. */

import type { ClientKey } from '../client/client-shares.ts'
import type { Environ } from '../contract/application.ts'
import type { ProcessFacts } from '../contract/environ.ts'
import type { AbortError } from '../contract/errors.ts'
import type { ExchangeHost } from '../contract/exchange.ts'
import type { RefusedRequest } from '../contract/refused-request.ts'
import type { Http1Limits } from '../http1/codec/limits.ts'
import type { Http1Timeouts } from '../http1/options.ts'

/** Made once per server and shared by its connections: the same object must be passed for each connection. */
export interface UwsgiOptions {
  readonly host: ExchangeHost
  readonly facts: ProcessFacts
  /**
   * Bytes. `body`: a larger body is refused with 413. `readAhead`: how much of a body is read ahead of the application.
   */
  readonly limits?: Partial<Pick<Http1Limits, 'body' | 'readAhead'>>
  /** Milliseconds, as for HTTP/1.1. */
  readonly timeouts?: Partial<Http1Timeouts>
  /** Whether a web server that ends its sending side (FIN) has aborted the request, or still reads the response. */
  readonly halfClose?: 'abort' | 'serve'
  /** The request's id, if the web server is trusted to give one; undefined: the exchange makes an id. */
  readonly requestId?: (environ: Environ) => string | undefined
  /**
   * Called before an exchange is made. True takes a slot, which `host.settled` gives back; false: the response is 503.
   */
  readonly admit?: () => boolean
  /** `Retry-After` of that 503, in seconds. */
  readonly retryAfter?: number
  /** Called with each request that is answered before an application sees it. */
  readonly onRefused?: ((request: RefusedRequest) => void) | undefined
  /** Called once, when the connection is closed. */
  readonly onClose?: (connection: UwsgiConnection) => void
}

/** A web server's connection. It carries one request. */
export interface UwsgiConnection {
  /** Serves no further request: closes the connection now if no byte of a request has arrived. */
  drain(): void
  /** Closes a WebSocket with code 1001. False if there is none that can be closed: then `abort` ends the connection. */
  goAway(): boolean
  /** Ends the connection at once, and aborts a running exchange with `error`. */
  abort(error: AbortError): void
  /** Whether a request has begun whose response is not written completely. */
  readonly busy: boolean
  /** This and the following: for `LimitedConnection`. */
  readonly waitingSince: number
  readonly stalledSince: number
  share: ClientKey | undefined
  evict(): boolean
  reset(reason: AbortError): void
}
