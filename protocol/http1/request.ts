/**
 * One request of an HTTP/1.1 connection: writes the response of its exchange, and tells the connection what the
 * application has read. Knows neither when a request is read nor when a connection is reused.
 */

import type { Duplex } from 'node:stream'
import type { Headers } from '../contract/application.ts'
import { localError } from '../contract/coded-errors.ts'
import { type RequestConnection, SocketRequest } from '../net/socket-request.ts'
import type { Http1ServerConnection } from './codec/connection.ts'
import { chunkHead } from './codec/writer.ts'

/** The connection of a request. */
export interface Http1RequestConnection extends RequestConnection {
  readonly codec: Http1ServerConnection
  /**
   * Whether the connection is reading requests: then it flushes, and goes on by itself, when it has read what there is.
   */
  readonly reading: boolean
  /** Goes on with the next request, in the next tick. */
  proceedSoon(): void
  /** Decides anew whether to read from the socket. */
  updateReading(): void
  /** Ends the connection so that the client sees that the response is truncated. */
  abortResponse(): void
}

/**
 * Memory that a chunk of a body costs beside its bytes, about: a flood of one-byte segments must not fill memory
 * uncounted.
 */
const CHUNK_OVERHEAD = 256

export class Http1Request extends SocketRequest<Http1RequestConnection> {
  /** Chunks of the body since all of it was last read. */
  #chunks = 0

  /** Adds a chunk of the body. */
  receive(chunk: Uint8Array): void {
    this.#chunks++
    this.input.push(chunk)
  }

  /** Bytes of the body that the application has not read, with the memory overhead of their chunks. */
  override get held(): number {
    const { buffered } = this.input
    if (buffered === 0) this.#chunks = 0
    return buffered + this.#chunks * CHUNK_OVERHEAD
  }

  // ---- ResponseSink ------------------------------------------------------------------------------------------------

  inform(status: string, headers: Headers): void {
    const { connection } = this
    if (!connection) return
    connection.transport.output.text(connection.codec.inform(status, headers))
    connection.transport.flush()
  }

  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    const { connection } = this
    if (!connection) return true
    const { codec, transport } = connection
    if (connection.leaving) codec.closeAfterResponse()
    transport.output.text(codec.head(status, headers, length, end))
    return chunk ? this.data(chunk, end) : this.#written(connection, end)
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    const { connection } = this
    if (!connection) return true
    const { output } = connection.transport
    if (connection.codec.framing !== 'chunked') output.bytes(chunk)
    else if (chunk.length > 0) {
      output.text(chunkHead(chunk.length))
      output.bytes(chunk)
      output.text('\r\n')
    }
    return this.#written(connection, end)
  }

  #written(connection: Http1RequestConnection, end: boolean): boolean {
    if (end) this.end(undefined)
    else if (!connection.reading) connection.transport.flushSoon()
    return connection.transport.output.room
  }

  end(trailers: Headers | undefined): void {
    const { connection } = this
    if (!connection) return
    connection.transport.output.text(connection.codec.end(trailers))
    if (connection.reading) return
    connection.transport.flushSoon()
    connection.proceedSoon()
  }

  abort(): void {
    this.connection?.abortResponse()
  }

  upgrade(): Duplex {
    const { connection } = this
    if (!connection) throw localError('STREAM_OVER', 'the connection no longer belongs to this request')
    return connection.transport.upgrade(connection.codec.upgrade())
  }

  // ---- InputSource -------------------------------------------------------------------------------------------------

  wanted(): void {
    const { connection } = this
    if (!connection) return
    const text = connection.codec.continue()
    if (text !== '') {
      connection.transport.output.text(text)
      connection.transport.flush()
    }
    if (!connection.reading) connection.updateReading()
  }

  consumed(): void {
    const { connection } = this
    if (connection?.transport.paused && !connection.reading) connection.updateReading()
  }

  // ---- ClientView --------------------------------------------------------------------------------------------------

  protected get bodyExpected(): boolean {
    const codec = this.connection!.codec
    // A client that waits for 100 Continue is not slow: the server has not sent it yet.
    return codec.request === 'body' && !(codec.awaitsContinue && codec.response === 'pending')
  }
}
