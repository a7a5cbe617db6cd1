/**
 * The requests of one HTTP/1.1 connection, one at a time: reads them, runs their exchanges, refuses those that cannot
 * be served, and decides what follows a response. `gateway.ts` decides when a connection ends for other reasons.
 */

import type { Duplex } from 'node:stream'
import { resolveClient } from '../client/resolve-client.ts'
import type { Application, Environ, Headers } from '../contract/application.ts'
import { newRequestId } from '../contract/context.ts'
import { type ConnectionFacts, environFromHttp } from '../contract/environ.ts'
import { statusOf } from '../contract/error-codes.ts'
import { type AbortError, RemoteProtocolError } from '../contract/errors.ts'
import type { Exchange } from '../contract/exchange.ts'
import { runIsolated } from '../contract/isolated.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock, Deadlines } from '../net/clock.ts'
import type { AwaitedRead } from '../net/connection-timeouts.ts'
import { Transport, type TransportOwner } from '../net/transport.ts'
import { Http1ServerConnection } from './codec/connection.ts'
import { bodyLength } from './codec/writer.ts'
import type { Http1Options } from './options.ts'
import { Http1Request, type Http1RequestConnection } from './request.ts'
import type { Settings } from './settings.ts'

/** Pipelined requests that are served before other connections are read. */
const BURST = 32

export class Http1RequestLoop implements Http1RequestConnection {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger
  readonly codec: Http1ServerConnection
  readonly transport: Transport
  /** In `read`, which goes on by itself when a response ends meanwhile. */
  reading = false
  /** Requests whose head was read. */
  requests = 0
  /** When the server's wait for late requests ends, on the clock's `now()`; undefined: the server does not drain. */
  graceEnd: number | undefined
  readonly #application: Application
  readonly #options: Http1Options
  readonly #readAhead: number
  /** As `#readAhead`, while a head is read: with a smaller one the limit of a head would never be reached. */
  readonly #headAhead: number
  readonly #facts: ConnectionFacts
  /** The request that is served, from its head until the next request is read. */
  #request: Http1Request | undefined

  constructor(
    socket: Duplex,
    owner: TransportOwner,
    application: Application,
    options: Http1Options,
    { limits, timeouts, date }: Settings,
    facts: ConnectionFacts,
  ) {
    const { clock, deadlines, log } = options.host
    this.clock = clock
    this.deadlines = deadlines
    this.log = log
    this.#application = application
    this.#options = options
    this.#readAhead = limits.readAhead
    this.#headAhead = Math.max(limits.readAhead, limits.head)
    this.#facts = facts
    this.codec = new Http1ServerConnection(limits, date)
    this.transport = new Transport(socket, owner, timeouts, this)
  }

  /** The exchange of the request that is served. */
  get exchange(): Exchange | undefined {
    return this.#request?.exchange
  }

  get draining(): boolean {
    return this.#options.host.draining
  }

  get leaving(): boolean {
    const { leaving, draining } = this.#options.host
    return leaving ?? draining
  }

  /** Called when the application is done with an exchange of this connection. */
  settled(exchange: Exchange): void {
    const request = this.#request
    if (request && request.exchange === exchange) {
      request.settled = true
      if (this.codec.request === 'body' && this.codec.response === 'done') this.proceedSoon()
    }
    this.#options.host.settled(exchange)
  }

  // ---- reading ------------------------------------------------------------------------------------------------------

  /**
   * Reads what has arrived, and runs exchanges one at a time.
   *
   * @param progress whether bytes arrived
   */
  read(progress: boolean): void {
    if (this.reading || !this.transport.open) return
    this.reading = true
    try {
      for (let requests = 0; this.#step(); ) {
        if (this.codec.request === 'idle' && ++requests === BURST) {
          setImmediate(proceed, this)
          break
        }
      }
    } finally {
      this.reading = false
    }
    if (!this.transport.open) return
    if (this.transport.output.gathered) this.transport.flushSoon()
    this.#updateReading(progress)
  }

