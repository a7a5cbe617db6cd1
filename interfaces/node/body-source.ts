/**
 * Copies a request's body from Node's IncomingMessage to `wsgi.input`. Reads nothing before the application reads, and
 * no more than it has room for. Sends 100 Continue if the client waits for it.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { localError } from '../../protocol/contract/coded-errors.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import { type InputSource, RequestInput } from '../../protocol/contract/input.ts'

/** Bytes that may wait for the application: as many as sockets and frames deliver at once. */
const READ_AHEAD = 64 * 1024

/** Whether Node's server has already sent 100 Continue. In Node since 0.x. */
interface WithContinue {
  _sent100?: boolean
}

export class NodeBodySource implements InputSource {
  readonly input: RequestInput
  readonly #req: IncomingMessage
  readonly #res: (ServerResponse & WithContinue) | undefined
  #over = false

  /** @param res used to send 100 Continue, if the request comes from a server's 'checkContinue' event */
  constructor(req: IncomingMessage, res?: ServerResponse) {
    this.#req = req
    this.#res = res
    const { 'content-length': length, 'transfer-encoding': coding } = req.headers
    this.input = new RequestInput(coding === undefined && (length === undefined || Number(length) === 0) ? null : this)
  }

  /** The client has disconnected, or the response is over. */
  abort(error: Error): void {
    if (this.#over || this.input.ended) return
    this.#fail(error)
    // Unread bytes of the body must not block the next request on the connection.
    this.#req.resume()
  }

  wanted(): void {
    const req = this.#req
    if (this.#over) return
    if (req.readableEnded || req.readableDidRead) {
      this.#fail(
        localError('BODY_READ', "the request's body was already read: put toNode()'s listener before body parsers"),
      )
      return
    }
    if (req.destroyed) {
      this.#fail(new AbortError('CLIENT_GONE', 'the client disconnected'))
      return
    }
    const { expect } = req.headers
    if (expect?.toLowerCase() === '100-continue' && this.#res?._sent100 === false && !this.#res.headersSent) {
      this.#res.writeContinue()
    }
    req.on('data', (chunk: Buffer) => {
      if (this.#over) return
      this.input.push(chunk)
      if (this.input.buffered >= READ_AHEAD) req.pause()
    })
    req.on('end', () => {
      if (this.#over) return
      this.#over = true
      this.input.end(req.rawTrailers)
    })
    // A 'close' without an 'end' before it means that the body is truncated.
    req.on('error', (error) => this.#truncated(error))
    req.on('close', () => this.#truncated(undefined))
  }

  consumed(): void {
    if (!this.#over && this.input.buffered < READ_AHEAD && this.#req.isPaused()) this.#req.resume()
  }

  #truncated(cause: Error | undefined): void {
    if (!this.#over)
      this.#fail(new AbortError('CLIENT_GONE', 'the request body was truncated: the client disconnected', { cause }))
  }

  #fail(error: Error): void {
    this.#over = true
    this.input.fail(error)
  }
}
