/**
 * HTTP/1.1 clients served: requests of one connection become exchanges, one at a time, and their answers leave in order.
 *
 * Both the proxy's front and the container's port use it. It knows neither syntax (`parser.ts`, `writer.ts`), nor which response may
 * keep a connection (`connection.ts`), nor how a socket is read, written and ended (`transport.ts`): it brings them together.
 */

import type { Duplex } from 'node:stream'
import type { Share } from '../client/client-shares.ts'
import { resolveClient } from '../client/resolve-client.ts'
import type { Application, Environ, Headers } from '../contract/application.ts'
import type { Behind } from '../contract/client-view.ts'
import { newRequestId } from '../contract/context.ts'
import { type ConnectionFacts, environFromHttp } from '../contract/environ.ts'
import { peerError } from '../contract/coded-errors.ts'
import { statusOf } from '../contract/error-codes.ts'
import { type AbortCode, AbortError, RemoteProtocolError } from '../contract/errors.ts'
import { Exchange, type ExchangeHost } from '../contract/exchange.ts'
import { RequestInput } from '../contract/input.ts'
import { runIsolated } from '../contract/isolated.ts'
import type { Logger } from '../log/logger.ts'
import { type Beginning, Turn } from '../net/batch.ts'
import type { Clock, Deadlines } from '../net/clock.ts'
import { closeIdle, type Idle } from '../net/idle-close.ts'
import { Transport, type TransportOwner } from '../net/transport.ts'
import { silenceOf, stallOf, type Wait } from '../net/waits.ts'
import { ServerConnection } from './codec/connection.ts'
import { bodyLength, chunkHead } from './codec/writer.ts'
import type { Http1Connection, Http1Options, Http1Timeouts } from './options.ts'
import { factsOf, type Settings, settingsOf } from './settings.ts'
import { Stream, type StreamOwner } from './stream.ts'

/**
 * Serves HTTP/1.1 on `socket`, which must have been accepted with `allowHalfOpen: true` (a response must be able to follow a FIN
 * of the client, and a FIN of ours must not end reading).
 *
 * @param first bytes that were read already (sniffing)
 * @param peer what is better known than from the socket (PROXY protocol)
 */
export function serveHttp1(
  socket: Duplex,
  application: Application,
  options: Http1Options,
  first?: Uint8Array,
  peer?: Partial<ConnectionFacts>,
): Http1Connection {
  const facts = factsOf(socket, options.scheme ?? 'http', peer)
  return new Connection(socket, application, options, settingsOf(options), facts, first)
}

const NEVER: number = Number.POSITIVE_INFINITY

/** Pipelined requests answered before others get their turn. */
const BURST = 32
/** What a piece of a body costs beside its bytes, about: a flood of one-byte segments must not fill memory uncounted. */
const PIECE_COST = 256

class Connection implements Http1Connection, StreamOwner, TransportOwner, ExchangeHost, Beginning, Idle {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger
  share: Share | undefined = undefined
  readonly #application: Application
  readonly #options: Http1Options
  readonly #readAhead: number
  /** The same while a head is being read: a head limit above it would else never be reached. */
  readonly #headAhead: number
  readonly #facts: ConnectionFacts
  readonly #timeouts: Http1Timeouts
  readonly #http: ServerConnection
  readonly #transport: Transport
  readonly #turn: Turn
  /** The current exchange's, from its request's head to the next request. */
  #stream: Stream | undefined
  #requests = 0
  /** The value of `#requests` when the timeout of the idle connection passed. */
  #idleSince = 0
  /** Pieces of the current body since all of it was read last. */
  #pieces = 0
  /** A head has been read, and waits for those of others. */
  #held = false
  /** When the grace for late requests ends, on the clock's `now()`; undefined until the server drains. */
  #graceEnd: number | undefined
  /** In `#process`: what ends a response there goes on by itself. */
  #processing = false

  constructor(
    socket: Duplex,
    application: Application,
    options: Http1Options,
    { limits, timeouts, date }: Settings,
    facts: ConnectionFacts,
    first: Uint8Array | undefined,
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
    this.#timeouts = timeouts
    this.#http = new ServerConnection(limits, date)
    this.#transport = new Transport(socket, this, timeouts, this)
    this.#turn = Turn.of(clock)
    this.#transport.waits.for('head')
    if (first && first.length > 0) this.received(first)
  }

