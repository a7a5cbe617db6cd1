/**
 * One accepted REQUEST: connects its stream with its exchange. It is the exchange's response sink, its input's source
 * and its host. `server.ts` counts the slots and closes the link.
 */

import type { Duplex } from 'node:stream'
import type { Application, Environ, Headers } from '../contract/application.ts'
import { httpError } from '../contract/coded-errors.ts'
import { REQUEST_ID } from '../contract/context.ts'
import { type AbortCode, AbortError, LocalProtocolError } from '../contract/errors.ts'
import { Exchange, type ExchangeHost } from '../contract/exchange.ts'
import { type InputSource, RequestInput } from '../contract/input.ts'
import type { ResponseSink } from '../contract/response.ts'
import { statusPage } from '../contract/status-page.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock, Deadlines } from '../net/clock.ts'
import { ChunkCoalescer } from './codec/chunk-coalescer.ts'
import { Reset } from './codec/constants.ts'
import type { FrameEvent } from './codec/events.ts'
import type { FrameStream } from './codec/stream.ts'
import { RequestState } from './codec/stream-state.ts'
import type { Link } from './link.ts'
import { UpgradedStream } from './upgraded-stream.ts'

/** The request's view of its link. */
export interface RequestOwner {
  readonly link: Link
  readonly host: ExchangeHost
  /**
   * The request's slot is free: the application has settled and the response is sent, or the request has become a raw
   * connection. Called once.
   */
  released(): void
  /** Everything of the request is over. Called once, after `released`. */
  done(): void
  upgradeStarted(request: ServedRequest): void
  upgradeEnded(request: ServedRequest): void
}

const DIGITS = /^[0-9]{1,15}$/

export class ServedRequest implements ResponseSink, InputSource, ExchangeHost {
  readonly #owner: RequestOwner
  readonly #stream: FrameStream
  readonly #input: RequestInput
  readonly #exchange: Exchange
  readonly #small: ChunkCoalescer | undefined
  /** The declared length of the request body, bytes; -1 if none is declared. */
  readonly #declared: number
  /** Body bytes that have arrived. */
  #received = 0
  #duplex: UpgradedStream | undefined
  #settled = false
  #released = false
  #done = false

  constructor(
    owner: RequestOwner,
    stream: FrameStream,
    application: Application,
    environ: Environ,
    requestId: string,
    body: Uint8Array | undefined,
    end: boolean,
  ) {
    this.#owner = owner
    this.#stream = stream
    stream.owner = this
    this.#declared = stream.asksUpgrade ? -1 : lengthOf(environ.CONTENT_LENGTH)
    if (stream.asksUpgrade || (end && body === undefined && this.#declared <= 0)) this.#input = new RequestInput(null)
    else {
      this.#input = new RequestInput(this)
      this.#small = end ? undefined : new ChunkCoalescer()
      if (body !== undefined) {
        this.#received = body.length
        this.#input.push(body)
      }
      if (end) this.#inputEnds([])
    }
    this.#exchange = new Exchange(
      application,
      environ,
      this.#input,
      this,
      this,
      REQUEST_ID.test(requestId) ? requestId : undefined,
    )
  }

  run(): void {
    this.#owner.link.connection.start(this.#stream)
    this.#exchange.run()
  }

  // ---- events of the stream -----------------------------------------------------------------------------------------

  /** An event of the request's stream. */
  event(event: FrameEvent): void {
    switch (event.type) {
      case 'data':
        this.#bodyArrived(event.bytes, event.end)
        break
      case 'end':
        this.#inputEnds(event.fields)
        break
      case 'abort':
        this.abortExchange(ABORT_OF[event.code] ?? 'CLIENT_GONE', `the caller aborted the request: ${event.text}`)
        break
      case 'violation':
        this.abortExchange('PROTOCOL', `the caller violated the protocol: ${event.text}`)
    }
  }

  #bodyArrived(bytes: Uint8Array, end: boolean): void {
    if (this.#duplex) {
      this.#duplex.data(bytes, end)
      return
    }
    const input = this.#input
    const small = this.#small
    this.#received += bytes.length
    // If the reader is behind, small chunks are copied together.
    if (small && bytes.length > 0 && (input.buffered > 0 || !small.empty)) {
      const chunks = small.add(bytes)
      if (chunks) for (const chunk of chunks) input.push(chunk)
    } else input.push(bytes)
    if (end) this.#inputEnds([])
  }

