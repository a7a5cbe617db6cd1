/**
 * What `req.socket` and `res.socket` are: a Duplex that behaves as the client's connection does for one request. What the
 * response writes goes to the application's body; destroying it cuts the exchange; a client that went away closes it.
 *
 * It knows neither headers nor requests: `response.ts` and `from-node.ts` hang on its events, as node's own server does on a
 * socket's.
 */

import { AbortError, HttpError } from '../errors.ts'
import { BodyQueue, type BodyQueueHost } from './body-queue.ts'
import { ClientSocket } from './client-socket.ts'

type Callback = (error?: Error | null) => void

/** What a connection tells its request's feed. */
export interface Carried {
  /** The request's reader wants more. */
  pump(): void
  /** The exchange closed the body. */
  over(): void
  /** The connection closed. */
  gone(): void
  /** Nothing moved for too long: whether the request's listeners handle that. */
  timedOut(): boolean
}

/** What a connection tells its response. */
export interface Answering {
  /** An empty write: the head is to leave now. */
  flush(): void
  /** There is room again. */
  drained(): void
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
  #responded = false
  #offered = 0
  #failure: unknown

  /** Cuts the exchange with `error` as it is: what a listener threw, or the client's going. */
  fail(error: unknown): void {
    this.#failure ??= error
    this.destroy()
  }

  /** The response was written to its end. */
  responded(): void {
    this.#responded = true
    if (this.writableLength === this.#offered) this.body.end()
  }

  /** The exchange closed the body. */
  bodyClosed(whole: boolean): void {
    this.setTimeout(0)
    this.request?.over()
    if (!whole) this.destroy()
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
    if (event === 'close') this.request?.gone()
    else if (event === 'drain') this.response?.drained()
    return super.emit(event, ...given)
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
    if (chunks.length === 0) {
      // With a body that is being sent the head is on its way (and PEP 3333 has no write() then).
      if (!this.#responded && !this.body.given) this.response?.flush()
      callback()
      return
    }
    let bytes = 0
    for (const chunk of chunks) bytes += chunk.length
    this.bytesWritten += bytes
    this.#offered = bytes
    this.body.offer(chunks, (error) => {
      this.#offered = 0
      this.moved()
      callback(error)
    })
    if (this.#responded && this.writableLength === bytes) this.body.end()
  }

  /** `req.socket.end()`: node sends FIN, which cuts a response that was not ended. */
  override _final(callback: Callback): void {
    if (!this.#responded) this.destroy()
    callback()
  }

  override _destroy(error: Error | null, callback: Callback): void {
    this.setTimeout(0)
    this.body.fail(this.#failure ?? reason(error))
    // No 'error' event: node's server handles a socket's errors itself, and 'close' follows in any case.
    callback(null)
  }
}

/** What the exchange is told: errors that carry an answer or a reason of their own stay what they are. */
function reason(error: Error | null): Error {
  if (error instanceof HttpError || error instanceof AbortError) return error
  return new AbortError('APPLICATION', 'the listener destroyed its connection', error ? { cause: error } : undefined)
}
