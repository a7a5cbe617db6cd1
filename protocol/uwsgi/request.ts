/**
 * The request of a uwsgi connection: writes the response of its exchange, as HTTP/1.1 text without a transfer coding:
 * the body ends with its Content-Length or with the connection.
 */

import type { Duplex } from 'node:stream'
import type { Headers } from '../contract/application.ts'
import { localError } from '../contract/coded-errors.ts'
import { informHead, responseHead } from '../http1/codec/writer.ts'
import type { DateField } from '../http1/date-field.ts'
import { type RequestConnection, SocketRequest } from '../net/socket-request.ts'
import type { RequestReader } from './codec/request.ts'

/** The connection of a request. */
export interface UwsgiRequestConnection extends RequestConnection {
  readonly date: DateField
  readonly reader: RequestReader
  /** Bytes that arrived after the request: an upgraded protocol's, if the request asks for an upgrade. */
  readonly surplus: Buffer
  /** Decides anew whether to read from the socket. */
  updateReading(): void
  /** Ends the connection so that the web server sees that the response is truncated. */
  abortResponse(): void
}

export class UwsgiRequest extends SocketRequest<UwsgiRequestConnection> {
  /** Whether the whole response was given to the transport. */
  complete = false
  /** Whether the response has begun, and its body ends with the connection. */
  untilClose = false

  // ---- ResponseSink ------------------------------------------------------------------------------------------------

  inform(status: string, headers: Headers): void {
    this.connection?.transport.output.text(informHead(status, headers))
    this.connection?.transport.flush()
  }

  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    const { connection } = this
    if (!connection) return true
    this.untilClose = length === -1
    connection.transport.output.text(responseHead(status, headers, 'close', '', connection.date))
    return chunk ? this.data(chunk, end) : this.#written(connection, end)
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    const { connection } = this
    if (!connection) return true
    connection.transport.output.bytes(chunk)
    return this.#written(connection, end)
  }

  #written({ transport }: UwsgiRequestConnection, end: boolean): boolean {
    if (end) this.end()
    else transport.flushSoon()
    return transport.output.room
  }

  /** uwsgi has no trailers. */
  end(): void {
    const { connection } = this
    if (!connection) return
    this.complete = true
    // An application that is not done may still read its input.
    if (this.settled || connection.reader.pending === 0) connection.transport.closeSoon()
    else connection.transport.flushSoon()
  }

  abort(): void {
    this.connection?.abortResponse()
  }

  upgrade(): Duplex {
    const { connection } = this
    if (!connection) throw localError('STREAM_OVER', 'the connection no longer belongs to this request')
    return connection.transport.upgrade(connection.surplus)
  }

  // ---- InputSource -------------------------------------------------------------------------------------------------

  /** The web server itself has answered `Expect: 100-continue`. */
  wanted(): void {}

  consumed(): void {
    this.connection?.updateReading()
  }

  // ---- ClientView: the web server, which passes the pace of its client on -------------------------------------------

  protected get bodyExpected(): boolean {
    return this.connection!.reader.pending > 0
  }
}