  #inputEnds(fields: string[]): void {
    const small = this.#small
    if (small && !small.empty) this.#input.push(small.take())
    if (this.#declared === -1 || this.#declared === this.#received) this.#input.end(fields)
    else {
      // Bytes were lost or added on the way: the body must not look complete.
      this.#input.fail(
        httpError(
          'BODY_LENGTH',
          `received a request body of ${this.#received} bytes; CONTENT_LENGTH is ${this.#declared}`,
        ),
      )
    }
  }

  /** There is room for more of the response, or the stream is closed. */
  resume(): void {
    if (this.#duplex) this.#duplex.resumeWriting()
    else this.#exchange.resume()
    this.#releaseIfOver()
  }

  /** The stream is closed already (the caller aborted it, or the link is closed): aborts the exchange alone. */
  abortExchange(code: AbortCode, message: string): void {
    const error = new AbortError(code, message)
    this.#exchange.abort(error)
    this.#releaseIfOver()
  }

  /** This process cannot continue the request: aborts its stream and its exchange. */
  abortBoth(error: AbortError): void {
    this.abort(error)
    this.#exchange.abort(error)
  }

  /** Closes the request's WebSocket with code 1001. @returns false if the request has none (see `Exchange.goAway`) */
  closeWebSocket(): boolean {
    return this.#exchange.goAway()
  }

  // ---- InputSource --------------------------------------------------------------------------------------------

  wanted(): void {
    if (this.#stream.request !== RequestState.HELD) return
    this.#owner.link.connection.releaseHold(this.#stream)
    this.#owner.link.schedule()
  }

  starved(): void {
    if (this.#stream.closed || this.#stream.request === RequestState.HELD) return
    this.#owner.link.connection.returnCredit(this.#stream)
    this.#owner.link.schedule()
  }

  consumed(bytes: number): void {
    const small = this.#small
    if (small && !small.empty && this.#input.buffered === 0) this.#input.push(small.take())
    if (!this.#stream.isReceiving) return
    this.#owner.link.connection.consumed(this.#stream, bytes)
    this.#owner.link.schedule()
  }

  // ---- ResponseSink -------------------------------------------------------------------------------------------

  inform(status: string, headers: Headers): void {
    if (!this.#owner.link.connection.inform(this.#stream, status, headers)) {
      this.log.debug({ requestId: this.#exchange.environ.gantry.requestId }, 'informational response dropped')
    }
    this.#owner.link.flush()
  }

  head(status: string, headers: Headers, _length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    const { link } = this.#owner
    link.schedule()
    try {
      const room = link.connection.head(this.#stream, status, headers, chunk, end)
      if (end) this.#releaseIfOver()
      return room
    } catch (error) {
      if (!(error instanceof LocalProtocolError)) throw error
      // Nothing was written, so respond with 500, as for any failed application. After a RESET the proxy would retry a
      // GET, which would fail again.
      const { environ } = this.#exchange
      this.log.error({ requestId: environ.gantry.requestId, code: error.code }, error.message)
      let status = ''
      let headers: Headers = []
      const [page] = statusPage(500)(environ, (line, fields) => {
        status = line
        headers = fields
        return () => Promise.resolve()
      }) as [Uint8Array]
      link.connection.head(this.#stream, status, headers, environ.REQUEST_METHOD === 'HEAD' ? undefined : page, true)
      this.#exchange.abort(new AbortError('APPLICATION', error.message, { cause: error }))
      this.#releaseIfOver()
      return true
    }
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    const { link } = this.#owner
    link.schedule()
    const room = link.connection.data(this.#stream, chunk, end)
    if (end) this.#releaseIfOver()
    return room
  }

  end(trailers: Headers | undefined): void {
    const { link } = this.#owner
    link.schedule()
    if (trailers === undefined || trailers.length === 0) {
      link.connection.end(this.#stream)
      this.#releaseIfOver()
      return
    }
    try {
      link.connection.end(this.#stream, trailers.flat())
    } catch (error) {
      if (!(error instanceof LocalProtocolError)) throw error
      this.log.error({ requestId: this.#exchange.environ.gantry.requestId, code: error.code }, error.message)
      link.connection.end(this.#stream)
    }
    this.#releaseIfOver()
  }

  flush(): void {
    this.#owner.link.flush()
  }

  /** Aborts the stream alone: the caller of this method aborts the exchange. */
  abort(error: AbortError): void {
    const { link } = this.#owner
    link.connection.abort(this.#stream, RESET_OF[error.code], error.message)
    link.schedule()
    this.#releaseIfOver()
  }

  upgrade(): Duplex {
    const owner = this.#owner
    this.#duplex = new UpgradedStream(owner.link, this.#stream, () => {
      owner.upgradeEnded(this)
      this.#releaseIfOver()
    })
    owner.upgradeStarted(this)
    this.#freeSlot()
    // The stream was closed, so the 101 was not sent.
    if (this.#stream.closed) this.#duplex.destroy()
    return this.#duplex
  }

  // ---- ExchangeHost -------------------------------------------------------------------------------------------

  get clock(): Clock {
    return this.#owner.host.clock
  }

  get deadlines(): Deadlines {
    return this.#owner.host.deadlines
  }

  get log(): Logger {
    return this.#owner.host.log
  }

  get draining(): boolean {
    return this.#owner.host.draining
  }

  get leaving(): boolean | undefined {
    return this.#owner.host.leaving
  }

  settled(exchange: Exchange): void {
    this.#settled = true
    this.#owner.host.settled(exchange)
    this.#releaseIfOver()
  }

  // ---- internals ----------------------------------------------------------------------------------------------------

  /** The slot is free only when the application has settled and no byte of its response is queued here. */
  #releaseIfOver(): void {
    if (!this.#stream.closed || this.#done) return
    if (!this.#settled) {
      // The end of the response ends the stream: the rest of the request body will not arrive.
      if (!this.#input.ended)
        this.#input.fail(new AbortError('CLIENT_GONE', 'the response was complete before the request'))
      return
    }
    this.#freeSlot()
    this.#done = true
    this.#owner.done()
  }

  #freeSlot(): void {
    if (this.#released) return
    this.#released = true
    this.#owner.released()
  }
}

/** The abort code for a RESET of the caller. */
const ABORT_OF: Readonly<Record<number, AbortCode>> = {
  [Reset.CANCELLED]: 'CLIENT_GONE',
  [Reset.DEADLINE]: 'DEADLINE',
  [Reset.DRAIN_TIMEOUT]: 'DRAIN_TIMEOUT',
  [Reset.UPSTREAM]: 'UPSTREAM',
  [Reset.PROTOCOL]: 'PROTOCOL',
}

/** The RESET code for an abort of the exchange. */
const RESET_OF: Readonly<Record<AbortCode, number>> = {
  CLIENT_GONE: Reset.CANCELLED,
  DEADLINE: Reset.DEADLINE,
  DRAIN_TIMEOUT: Reset.DRAIN_TIMEOUT,
  APPLICATION: Reset.APPLICATION,
  UPSTREAM: Reset.UPSTREAM,
  PROTOCOL: Reset.PROTOCOL,
  SLOW_CLIENT: Reset.CANCELLED,
}

/** CONTENT_LENGTH in bytes; -1 if it is missing or invalid. */
function lengthOf(value: string | undefined): number {
  return value !== undefined && DIGITS.test(value) ? Number(value) : -1
}
