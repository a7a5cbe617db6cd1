/**
 * A request's body from node's IncomingMessage into `wsgi.input`: nothing is read before the application reads, and no more than it has
 * room for. It knows no responses but for the 100 that a client waits for.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { localError } from '../../protocol/contract/coded-errors.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import { type InputSource, RequestInput } from '../../protocol/contract/input.ts'

/** Bytes that may wait for the application: what sockets and frames deliver at a time. */
const READ_AHEAD = 64 * 1024

/** Since Node 0.x; what its server has sent by itself. */
interface Continued {
  _sent100?: boolean
}

export class BodySource implements InputSource {
  readonly input: RequestInput
  readonly #req: IncomingMessage
  readonly #res: (ServerResponse & Continued) | undefined
  #over = false

  /** @param res for the 100 of a server whose 'checkContinue' leads here */
  constructor(req: IncomingMessage, res?: ServerResponse) {
    this.#req = req
    this.#res = res
    const { 'content-length': length, 'transfer-encoding': coding } = req.headers
    this.input = new RequestInput(coding === undefined && (length === undefined || Number(length) === 0) ? null : this)
  }

  /** The client has gone, or the response is over. */
  gone(error: Error): void {
    if (this.#over || this.input.ended) return
    this.#fail(error)
    // What is left of it must not hold up what follows on its connection.
    this.#req.resume()
  }

  wanted(): void {
    const req = this.#req
    if (this.#over) return
    if (req.readableEnded || req.readableDidRead) {
      this.#fail(
        localError(
          'BODY_READ',
          'the request body was read before the application could read it; put the listener of toNode() before body parsers',
        ),
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
    // 'close' without an end before it: it was cut.
    req.on('error', (error) => this.#cut(error))
    req.on('close', () => this.#cut(undefined))
  }

  consumed(): void {
    if (!this.#over && this.input.buffered < READ_AHEAD && this.#req.isPaused()) this.#req.resume()
  }

  #cut(cause: Error | undefined): void {
    if (!this.#over)
      this.#fail(
        new AbortError('CLIENT_GONE', 'the client disconnected before its request body was complete', { cause }),
      )
  }

  #fail(error: Error): void {
    this.#over = true
    this.input.fail(error)
  }
}