  /** Handles one event. False: nothing can be done before bytes, room or the application's response arrive. */
  #step(): boolean {
    if (!this.transport.open) return false
    switch (this.codec.request) {
      case 'body':
        return this.#readBody()
      case 'done':
        if (this.codec.response !== 'done') return false
        if (this.codec.afterResponse() === 'close') return this.closeSoon()
        // A client that does not read this response gets no further response. Until it does, a stall belongs to this
        // request.
        if (!this.transport.output.room) return false
        this.#request?.detach()
        this.#request = undefined
        this.codec.next()
        return true
      default:
        return this.#readHead()
    }
  }

  #readHead(): boolean {
    switch (this.codec.read()) {
      case 'head':
        this.requests++
        this.#start()
        return true
      case 'error':
        return this.refuse(this.codec.parser.error!)
      default:
        return this.transport.ended ? this.closeSoon() : false
    }
  }

  /** Runs the exchange of the request whose head was read. */
  #start(): void {
    const head = this.codec.requestHead
    if (this.leaving) this.codec.closeAfterResponse()
    this.transport.timeouts.waitFor('nothing')
    const { admit, retryAfter, facts, forwarded, requestId } = this.#options
    let environ: Environ
    let id: string | undefined
    try {
      // First, so that a refusal has the id that a trusted peer knows.
      id = requestId?.(head, this.#facts)
      environ = environFromHttp(head, this.#facts, facts)
      if (forwarded !== 'keep') resolveClient(environ, forwarded)
    } catch (error) {
      this.refuse(error as Error, id)
      return
    }
    if (admit && !admit()) {
      this.#answer(
        statusOf('SLOTS_TAKEN'),
        'SLOTS_TAKEN',
        id ?? newRequestId(),
        [['Retry-After', String(retryAfter ?? 1)]],
        false,
      )
      return
    }
    const request = new Http1Request(this, this.#application, environ, head.bodyLength !== 0, id)
    this.#request = request
    runIsolated(request.exchange.run, request.exchange)
  }

  /** Whether nobody will read the rest of the request's body. */
  get #bodyUnwanted(): boolean {
    return this.codec.response === 'done' && (!this.#request || this.#request.settled)
  }

  #readBody(): boolean {
    const { codec } = this
    const unwanted = this.#bodyUnwanted
    if (unwanted && codec.afterResponse() === 'close') return this.closeSoon()
    switch (codec.read()) {
      case 'data':
        if (!unwanted) this.#request?.receive(codec.parser.data)
        else if (!codec.discard(codec.parser.data.length)) return this.closeSoon()
        return true
      case 'end':
        this.#request?.input.end(codec.parser.trailers)
        return true
      case 'error':
        return this.refuse(codec.parser.error!)
      default:
        if (this.transport.ended) this.clientClosed()
        return false
    }
  }

  proceedSoon(): void {
    if (!this.reading && this.transport.open) process.nextTick(proceed, this)
  }

  proceed(): void {
    this.read(false)
  }

  updateReading(): void {
    if (this.transport.open) this.#updateReading(true)
  }

  /** Decides whether to read from the socket, and which timeout runs meanwhile. */
  #updateReading(progress: boolean): void {
    const { codec, transport } = this
    const { timeouts } = transport
    switch (codec.request) {
      case 'body': {
        const unwanted = this.#bodyUnwanted
        transport.readWhileBelow(this.#readAhead, unwanted ? 0 : (this.#request?.held ?? 0))
        // A client is not slow while it waits for 100 Continue, or while the server does not read.
        if (unwanted) timeouts.waitFor('rest')
        else if ((codec.awaitsContinue && codec.response === 'pending') || transport.paused) timeouts.waitFor('nothing')
        else if (progress) timeouts.restart('body')
        else timeouts.waitFor('body')
        break
      }
      case 'done':
        transport.readWhileBelow(this.#readAhead, codec.parser.buffered)
        timeouts.waitFor('nothing')
        break
      default:
        transport.readWhileBelow(this.#headAhead, codec.parser.buffered)
        timeouts.waitFor(this.#awaitedWhenIdle)
    }
  }

  get #awaitedWhenIdle(): AwaitedRead {
    if (!this.codec.parser.between) return 'head'
    if (this.graceEnd !== undefined) return 'late-request'
    return this.requests > 0 ? 'next-request' : 'head'
  }

  // ---- refusals and ends --------------------------------------------------------------------------------------------

  /** Refuses a request that cannot be served: answers if no response has begun, and ends the connection either way. */
  refuse(error: Error, id?: string): false {
    const { remoteAddress } = this.#facts
    const refusal = error instanceof RemoteProtocolError ? error : undefined
    const { status, code } = refusal ?? { status: statusOf('INTERNAL'), code: 'INTERNAL' }
    const requestId = this.#requestId ?? id ?? newRequestId()
    if (refusal) this.log.info({ requestId, remoteAddress, code, status }, refusal.message)
    else this.log.error({ requestId, remoteAddress, err: error }, 'a request could not be started')
    const pending = this.codec.response === 'pending'
    const answered = pending ? status : 0
    this.#request?.abortExchange(status === 408 ? 'DEADLINE' : 'PROTOCOL', error.message, error, answered)
    if (this.codec.response === 'body') this.abortResponse()
    else {
      if (pending) this.#answer(status, code, requestId, [], true)
      this.closeSoon()
    }
    return false
  }

  abortSlow(reason: AbortError): void {
    if (this.codec.response !== 'pending') {
      this.endWith(reason, true)
      return
    }
    this.#logEnd(reason)
    const requestId = this.#requestId ?? newRequestId()
    this.#request?.abortExchange(reason.code, reason.message, undefined, statusOf('SLOW_CLIENT'))
    this.#answer(statusOf('SLOW_CLIENT'), reason.code, requestId, [], true)
    this.closeSoon()
  }

  /**
   * Sends a response in the application's place. Reports a request without an exchange to `onRefused`, for the access
   * log.
   */
  #answer(status: number, code: string, requestId: string, headers: Headers, last: boolean): void {
    const { output, timeouts } = this.transport
    const text = this.codec.answer(status, [['X-Request-Id', requestId], ...headers], last)
    output.text(text)
    const { onRefused } = this.#options
    if (!onRefused || this.#request) return
    onRefused({
      requestId,
      remote: this.#facts.remoteAddress,
      line: this.codec.requestLine,
      status,
      code,
      bytes: bodyLength(text),
      milliseconds:
        timeouts.awaited === 'head' || code === 'HEAD_TIMEOUT' ? this.clock.now() - timeouts.since : undefined,
    })
  }

  clientClosed(): void {
    const exchange = this.#request?.exchange
    const truncated = exchange?.responded && !exchange.finished
    this.#request?.abortExchange('CLIENT_GONE', 'the client closed the connection')
    if (truncated) this.abortResponse()
    else this.closeSoon()
  }

  /** Logs `error`, for example a timeout of the client's connection, and ends the connection and its exchange. */
  endWith(error: AbortError, stalled: boolean): void {
    this.#logEnd(error)
    this.abortResponse(stalled)
    this.#request?.failExchange(error)
  }

  #logEnd(error: AbortError): void {
    const { remoteAddress } = this.#facts
    this.log.info({ requestId: this.#requestId, remoteAddress, code: error.code }, error.message)
  }

  /** To be called when the socket is closed. */
  closed(): void {
    this.codec.stop()
    // An upgraded exchange watches the socket itself: for it this is the normal end.
    if (!this.exchange?.upgraded) this.#request?.abortExchange('CLIENT_GONE', 'the connection was closed')
    this.#request = undefined
  }

  get #requestId(): string | undefined {
    return this.#request?.exchange.environ.gantry.requestId
  }

  /** @param stalled whether the client accepts no bytes */
  abortResponse(stalled: boolean = false): void {
    this.#request?.detach()
    this.codec.stop()
    // The application may have given the whole response before the client has received it.
    const unsent = this.codec.response === 'body' || this.transport.phase === 'closing'
    this.transport.abort(unsent && this.codec.framing === 'close', stalled)
  }

  abortExchange(error: AbortError): void {
    this.#request?.failExchange(error)
  }

  /** Closes the connection gracefully. */
  closeSoon(): false {
    this.#request?.abortExchange('CLIENT_GONE', 'the connection has ended')
    this.codec.stop()
    this.transport.closeSoon()
    return false
  }
}

function proceed(loop: Http1RequestLoop): void {
  runIsolated(loop.proceed, loop)
}
