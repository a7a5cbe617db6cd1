/**
 * `req.socket` and `res.socket`: a Duplex that behaves like the client's connection for one request. Bytes of the
 * response go to the application's body; destroying the socket truncates an incomplete response; a client's disconnect
 * closes it. `response.ts` and `request.ts` react to its events, as Node's server does.
 */

import type { Environ, StartResponse } from '../../protocol/contract/application.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import { AbortError, HttpError } from '../../protocol/contract/errors.ts'
import { shown } from '../../protocol/contract/response-head.ts'
import { BodyQueue, type BodyQueueHost } from './body-queue.ts'
import { ClientSocket, type SocketOwner } from './client-socket.ts'
import { logLateFailure } from './late-failure.ts'
import { RawResponseWriter } from './raw-response-writer.ts'

type Callback = (error?: Error | null) => void

/** The request of a connection, as the connection uses it. */
export interface ConnectionRequest {
  /** The listener has returned. */
  began(): void
  /** The reader of the request wants more. */
  pump(): void
  /** The exchange closed the body. */
  over(): void
  /** The connection closed. */
  connectionClosed(): void
  /** Calls `callback` when the request is over. */
  whenOver(callback: () => void): void
  /** There was no activity for too long. Returns whether the request's listeners handle that. */
  timedOut(): boolean
}

/** The response of a connection, as the connection uses it. */
export interface ConnectionResponse {
  /** Whether the response head was stored: later bytes are its body. */
  readonly started: boolean
  /** An empty write: the head must be sent now. */
  flush(): void
  /** There is room for more bytes. */
  drained(): void
  /** The connection is destroyed. */
  closed(): void
  /** There was no activity for too long. Returns whether the response's listeners handle that. */
  timedOut(): boolean
}

export class NodeConnection extends ClientSocket implements BodyQueueHost {
  readonly body: BodyQueue = new BodyQueue(this)
  /** The request on this connection. */
  request: ConnectionRequest | undefined = undefined
  /** The response to it. */
  response: ConnectionResponse | undefined = undefined
  joinable = false
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  #responded = false
  #failure: unknown
  #isErrored = false
  /** A response that the listener writes to the socket itself, bypassing `res`. */
  #raw: RawResponseWriter | undefined

  constructor(environ: Environ, owner: SocketOwner, startResponse: StartResponse) {
    super(environ, owner)
    this.#environ = environ
    this.#startResponse = startResponse
  }

  override fail(error: unknown): void {
    this.#failure ??= error
    this.destroy()
  }

  override failed(error: unknown): boolean {
    if (this.body.phase === 'open' && !this.#responded && !this.destroyed) {
      this.fail(error)
      return true
    }
    logLateFailure(this.#environ, error)
    return false
  }

  override closedByServer(): void {
    this.destroy()
  }

  /** The response was written to its end. */
  responded(): void {
    this.#responded = true
    if (this.writableLength === this.offered) this.body.end()
  }

  /** The exchange closed the body. */
  bodyClosed(whole: boolean): void {
    this.release()
    this.request?.over()
    // The listener wrote a complete response to the socket itself: `res` was not ended, and closes with the connection,
    // as on Node.
    if (!whole || !this.#responded) this.destroy()
  }

  /**
   * The response is complete, and the connection ends with it. Listeners of 'close' get the event when the request is
   * complete, too.
   */
  over(): void {
    if (this.listenerCount('close') > 0) this.request?.whenOver(() => this.destroy())
  }

  override destroy(error?: Error): this {
    if (this.#failure === undefined && !this.destroyed) this.flushTo(this.body)
    return super.destroy(error)
  }

  /** @throws Error always, as Node's server does: the bytes belong to a request */
  override setEncoding(): never {
    throw Object.assign(new Error('Changing the socket encoding is not allowed per RFC7230 Section 3.'), {
      code: 'ERR_HTTP_SOCKET_ENCODING',
    })
  }

  /** `IncomingMessage` resumes its socket when it is read. */
  override resume(): this {
    this.request?.pump()
    return this
  }

  /** As in Node's server, a 'timeout' listener handles the timeout. */
  override timedOut(): boolean {
    const byRequest = this.request?.timedOut() === true
    return this.response?.timedOut() === true || byRequest
  }

  /**
   * Overridden instead of adding listeners, which would cost time for each request. Node's server, too, aborts a
   * request before other listeners of its end are called.
   */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event === 'error') {
      this.#errored(args[0] as Error)
      // Node's server always listens for errors: without another listener nothing is thrown.
      if (this.listenerCount(event) > 0) super.emit(event, ...args)
      return true
    }
    if (event === 'close') this.request?.connectionClosed()
    else if (event === 'drain') this.response?.drained()
    return super.emit(event, ...args)
  }

  /**
   * Handles the first 'error' event of the socket as Node's server does (its socketOnError), whoever emits the event.
   */
  #errored(error: Error): void {
    if (this.#isErrored) return
    this.#isErrored = true
    if (this.server.emit('clientError', error, this) || this.destroyed) return
    if (!this.response?.started && !this.#raw) {
      this.#failure ??= httpError(
        'SOCKET_ERROR',
        `the socket of the request emitted an error: ${error instanceof Error ? error.message : shown(error)}`,
        {
          cause: error,
        },
      )
    }
    this.destroy(error)
  }

