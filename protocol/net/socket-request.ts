/**
 * One request on a client's socket: its input, its exchange, and the view of its client that slots use. HTTP/1.1 and
 * uwsgi add how they write a response. The one place that keeps a late call for an earlier request off the next
 * request.
 */

import type { Duplex } from 'node:stream'
import type { Application, Environ, Headers } from '../contract/application.ts'
import type { ClientView, WaitsFor } from '../contract/client-view.ts'
import { type AbortCode, AbortError } from '../contract/errors.ts'
import { Exchange, type ExchangeHost } from '../contract/exchange.ts'
import { type InputSource, RequestInput } from '../contract/input.ts'
import type { ResponseSink } from '../contract/response.ts'
import type { Transport } from './transport.ts'

/** The connection of a request. */
export interface RequestConnection extends ExchangeHost {
  readonly transport: Transport
  /** Ends the current request: 408 if its response has not begun, else the connection is reset. */
  abortSlow(reason: AbortError): void
}

export abstract class SocketRequest<Connection extends RequestConnection>
  implements ResponseSink, InputSource, ClientView
{
  readonly input: RequestInput
  readonly exchange: Exchange
  /** Whether the application is done with the exchange. */
  settled = false
  /**
   * Undefined after `detach`. An application, a slot or a middleware may keep its part of a request for longer than the
   * connection serves that request: what they call then must not reach the request that the connection serves by now.
   */
  protected connection: Connection | undefined

  /**
   * @param hasBody whether the request has a body (RFC 9112 §6.3), which may be empty
   * @param requestId from a trusted peer; undefined: the exchange makes an id
   */
  constructor(
    connection: Connection,
    application: Application,
    environ: Environ,
    hasBody: boolean,
    requestId: string | undefined,
  ) {
    this.connection = connection
    this.input = new RequestInput(hasBody ? this : null)
    this.exchange = new Exchange(application, environ, this.input, this, connection, requestId)
  }

  /** Cuts the request off from its connection. */
  detach(): void {
    this.connection = undefined
  }

  /**
   * Aborts the exchange and its input, and detaches the request. Does nothing but detach if both are complete.
   *
   * @param status the status of the server's own response to the request, for the access log; 0: none
   */
  abortExchange(code: AbortCode, message: string, cause?: Error, status?: number): void {
    this.detach()
    // The normal end of a short request comes here too: creating an error that nobody sees costs a tenth of the
    // request.
    if (this.#complete) return
    this.failExchange(new AbortError(code, message, cause && { cause }), status)
  }

  /** As `abortExchange`, with an error that exists. */
  failExchange(error: AbortError, status?: number): void {
    this.detach()
    if (this.#complete) return
    this.exchange.abort(error, status)
    if (!this.input.ended) this.input.fail(error)
  }

  get #complete(): boolean {
    return this.exchange.finished && this.input.ended
  }

  // ---- ResponseSink ------------------------------------------------------------------------------------------------

  abstract inform(status: string, headers: Headers): void
  abstract head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean
  abstract data(chunk: Uint8Array, end: boolean): boolean
  abstract end(trailers: Headers | undefined): void
  abstract abort(error: AbortError): void
  abstract upgrade(): Duplex

  flush(): void {
    this.connection?.transport.flush()
  }

  // ---- InputSource -------------------------------------------------------------------------------------------------

  abstract wanted(): void
  abstract consumed(): void

  // ---- ClientView --------------------------------------------------------------------------------------------------

  get client(): ClientView {
    return this
  }

  get waitsFor(): WaitsFor {
    const transport = this.connection?.transport
    if (!transport || transport.phase === 'destroyed') return 'nothing'
    if (transport.backlog > 0) return 'download'
    return this.input.hungry && !transport.paused && this.bodyExpected ? 'upload' : 'nothing'
  }

  /** Whether the client should be sending the body now. */
  protected abstract get bodyExpected(): boolean

  get delivered(): number {
    return this.connection?.transport.bytesReceived ?? 0
  }

  get accepted(): number {
    return this.connection?.transport.bytesAccepted ?? 0
  }

  get arriving(): boolean {
    return this.connection?.transport.open === true && !this.input.ended
  }

  get held(): number {
    return this.input.buffered
  }

  onArrival(callback: (() => void) | undefined): void {
    this.input.onArrival(callback)
  }

  abortSlow(reason: AbortError): void {
    this.connection?.abortSlow(reason)
  }
}
