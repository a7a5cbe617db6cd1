/**
 * One REQUEST that was taken: between its stream and its exchange. It is the exchange's sink, its input's source, and the
 * host that hears of its end. Does not know slots, nor how a link ends.
 */

import type { Duplex } from 'node:stream'
import type { Application, Environ, Headers } from '../contract/application.ts'
import { REQUEST_ID } from '../contract/context.ts'
import { httpError } from '../contract/coded-errors.ts'
import { type AbortCode, AbortError, LocalProtocolError } from '../contract/errors.ts'
import { Exchange, type ExchangeHost } from '../contract/exchange.ts'
import { type InputSource, RequestInput } from '../contract/input.ts'
import type { ResponseSink } from '../contract/response.ts'
import { statusPage } from '../contract/status-page.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock, Deadlines } from '../net/clock.ts'
import { Reset } from './codec/constants.ts'
import { Gatherer } from './codec/gatherer.ts'
import type { Stream } from './codec/stream.ts'
import { StreamDuplex } from './duplex.ts'
import type { Link } from './link.ts'

/** What a request tells the link it came on. */
export interface RequestOwner {
  readonly link: Link
  readonly host: ExchangeHost
  /** Its slot is free: the application has settled and its response has left, or it has become a raw connection. Once. */
  released(): void
  /** It is over in every respect. Once, after `released`. */
  done(): void
  upgradedBegan(request: ServedRequest): void
  upgradedEnded(request: ServedRequest): void
}

const EMPTY: Uint8Array = new Uint8Array(0)
const DIGITS = /^[0-9]{1,15}$/

export class ServedRequest implements ResponseSink, InputSource, ExchangeHost {
  readonly #owner: RequestOwner
  readonly #stream: Stream
  readonly #input: RequestInput
  readonly #exchange: Exchange
  readonly #small: Gatherer | undefined
  /** The body's declared length, -1 when there is none, and what has come of it. */
  readonly #declared: number
  #received = 0
  #duplex: StreamDuplex | undefined
  #settled = false
  #released = false
  #done = false