  // ---- Duplex -------------------------------------------------------------------------------------------------------

  override _read(): void {
    // Nothing to do: `request.ts` reads the body from `wsgi.input`.
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: Callback): void {
    this.#offer(chunk.length === 0 ? [] : [chunk], callback)
  }

  override _writev(items: { chunk: Uint8Array }[], callback: Callback): void {
    const chunks: Uint8Array[] = []
    for (const { chunk } of items) if (chunk.length > 0) chunks.push(chunk)
    this.#offer(chunks, callback)
  }

  #offer(chunks: Uint8Array[], callback: Callback): void {
    this.recordActivity()
    if (this.body.phase === 'closed') {
      // On Node these bytes would precede the next response. Here the exchange is complete, and they are dropped.
      callback()
      return
    }
    if (!this.response?.started) {
      this.#writeRaw(chunks, callback)
      return
    }
    if (chunks.length === 0) {
      // If a body is already being sent, so is the head (and PEP 3333 then allows no write()).
      if (!this.#responded && !this.body.isTaken) this.response.flush()
      callback()
      return
    }
    let bytes = 0
    for (const chunk of chunks) bytes += chunk.length
    this.bytesWritten += bytes
    this.offered = bytes
    this.body.offer(chunks, (error) => {
      this.offered = 0
      this.recordActivity()
      callback(error)
    })
    if (this.#responded && this.writableLength === this.offered) this.body.end()
  }

  #writeRaw(chunks: Uint8Array[], callback: Callback): void {
    if (chunks.length === 0) {
      callback()
      return
    }
    this.#raw ??= new RawResponseWriter(this.#environ, this.#startResponse, this.body)
    const bytes = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
    this.bytesWritten += bytes.length
    this.offered = bytes.length
    try {
      this.#raw.write(bytes, (error) => {
        this.offered = 0
        callback(error)
      })
    } catch (error) {
      this.fail(error)
      callback()
    }
  }

  /** `req.socket.end()`: Node sends FIN, which truncates a response that was not ended. */
  override _final(callback: Callback): void {
    const whole = this.#responded ? this.body.phase !== 'closed' : this.#raw?.end() === true
    if (!whole) this.once('finish', () => this.destroy())
    callback()
  }

  override _destroy(error: Error | null, callback: Callback): void {
    if (this.#failure === undefined) {
      this.#raw?.destroyed(error, this.writableLength === 0)
      this.body.truncate(reason(error))
    } else this.body.abort(this.#failure)
    this.response?.closed()
    this.release()
    callback(error)
  }
}

/** The error for the exchange: errors with their own status or reason are kept. */
function reason(error: Error | null): Error {
  if (error instanceof HttpError || error instanceof AbortError) return error
  return new AbortError(
    'APPLICATION',
    'the listener destroyed the socket of the request',
    error ? { cause: error } : undefined,
  )
}
