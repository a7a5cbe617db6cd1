/**
 * What `req.socket` and `res.socket` are: a Duplex that behaves as the client's connection does for one request. What the
 * response writes goes to the application's body; destroying it truncates a response that is not written to its end; a
 * client that went away closes it.
 *
 * It knows neither headers nor requests: `response.ts` and `from-node.ts` hang on its events, as node's own server does on a
 * socket's.
 */

import type { Environ, StartResponse } from '../../protocol/contract/application.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import { AbortError, HttpError } from '../../protocol/contract/errors.ts'
import { shown } from '../../protocol/contract/response-head.ts'
import { BodyQueue, type BodyQueueHost } from './body-queue.ts'
import { ClientSocket, type SocketOwner } from './client-socket.ts'
import { logFailure } from './late-failure.ts'
import { RawAnswer } from './raw-answer.ts'

type Callback = (error?: Error | null) => void

/** What a connection tells its request's feed. */
export interface Carried {
  /** The listener has returned. */
  began(): void
  /** The request's reader wants more. */
  pump(): void
  /** The exchange closed the body. */
  over(): void
  /** The connection closed. */
  gone(): void
  /** Calls back when the request is over. */
  whenOver(callback: () => void): void
  /** Nothing moved for too long: whether the request's listeners handle that. */
  timedOut(): boolean
}

/** What a connection tells its response. */
export interface Answering {
  /** Whether the response head was stored: later bytes are its body. */
  readonly started: boolean
  /** An empty write: the head is to leave now. */
  flush(): void
  /** There is room again. */
  drained(): void
  /** Called when the connection is destroyed. */
  closed(): void
  /** Nothing moved for too long: whether the response's listeners handle that. */
  timedOut(): boolean
}

export class Connection extends ClientSocket implements BodyQueueHost {
  readonly body: BodyQueue = new BodyQueue(this)
  /** The request that it carries. */
  request: Carried | undefined = undefined
  /** The response to it. */
  response: Answering | undefined = undefined
  joinable = false
  readonly #environ: Environ
  readonly #startResponse: StartResponse
  #responded = false
  #failure: unknown
  #isErrored = false
  /** A response that the listener writes to the socket itself, bypassing `res`. */
  #raw: RawAnswer | undefined

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
    logFailure(this.#environ, error)
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
    // The listener wrote a whole response to the socket itself: `res` was not ended, and closes with the connection, as
    // on node.
    if (!whole || !this.#responded) this.destroy()
  }

  /**
   * The response is complete. The connection ends with it: listeners of 'close' get the event once the request is
   * complete, too.
   */
  over(): void {
    if (this.listenerCount('close') > 0) this.request?.whenOver(() => this.destroy())
  }

  override destroy(error?: Error): this {
    if (this.#failure === undefined && !this.destroyed) this.delivers(this.body)
    return super.destroy(error)
  }

  /** @throws Error always, as node's server does: the bytes are a request's */
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

  /** As node's server: whoever listens has handled it. */
  override timedOut(): boolean {
    const byRequest = this.request?.timedOut() === true
    return this.response?.timedOut() === true || byRequest
  }

  /** No listeners of our own for these, which would be made for each request. Node's server, too, aborts a request before others hear of its end. */
  override emit(event: string | symbol, ...given: unknown[]): boolean {
    if (event === 'error') {
      this.#errored(given[0] as Error)
      // Node's server always listens: without another listener nothing is thrown.
      if (this.listenerCount(event) > 0) super.emit(event, ...given)
      return true
    }
    if (event === 'close') this.request?.gone()
    else if (event === 'drain') this.response?.drained()
    return super.emit(event, ...given)
  }

  /** What node's server does first for an 'error' of its socket (its socketOnError), once, whoever emits. */
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

  // ---- Duplex --------------------------------------------------------------------------------------------------------

  override _read(): void {
    // Nothing: the request's body is read from `wsgi.input` by the request itself.
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
    this.moved()
    if (this.body.phase === 'closed') {
      // On node these bytes would precede the next response. Here the exchange is complete: they are dropped.
      callback()
      return
    }
    if (!this.response?.started) {
      this.#writeRaw(chunks, callback)
      return
    }
    if (chunks.length === 0) {
      // With a body that is being sent the head is on its way (and PEP 3333 has no write() then).
      if (!this.#responded && !this.body.given) this.response.flush()
      callback()
      return
    }
    let bytes = 0
    for (const chunk of chunks) bytes += chunk.length
    this.bytesWritten += bytes
    this.offered = bytes
    this.body.offer(chunks, (error) => {
      this.offered = 0
      this.moved()
      callback(error)
    })
    if (this.#responded && this.writableLength === this.offered) this.body.end()
  }

  #writeRaw(chunks: Uint8Array[], callback: Callback): void {
    if (chunks.length === 0) {
      callback()
      return
    }
    this.#raw ??= new RawAnswer(this.#environ, this.#startResponse, this.body)
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

  /** `req.socket.end()`: node sends FIN, which truncates a response that was not ended. */
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

/** What the exchange is told: errors that carry an answer or a reason of their own stay what they are. */
function reason(error: Error | null): Error {
  if (error instanceof HttpError || error instanceof AbortError) return error
  return new AbortError(
    'APPLICATION',
    'the listener destroyed the socket of the request',
    error ? { cause: error } : undefined,
  )
}