  // ---- the server's side -------------------------------------------------------------------------------------------

  get draining(): boolean {
    return this.#options.host.draining
  }

  get leaving(): boolean {
    const { leaving, draining } = this.#options.host
    return leaving ?? draining
  }

  get last(): boolean {
    if (!this.#transport.open) return true
    if (this.#http.response === 'due') return false
    // A long response (an event stream) must not keep the application from its signal for longer than the grace.
    return this.#http.after() === 'close' || this.clock.now() >= (this.#graceEnd ?? NEVER)
  }

  get idle(): boolean {
    return !this.#stream && !this.#http.busy && this.#http.parser.between
  }

  get busy(): boolean {
    return this.#held || this.#stream !== undefined
  }

  get upgraded(): boolean {
    return this.#stream?.exchange?.upgraded ?? false
  }

  get waitingSince(): number {
    if (this.busy || this.#http.busy || !this.#transport.open || this.#transport.backlog > 0) return NEVER
    return this.#transport.waits.since
  }

  dismiss(): boolean {
    // The client may just have sent a request.
    this.#transport.arrive()
    if (this.waitingSince === NEVER || this.#transport.receiveUnread()) return false
    this.#transport.destroy()
    return true
  }

  get stalledSince(): number {
    return this.busy || this.#http.busy ? this.#transport.waits.stalledSince : NEVER
  }

  reset(reason: AbortError): void {
    this.#end(reason, true)
  }

  drain(grace: number = 0): void {
    this.#transport.arrive()
    this.#graceEnd = this.clock.now() + grace
    this.#transport.waits.grace = grace
    // With a grace, a response whose head did not announce the close may be followed by a late request.
    if (grace === 0) this.#http.close()
    if (!this.idle) return
    if (grace === 0) this.#closeSoon()
    else this.#transport.waits.anew('late-request')
  }

  #closeIfStillIdle(): void {
    this.#idleSince = this.#requests
    closeIdle(this)
  }

  closeIfIdle(): void {
    if (!this.#transport.open) return
    this.#transport.arrive()
    // A request may have arrived and been answered since the timeout: then the connection is idle anew.
    if (this.idle && this.#requests === this.#idleSince) this.#closeSoon()
  }

  goAway(): boolean {
    return this.#stream?.exchange?.goAway() ?? false
  }

  abort(error: AbortError): void {
    this.#abortExchange(error)
    this.cut()
  }

  /** The application is done with an exchange of this connection. */
  settled(exchange: Exchange): void {
    const stream = this.#stream
    if (stream && stream.exchange === exchange) {
      stream.settled = true
      if (this.#http.request === 'body' && this.#http.response === 'done') this.#soon()
    }
    this.#options.host.settled(exchange)
  }

  toString(): string {
    const { remoteAddress, remotePort } = this.#facts
    const state = !this.#transport.open ? this.#transport.phase : this.busy ? 'busy' : this.idle ? 'idle' : 'reading'
    return `<Http1 ${remoteAddress || 'unix'}${remotePort && `:${remotePort}`} ${state}, ${this.#requests} requests>`
  }

  // ---- the transport's side ----------------------------------------------------------------------------------------

  received(chunk: Uint8Array): void {
    this.#http.parser.push(chunk)
    this.#process(true)
  }

  /** A FIN. nginx takes it for the client's end (proxy_ignore_client_abort off), and so does this, unless told otherwise. */
  finReceived(): void {
    if (this.#options.halfClose === 'serve') this.#process(false)
    else this.#clientGone()
  }

  drained(): void {
    this.#stream?.exchange?.resume()
    this.#process(false)
  }

  stalled(): void {
    this.#end(stallOf(this.#timeouts, this.#stream?.exchange?.upgraded), true)
  }

  waitedTooLong(wait: Wait): void {
    switch (wait) {
      case 'head':
        if (this.#http.parser.between) this.#closeIfStillIdle()
        else
          this.#refuse(
            peerError('HEAD_TIMEOUT', 'the client did not send the complete request head in time (--head-timeout)'),
          )
        break
      case 'next-request':
      case 'late-request':
        this.#closeIfStillIdle()
        break
      case 'body':
        this.#refuse(peerError('BODY_TIMEOUT', 'the client stopped sending the request body (--body-timeout)'))
        break
      case 'upgraded':
        this.#end(silenceOf(this.#timeouts), false)
        break
      default:
        this.#closeSoon()
    }
  }

  closed(): void {
    this.#http.fail()
    // An upgraded exchange watches the socket itself: for it this is the good end.
    if (!this.#stream?.exchange?.upgraded) this.#abortExchange('CLIENT_GONE', 'the connection was closed')
    this.#stream = undefined
    this.#options.onClose?.(this)
  }

  // ---- requests ----------------------------------------------------------------------------------------------------

  /**
   * Reads what there is, and begins exchanges, one at a time.
   *
   * @param progress whether bytes came
   */
  #process(progress: boolean): void {
    if (this.#processing || this.#held || !this.#transport.open) return
    this.#processing = true
    try {
      for (let turn = 0; this.#step(); ) {
        if (this.#http.request === 'idle' && ++turn === BURST) {
          setImmediate(proceed, this)
          break
        }
      }
    } finally {
      this.#processing = false
    }
    if (this.#held || !this.#transport.open) return
    if (this.#transport.output.gathered) this.#transport.flushSoon()
    this.#watch(progress)
  }

  /** Of Beginning: the heads of all that came in this turn have been read. */
  begin(): void {
    this.#held = false
    if (!this.#transport.open) return
    this.#processing = true
    try {
      this.#begin()
    } finally {
      this.#processing = false
    }
    this.#process(true)
  }

  /** One event; false when there is nothing to do until more bytes, room or the application come. */
  #step(): boolean {
    if (!this.#transport.open) return false
    switch (this.#http.request) {
      case 'body':
        return this.#readBody()
      case 'done':
        if (this.#http.response !== 'done') return false
        if (this.#http.after() === 'close') return this.#closeSoon()
        // A client that does not read this response gets no further response. Until it does, a stall belongs to this
        // request.
        if (!this.#transport.output.room) return false
        this.#stream?.release()
        this.#stream = undefined
        this.#http.next()
        return true
      default:
        return this.#readHead()
    }
  }

  #readHead(): boolean {
    switch (this.#http.read()) {
      case 'head':
        this.#requests++
        this.#held = this.#turn.begins(this)
        if (this.#held) return false
        this.#begin()
        return true
      case 'error':
        return this.#refuse(this.#http.parser.error!)
      default:
        return this.#transport.ended ? this.#closeSoon() : false
    }
  }

  #begin(): void {
    const http = this.#http
    const head = http.head
    if (this.leaving) http.close()
    this.#transport.waits.for('nothing')
    const { admit, retryAfter, facts, forwarded, requestId } = this.#options
    let environ: Environ
    let id: string | undefined
    try {
      // First, so that a refusal has the id that a trusted peer knows.
      id = requestId?.(head, this.#facts)
      environ = environFromHttp(head, this.#facts, facts)
      if (forwarded !== 'keep') resolveClient(environ, forwarded)
    } catch (error) {
      this.#refuse(error as Error, id)
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
    const stream = new Stream(this)
    const input = new RequestInput(head.bodyLength === 0 ? null : stream)
    const exchange = new Exchange(this.#application, environ, input, stream, this, id)
    stream.input = input
    stream.exchange = exchange
    this.#stream = stream
    this.#pieces = 0
    runIsolated(exchange.run, exchange)
  }

  /** Whether nobody will read what is left of the request's body. */
  get #unwanted(): boolean {
    return this.#http.response === 'done' && (!this.#stream || this.#stream.settled)
  }

  #readBody(): boolean {
    const http = this.#http
    const unwanted = this.#unwanted
    if (unwanted && http.after() === 'close') return this.#closeSoon()
    switch (http.read()) {
      case 'data':
        if (!unwanted) {
          this.#pieces++
          this.#stream?.input?.push(http.parser.data)
        } else if (!http.discard(http.parser.data.length)) return this.#closeSoon()
        return true
      case 'end':
        this.#stream?.input?.end(http.parser.trailers)
        return true
      case 'error':
        return this.#refuse(http.parser.error!)
      default:
        if (this.#transport.ended) this.#clientGone()
        return false
    }
  }

  /** Goes on after this tick's callers have returned. */
  #soon(): void {
    if (!this.#processing && this.#transport.open) process.nextTick(proceed, this)
  }

  proceed(): void {
    this.#process(false)
  }

  /** Decides whether to go on reading, and what is being waited for. */
  #watch(progress: boolean): void {
    const http = this.#http
    const { waits } = this.#transport
    switch (http.request) {
      case 'body': {
        const unwanted = this.#unwanted
        this.#transport.readOn(unwanted ? 0 : this.held, this.#readAhead)
        // A client that waits for 100 Continue, which is still to come, or for us to read on, is not slow.
        if (unwanted) waits.for('rest')
        else if ((http.waiting && http.response === 'due') || this.#transport.paused) waits.for('nothing')
        else if (progress) waits.anew('body')
        else waits.for('body')
        break
      }
      case 'done':
        this.#transport.readOn(http.parser.buffered, this.#readAhead)
        waits.for('nothing')
        break
      default:
        this.#transport.readOn(http.parser.buffered, this.#headAhead)
        waits.for(this.#idleWait)
    }
  }

  get #idleWait(): Wait {
    if (!this.#http.parser.between) return 'head'
    if (this.#graceEnd !== undefined) return 'late-request'
    return this.#requests > 0 ? 'next-request' : 'head'
  }

  /** What of the body waits for the application, with what it costs to keep it. */
  get held(): number {
    const buffered = this.#stream?.input?.buffered ?? 0
    if (buffered === 0) this.#pieces = 0
    return buffered + this.#pieces * PIECE_COST
  }

  // ---- the exchange's side -----------------------------------------------------------------------------------------

  inform(status: string, headers: Headers): void {
    this.#transport.output.text(this.#http.inform(status, headers))
    this.flush()
  }

  respond(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    if (this.leaving) this.#http.close()
    this.#transport.output.text(this.#http.respond(status, headers, length, end))
    if (chunk) return this.send(chunk, end)
    return this.#sent(end)
  }

  send(chunk: Uint8Array, end: boolean): boolean {
    const { output } = this.#transport
    if (this.#http.framing !== 'chunked') output.bytes(chunk)
    else if (chunk.length > 0) {
      output.text(chunkHead(chunk.length))
      output.bytes(chunk)
      output.text('\r\n')
    }
    return this.#sent(end)
  }

  #sent(end: boolean): boolean {
    if (end) this.finish(undefined)
    else if (!this.#processing) this.#transport.flushSoon()
    return this.#transport.output.room
  }

  finish(trailers: Headers | undefined): void {
    this.#transport.output.text(this.#http.end(trailers))
    if (this.#processing) return
    this.#transport.flushSoon()
    this.#soon()
  }

  flush(): void {
    this.#transport.flush()
  }

  handOver(): Duplex {
    return this.#transport.handOver(this.#http.detach())
  }

  inputWanted(): void {
    const text = this.#http.continue()
    if (text !== '') {
      this.#transport.output.text(text)
      this.flush()
    }
    if (!this.#processing && this.#transport.open) this.#watch(true)
  }

  inputConsumed(): void {
    if (this.#transport.paused && !this.#processing && this.#transport.open) this.#watch(true)
  }

  // ---- the client, of StreamOwner ----------------------------------------------------------------------------------

  get behind(): Behind {
    if (this.#transport.phase === 'gone') return 'nothing'
    if (this.#transport.backlog > 0) return 'download'
    if (this.#http.request !== 'body' || this.#transport.paused || !this.#stream?.input?.hungry) return 'nothing'
    // A client that waits for 100 Continue is not behind: we have not sent it yet.
    return this.#http.waiting && this.#http.response === 'due' ? 'nothing' : 'upload'
  }

  get delivered(): number {
    return this.#transport.received
  }

  get accepted(): number {
    return this.#transport.taken
  }

  endSlow(reason: AbortError): void {
    if (this.#http.response !== 'due') {
      this.#end(reason, true)
      return
    }
    this.#logEnd(reason)
    const requestId = this.#stream?.exchange?.environ.gantry.requestId ?? newRequestId()
    this.#abortExchange(reason.code, reason.message, undefined, statusOf('SLOW_CLIENT'))
    this.#answer(statusOf('SLOW_CLIENT'), reason.code, requestId, [], true)
    this.#closeSoon()
  }

  // ---- ends --------------------------------------------------------------------------------------------------------

  /** Refuses a request that cannot be served: answers if no response has begun, and ends the connection either way. */
  #refuse(error: Error, id?: string): false {
    const { remoteAddress } = this.#facts
    const refusal = error instanceof RemoteProtocolError ? error : undefined
    const { status, code } = refusal ?? { status: statusOf('INTERNAL'), code: 'INTERNAL' }
    const exchange = this.#stream?.exchange
    const requestId = exchange?.environ.gantry.requestId ?? id ?? newRequestId()
    if (refusal) this.log.info({ requestId, remoteAddress, code, status }, refusal.message)
    else this.log.error({ requestId, remoteAddress, err: error }, 'a request could not be begun')
    const due = this.#http.response === 'due'
    this.#abortExchange(status === 408 ? 'DEADLINE' : 'PROTOCOL', error.message, error, due ? status : 0)
    if (this.#http.response === 'body') this.cut()
    else {
      if (due) this.#answer(status, code, requestId, [], true)
      this.#closeSoon()
    }
    return false
  }

  /** Answers in the application's place. Reports a request without an exchange to `onRefused`, for the access log. */
  #answer(status: number, code: string, requestId: string, headers: Headers, last: boolean): void {
    const { output, waits } = this.#transport
    const text = this.#http.answer(status, [['X-Request-Id', requestId], ...headers], last)
    output.text(text)
    const { onRefused } = this.#options
    if (!onRefused || this.#stream) return
    onRefused({
      requestId,
      remote: this.#facts.remoteAddress,
      line: this.#http.line,
      status,
      code,
      bytes: bodyLength(text),
      milliseconds: waits.wait === 'head' || code === 'HEAD_TIMEOUT' ? this.clock.now() - waits.since : undefined,
    })
  }

  #clientGone(): void {
    const exchange = this.#stream?.exchange
    const cut = exchange?.responded && !exchange.finished
    this.#abortExchange('CLIENT_GONE', 'the client closed the connection')
    if (cut) this.cut()
    else this.#closeSoon()
  }

  /** Logs `error`, for example a timeout of the client's connection, and ends the connection and its exchange. */
  #end(error: AbortError, stalled: boolean): void {
    this.#logEnd(error)
    this.#cut(stalled)
    this.#abortExchange(error)
  }

  #logEnd(error: AbortError): void {
    const { remoteAddress } = this.#facts
    const requestId = this.#stream?.exchange?.environ.gantry.requestId
    this.log.info({ requestId, remoteAddress, code: error.code }, error.message)
  }

  /** Ends the connection so that the client sees that the response is not whole. */
  cut(): void {
    this.#cut(false)
  }

  #cut(stalled: boolean): void {
    this.#stream?.release()
    this.#http.fail()
    // Given whole by the application is not yet taken by the client.
    const unsent = this.#http.response === 'body' || this.#transport.phase === 'closing'
    this.#transport.cut(unsent && this.#http.framing === 'close', stalled)
  }

  #closeSoon(): false {
    this.#abortExchange('CLIENT_GONE', 'the connection has ended')
    this.#http.fail()
    this.#transport.closeSoon()
    return false
  }

  /** Nothing of the exchange reaches the client from here on. */
  #abortExchange(error: AbortError): void
  #abortExchange(code: AbortCode, message: string, cause?: Error, answered?: number): void
  #abortExchange(code: AbortCode | AbortError, message?: string, cause?: Error, answered?: number): void {
    const stream = this.#stream
    if (!stream) return
    stream.release()
    const exchange = stream.exchange!
    const input = stream.input!
    if (exchange.finished && input.ended) return
    const error = typeof code === 'string' ? new AbortError(code, message!, cause && { cause }) : code
    exchange.abort(error, answered)
    if (!input.ended) input.fail(error)
  }
}

function proceed(connection: Connection): void {
  runIsolated(connection.proceed, connection)
}