  constructor(
    owner: RequestOwner,
    stream: Stream,
    application: Application,
    environ: Environ,
    requestId: string,
    body: Uint8Array | undefined,
    end: boolean,
  ) {
    this.#owner = owner
    this.#stream = stream
    stream.owner = this
    this.#declared = stream.upgrade ? -1 : lengthOf(environ.CONTENT_LENGTH)
    if (stream.upgrade || (end && body === undefined && this.#declared <= 0)) this.#input = new RequestInput(null)
    else {
      this.#input = new RequestInput(this)
      this.#small = end ? undefined : new Gatherer()
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

  // ---- what came for it ------------------------------------------------------------------------------------------

  receive(bytes: Uint8Array, end: boolean): void {
    if (this.#duplex) {
      this.#duplex.receive(bytes, end)
      return
    }
    const input = this.#input
    const small = this.#small
    this.#received += bytes.length
    // A reader that is behind gets small chunks together.
    if (small && bytes.length > 0 && (input.buffered > 0 || !small.empty)) {
      const chunks = small.add(bytes)
      if (chunks) for (const chunk of chunks) input.push(chunk)
    } else input.push(bytes)
    if (end) this.#inputEnds([])
  }

  trailers(fields: string[]): void {
    this.#inputEnds(fields)
  }

  #inputEnds(fields: string[]): void {
    const small = this.#small
    if (small && !small.empty) this.#input.push(small.take())
    if (this.#declared === -1 || this.#declared === this.#received) this.#input.end(fields)
    else {
      // Whoever lost or added bytes on the way: it must not look whole here.
      this.#input.fail(
        httpError(
          'BODY_LENGTH',
          `received a request body of ${this.#received} bytes; CONTENT_LENGTH is ${this.#declared}`,
        ),
      )
    }
  }

  relieved(): void {
    if (this.#duplex) this.#duplex.relieved()
    else this.#exchange.resume()
    this.#release()
  }

  /** The caller gave it up, or the link is gone. */
  cancel(code: AbortCode, message: string): void {
    const error = new AbortError(code, message)
    this.#exchange.abort(error)
    this.#release()
  }

  /** This process cannot continue the request. */
  giveUp(error: AbortError): void {
    this.abort(error)
    this.#exchange.abort(error)
  }

  /** As in the exchange. */
  goAway(): boolean {
    return this.#exchange.goAway()
  }

  // ---- of InputSource --------------------------------------------------------------------------------------------

  wanted(): void {
    if (!this.#stream.held) return
    this.#owner.link.connection.wanted(this.#stream)
    this.#owner.link.schedule()
  }

  starved(): void {
    if (this.#stream.closed || this.#stream.held) return
    this.#owner.link.connection.starved(this.#stream)
    this.#owner.link.schedule()
  }

  consumed(bytes: number): void {
    const small = this.#small
    if (small && !small.empty && this.#input.buffered === 0) this.#input.push(small.take())
    if (this.#stream.closed || this.#stream.remoteEnded) return
    this.#owner.link.connection.consumed(this.#stream, bytes)
    this.#owner.link.schedule()
  }

  // ---- of ResponseSink -------------------------------------------------------------------------------------------

  inform(status: string, headers: Headers): void {
    if (!this.#owner.link.connection.inform(this.#stream, status, headers)) {
      this.log.debug({ requestId: this.#exchange.environ.gantry.requestId }, 'an informational response was left out')
    }
    this.#owner.link.flush()
  }

  head(status: string, headers: Headers, _length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    const { link } = this.#owner
    link.schedule()
    try {
      const room = link.connection.respond(this.#stream, status, headers, chunk, end)
      if (end) this.#release()
      return room
    } catch (error) {
      if (!(error instanceof LocalProtocolError)) throw error
      // Nothing was written, so answer 500 as for any failed application. After a RESET the proxy would retry a GET,
      // which would fail again.
      const { environ } = this.#exchange
      this.log.error({ requestId: environ.gantry.requestId, code: error.code }, error.message)
      let status = ''
      let headers: Headers = []
      const [page] = statusPage(500)(environ, (line, fields) => {
        status = line
        headers = fields
        return () => Promise.resolve()
      }) as [Uint8Array]
      link.connection.respond(this.#stream, status, headers, environ.REQUEST_METHOD === 'HEAD' ? undefined : page, true)
      this.#exchange.abort(new AbortError('APPLICATION', error.message, { cause: error }))
      this.#release()
      return true
    }
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    const { link } = this.#owner
    link.schedule()
    const room = link.connection.send(this.#stream, chunk, end)
    if (end) this.#release()
    return room
  }

  end(trailers: Headers | undefined): void {
    const { link } = this.#owner
    link.schedule()
    if (trailers === undefined || trailers.length === 0) {
      link.connection.send(this.#stream, EMPTY, true)
      this.#release()
      return
    }
    try {
      link.connection.trailers(this.#stream, trailers.flat())
    } catch (error) {
      if (!(error instanceof LocalProtocolError)) throw error
      this.log.error({ requestId: this.#exchange.environ.gantry.requestId, code: error.code }, error.message)
      link.connection.send(this.#stream, EMPTY, true)
    }
    this.#release()
  }

  flush(): void {
    this.#owner.link.flush()
  }

  abort(error: AbortError): void {
    const { link } = this.#owner
    link.connection.reset(this.#stream, RESET_OF[error.code], error.message)
    link.schedule()
    this.#release()
  }

  upgrade(): Duplex {
    const owner = this.#owner
    this.#duplex = new StreamDuplex(owner.link, this.#stream, () => {
      owner.upgradedEnded(this)
      this.#release()
    })
    owner.upgradedBegan(this)
    this.#free()
    // The 101 could not be sent.
    if (this.#stream.closed) this.#duplex.destroy()
    return this.#duplex
  }

  // ---- of ExchangeHost -------------------------------------------------------------------------------------------

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
    this.#release()
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  /** The slot is free only when the application is done and nothing of its response takes memory here. */
  #release(): void {
    if (!this.#stream.closed || this.#done) return
    if (!this.#settled) {
      // The response's end ends the stream: what the request still had to say will not come.
      if (!this.#input.ended)
        this.#input.fail(new AbortError('CLIENT_GONE', 'the response was complete before the request'))
      return
    }
    this.#free()
    this.#done = true
    this.#owner.done()
  }

  #free(): void {
    if (this.#released) return
    this.#released = true
    this.#owner.released()
  }
}

const RESET_OF: Readonly<Record<AbortCode, number>> = {
  CLIENT_GONE: Reset.CANCELLED,
  DEADLINE: Reset.DEADLINE,
  DRAIN_TIMEOUT: Reset.DRAIN_TIMEOUT,
  APPLICATION: Reset.APPLICATION,
  UPSTREAM: Reset.UPSTREAM,
  PROTOCOL: Reset.PROTOCOL,
  SLOW_CLIENT: Reset.CANCELLED,
}

/** A CONTENT_LENGTH in bytes, -1 when there is none to go by. */
function lengthOf(value: string | undefined): number {
  return value !== undefined && DIGITS.test(value) ? Number(value) : -1
}
