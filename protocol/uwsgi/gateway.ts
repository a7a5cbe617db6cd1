/**
 * Where uwsgi meets a socket and an exchange: one connection, one request, one response, then the end.
 *
 * The response is HTTP's text without a transfer coding: its body goes to Content-Length or to the end of the connection.
 * Knows neither the packet (`packet.ts`) nor which peers may speak uwsgi at all: that is the listener's owner's matter.
 */

import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Share } from '../client/client-shares.ts'
import { resolveClient } from '../client/resolve-client.ts'
import type { Application, Environ, Headers } from '../contract/application.ts'
import type { Behind, ClientView } from '../contract/client-view.ts'
import { newRequestId } from '../contract/context.ts'
import { environFromVariables, type ProcessFacts } from '../contract/environ.ts'
import { peerError } from '../contract/coded-errors.ts'
import { statusOf } from '../contract/error-codes.ts'
import { type AbortCode, AbortError, RemoteProtocolError } from '../contract/errors.ts'
import { Exchange, type ExchangeHost } from '../contract/exchange.ts'
import { type InputSource, RequestInput } from '../contract/input.ts'
import { LINE_SHOWN, type RefusedRequest } from '../contract/refused-request.ts'
import type { ResponseSink } from '../contract/response.ts'
import type { Http1Limits } from '../http1/codec/limits.ts'
import { bodyLength, informHead, plainAnswer, responseHead } from '../http1/codec/writer.ts'
import type { Http1Timeouts } from '../http1/options.ts'
import { type Settings, settingsOf } from '../http1/settings.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock, Deadlines } from '../net/clock.ts'
import { Transport, type TransportOwner } from '../net/transport.ts'
import { silenceOf, stallOf, type Wait } from '../net/waits.ts'
import { encodePong } from './codec/packet.ts'
import { RequestReader } from './codec/request.ts'

/** Made once per server and shared by its connections. Sizes in bytes, times in milliseconds, as HTTP/1.1's are. */
export interface UwsgiOptions {
  readonly host: ExchangeHost
  readonly facts: ProcessFacts
  /** `body`: 413 above. `readAhead`: bytes of a body that are read ahead of the application. */
  readonly limits?: Partial<Pick<Http1Limits, 'body' | 'readAhead'>>
  readonly timeouts?: Partial<Http1Timeouts>
  /** A peer that ends its sending side has gone ('abort': nginx does so when its client has), or still wants its answer. */
  readonly halfClose?: 'abort' | 'serve'
  /** The request's id, if the peer's word is taken for it; else the exchange makes one. */
  readonly requestId?: (environ: Environ) => string | undefined
  /** Asked before a request becomes an exchange: true takes a slot (`host.settled` gives it back), false is answered 503. */
  readonly admit?: () => boolean
  /** `Retry-After` of that 503, in seconds. */
  readonly retryAfter?: number
  /** Called with each request that is answered before an application sees it. */
  readonly onRefused?: ((request: RefusedRequest) => void) | undefined
  /** Called once when the connection is closed. */
  readonly onClose?: (connection: UwsgiConnection) => void
}

export interface UwsgiConnection {
  /** Nothing more is begun here: closes now if nothing of a request has arrived. */
  drain(): void
  /** Closes a WebSocket with code 1001. False if there is none left to close: then `abort` ends the connection. */
  goAway(): boolean
  /** Ends the connection at once; a running exchange is aborted with `error`. */
  abort(error: AbortError): void
  /** Whether an exchange is running, or its response still on its way. */
  readonly busy: boolean
  /** For LimitedConnection. */
  readonly waitingSince: number
  readonly stalledSince: number
  share: Share | undefined
  dismiss(): boolean
  reset(reason: AbortError): void
}

/**
 * Serves uwsgi on `socket`, which must have been accepted with `allowHalfOpen: true`.
 *
 * @param first bytes that were read already (sniffing)
 */
export function serveUwsgi(
  socket: Duplex,
  application: Application,
  options: UwsgiOptions,
  first?: Uint8Array,
): UwsgiConnection {
  return new Connection(socket, application, options, first).handle
}

class Connection implements ResponseSink, InputSource, TransportOwner, ExchangeHost, ClientView {
  readonly handle: UwsgiConnection = new Handle(this)
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger
  readonly #socket: Duplex
  readonly #application: Application
  readonly #options: UwsgiOptions
  readonly #reader: RequestReader = new RequestReader()
  readonly #transport: Transport
  readonly #settings: Settings
  /** Of the request, for the access line of a refusal. */
  #variables: readonly string[] | undefined
  /** The id that the web server gave the request. */
  #givenId: string | undefined
  #exchange: Exchange | undefined
  #input: RequestInput | undefined
  /** Whether the response was begun, and its end is the connection's. */
  #untilClose = false
  /** All of the response was given. */
  #responded = false
  /** The application is done with the exchange. */
  #settled = false
  /** Bytes after the request that may be another protocol's, if this becomes one. */
  #early: Uint8Array[] | undefined
  #earlyBytes = 0

  constructor(socket: Duplex, application: Application, options: UwsgiOptions, first: Uint8Array | undefined) {
    const { host } = options
    this.clock = host.clock
    this.deadlines = host.deadlines
    this.log = host.log
    this.#socket = socket
    this.#application = application
    this.#options = options
    this.#settings = settingsOf(options)
    this.#transport = new Transport(socket, this, this.#settings.timeouts, host)
    this.#transport.waits.for('head')
    if (first && first.length > 0) this.received(first)
  }

  // ---- the server's side -------------------------------------------------------------------------------------------

  /** Whether a request has begun, and its response is not wholly written. */
  get busy(): boolean {
    const { phase } = this.#transport
    return this.#exchange !== undefined && phase !== 'lingering' && phase !== 'gone'
  }

  get draining(): boolean {
    return this.#options.host.draining
  }

  get leaving(): boolean | undefined {
    return this.#options.host.leaving
  }

  get waitingSince(): number {
    if (this.#exchange || !this.#transport.open || this.#transport.backlog > 0) return Number.POSITIVE_INFINITY
    return this.#transport.waits.since
  }

  dismiss(): boolean {
    this.#transport.arrive()
    if (this.waitingSince === Number.POSITIVE_INFINITY || this.#transport.receiveUnread()) return false
    this.#transport.destroy()
    return true
  }

  get stalledSince(): number {
    return this.busy ? this.#transport.waits.stalledSince : Number.POSITIVE_INFINITY
  }

  reset(reason: AbortError): void {
    this.#end(reason, true)
  }

  drain(): void {
    this.#transport.arrive()
    // A web server that has begun to send a POST does not repeat it elsewhere.
    if (!this.#exchange && !this.#reader.partial) this.#transport.closeSoon()
  }

  goAway(): boolean {
    return this.#exchange?.goAway() ?? false
  }

  /** Ends the exchange as well as the connection. */
  kill(error: AbortError): void {
    this.#fail(error)
    this.abort()
  }

  settled(exchange: Exchange): void {
    this.#settled = true
    if (this.#responded) this.#transport.closeSoon()
    this.#options.host.settled(exchange)
  }

  toString(): string {
    return `<Uwsgi ${this.#exchange ? (this.#responded ? 'answered' : 'busy') : 'reading'}, ${this.#transport.phase}>`
  }

  // ---- the transport's side ----------------------------------------------------------------------------------------

  received(chunk: Uint8Array): void {
    if (this.#early && this.#reader.pending === 0) {
      this.#early.push(chunk)
      this.#earlyBytes += chunk.length
      this.#watch(false)
      return
    }
    try {
      for (const event of this.#reader.receive(asBuffer(chunk))) {
        switch (event.type) {
          case 'request':
            this.#begin(event.variables, event.length)
            break
          case 'data':
            this.#input?.push(event.chunk)
            break
          case 'end':
            this.#input?.end()
            if (this.#responded) this.#transport.closeSoon()
            break
          case 'ping':
            this.#transport.output.bytes(encodePong())
            this.#transport.closeSoon()
        }
      }
    } catch (error) {
      this.#refuse(error as Error)
      return
    }
    this.#watch(true)
  }

  /** nginx closes so when its own client has gone. */
  finReceived(): void {
    if (!this.#exchange) this.#transport.closeSoon()
    else if (this.#responded) {
      this.#abortExchange('CLIENT_GONE', 'the client closed the connection')
      this.#transport.closeSoon()
    } else if (this.#options.halfClose !== 'serve' || this.#reader.pending > 0) {
      this.kill(new AbortError('CLIENT_GONE', 'the client closed the connection'))
    }
  }

  drained(): void {
    this.#exchange?.resume()
  }

  stalled(): void {
    this.#end(stallOf(this.#settings.timeouts, this.#exchange?.upgraded), true)
  }

  waitedTooLong(wait: Wait): void {
    if (wait === 'upgraded') {
      this.#end(silenceOf(this.#settings.timeouts), false)
      return
    }
    const late =
      wait === 'head'
        ? 'the web server did not send the complete uwsgi packet in time (--head-timeout)'
        : 'the web server stopped sending the request body (--body-timeout)'
    this.#refuse(peerError(wait === 'head' ? 'HEAD_TIMEOUT' : 'BODY_TIMEOUT', late))
  }

  closed(): void {
    // An upgraded exchange watches the socket itself: for it this is the good end.
    if (!this.#exchange?.upgraded) this.#abortExchange('CLIENT_GONE', 'the connection was closed')
    this.#options.onClose?.(this.handle)
  }

  // ---- the request -------------------------------------------------------------------------------------------------

  /** @throws RemoteProtocolError for variables that make no environ, and for a body above the limit */
  #begin(variables: string[], length: number): void {
    const { facts, requestId, admit } = this.#options
    this.#variables = variables
    const environ = environFromVariables(variables, facts)
    this.#givenId = requestId?.(environ)
    if (length > this.#settings.limits.body) {
      throw peerError(
        'BODY_TOO_LARGE',
        `the request body has ${length} bytes; the limit is ${this.#settings.limits.body} (--body-limit)`,
      )
    }
    // The web server itself names the client in REMOTE_ADDR; it passes the client's own forwarded fields on unchecked.
    resolveClient(environ, undefined)
    this.#transport.waits.for('nothing')
    if (admit && !admit()) {
      const fields: Headers = [['Retry-After', String(this.#options.retryAfter ?? 1)]]
      this.#answer(statusOf('SLOTS_TAKEN'), 'SLOTS_TAKEN', this.#givenId ?? newRequestId(), fields)
      return
    }
    if (environ['HTTP_UPGRADE'] !== undefined) this.#early = [this.#reader.surplus]
    this.#input = new RequestInput(length === 0 ? null : this)
    this.#exchange = new Exchange(this.#application, environ, this.#input, this, this, this.#givenId)
    this.#exchange.run()
  }

  /** The peer's request cannot be served: says so if that can still be said, and ends the connection either way. */
  #refuse(error: Error): void {
    const refusal = error instanceof RemoteProtocolError ? error : undefined
    const { status, code } = refusal ?? { status: statusOf('INTERNAL'), code: 'INTERNAL' }
    const exchange = this.#exchange
    const requestId = exchange?.environ.gantry.requestId ?? this.#givenId ?? newRequestId()
    if (refusal) this.log.warn({ requestId, remoteAddress: this.#peer, code }, refusal.message)
    else this.log.error({ requestId, remoteAddress: this.#peer, err: error }, 'a request could not be begun')
    const begun = exchange?.responded ?? false
    // Bytes that are no packet are from no web server: nobody would read an answer.
    const unanswered = begun || code === 'UWSGI_PACKET' || code === 'UWSGI_MODIFIER'
    const answered = unanswered || this.#responded ? 0 : status
    this.#abortExchange(status === 408 ? 'DEADLINE' : 'PROTOCOL', error.message, error, answered)
    if (this.#responded) this.#transport.closeSoon()
    else if (unanswered) {
      if (!exchange) this.#refused(0, code, requestId, 0)
      this.abort()
    } else this.#answer(status, code, requestId, [])
  }

  #answer(status: number, code: string, requestId: string, headers: Headers): void {
    const fields: Headers = [['X-Request-Id', requestId], ...headers]
    const head = this.#variable('REQUEST_METHOD') === 'HEAD'
    const text = plainAnswer(status, fields, head, '', this.#settings.date)
    this.#transport.output.text(text)
    this.#transport.closeSoon()
    if (!this.#exchange) this.#refused(status, code, requestId, bodyLength(text))
  }

  #refused(status: number, code: string, requestId: string, bytes: number): void {
    const { onRefused } = this.#options
    if (!onRefused) return
    const parts = ['REQUEST_METHOD', 'REQUEST_URI', 'SERVER_PROTOCOL'].map((name) => this.#variable(name))
    const line = parts.filter((part) => part !== undefined).join(' ')
    const remote = this.#variable('REMOTE_ADDR') ?? this.#peer
    onRefused({
      requestId,
      remote,
      line: line.slice(0, LINE_SHOWN),
      status,
      code,
      bytes,
      milliseconds: undefined,
    })
  }

  #variable(name: string): string | undefined {
    const variables = this.#variables
    if (variables === undefined) return undefined
    for (let at = 0; at < variables.length; at += 2) if (variables[at] === name) return variables[at + 1]
    return undefined
  }

  /** A timeout of the connection has passed: logs it, and ends the connection and its exchange. */
  #end(error: AbortError, stalled: boolean): void {
    this.#logEnd(error)
    this.#cut(stalled)
    this.#fail(error)
  }

  #logEnd(error: AbortError): void {
    const requestId = this.#exchange?.environ.gantry.requestId
    this.log.info({ requestId, remoteAddress: this.#peer, code: error.code }, error.message)
  }

  /** Nothing of the exchange reaches the peer from here on, nor of the peer the application. */
  #abortExchange(code: AbortCode, message: string, cause?: Error, answered: number = 0): void {
    // The good end comes here too: an error for nobody would be a tenth of a short request's cost.
    const exchange = this.#exchange
    if (!exchange || (exchange.finished && this.#input!.ended)) return
    this.#fail(new AbortError(code, message, cause && { cause }), answered)
  }

  #fail(error: AbortError, answered: number = 0): void {
    this.#exchange?.abort(error, answered)
    if (this.#input && !this.#input.ended) this.#input.fail(error)
  }

  get #peer(): string {
    return (this.#socket as Partial<Socket>).remoteAddress || 'unix'
  }

  // ---- the exchange's side: its sink -------------------------------------------------------------------------------

  inform(status: string, headers: Headers): void {
    this.#transport.output.text(informHead(status, headers))
    this.#transport.flush()
  }

  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    this.#untilClose = length === -1
    this.#transport.output.text(responseHead(status, headers, 'close', '', this.#settings.date))
    if (chunk) return this.data(chunk, end)
    if (end) this.end()
    else this.#transport.flushSoon()
    return this.#transport.output.room
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    this.#transport.output.bytes(chunk)
    if (end) this.end()
    else this.#transport.flushSoon()
    return this.#transport.output.room
  }

  /** Trailers have no place on this wire. */
  end(): void {
    this.#responded = true
    // An application that is not done may read its input even after its response.
    if (this.#settled || this.#reader.pending === 0) this.#transport.closeSoon()
    else this.#transport.flushSoon()
  }

  flush(): void {
    this.#transport.flush()
  }

  upgrade(): Duplex {
    return this.#transport.handOver(Buffer.concat(this.#early ?? []))
  }

  /** Ends the connection so that the peer sees that the response is not whole, if it is not. */
  abort(): void {
    this.#cut(false)
  }

  #cut(stalled: boolean): void {
    const { phase } = this.#transport
    this.#transport.cut(this.#untilClose && (phase === 'open' || phase === 'closing'), stalled)
  }

  // ---- the exchange's side: its input's source ---------------------------------------------------------------------

  /** The web server answered `Expect: 100-continue` itself. */
  wanted(): void {}

  consumed(): void {
    this.#watch(false)
  }

  // ---- ClientView: the web server, which passes the pace of its client on ------------------------------------------

  get client(): ClientView {
    return this
  }

  get behind(): Behind {
    if (this.#transport.phase === 'gone' || this.#exchange?.aborted) return 'nothing'
    if (this.#transport.backlog > 0) return 'download'
    const wanted = this.#reader.pending > 0 && !this.#transport.paused && this.#input?.hungry === true
    return wanted ? 'upload' : 'nothing'
  }

  get delivered(): number {
    return this.#transport.received
  }

  get accepted(): number {
    return this.#transport.taken
  }

  get arriving(): boolean {
    return this.#transport.open && this.#input !== undefined && !this.#input.ended
  }

  get held(): number {
    return this.#input?.buffered ?? 0
  }

  onArrival(callback: (() => void) | undefined): void {
    this.#input?.onArrival(callback)
  }

  endSlow(reason: AbortError): void {
    if (this.#exchange?.responded) {
      this.#end(reason, true)
      return
    }
    this.#logEnd(reason)
    this.#fail(reason, statusOf('SLOW_CLIENT'))
    this.#answer(statusOf('SLOW_CLIENT'), reason.code, this.#exchange?.environ.gantry.requestId ?? newRequestId(), [])
  }

  /** Decides whether to go on reading, and what is being waited for. */
  #watch(progress: boolean): void {
    const transport = this.#transport
    if (!transport.open || !this.#exchange) return
    transport.readOn(this.#earlyBytes + (this.#input?.buffered ?? 0), this.#settings.limits.readAhead)
    if (this.#reader.pending === 0 || transport.paused) transport.waits.for('nothing')
    else if (progress) transport.waits.anew('body')
    else transport.waits.for('body')
  }
}

/** A connection as its server sees it: what a sink's `abort` does is only the half of this one. */
class Handle implements UwsgiConnection {
  share: Share | undefined = undefined
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  get busy(): boolean {
    return this.#connection.busy
  }

  get waitingSince(): number {
    return this.#connection.waitingSince
  }

  get stalledSince(): number {
    return this.#connection.stalledSince
  }

  reset(reason: AbortError): void {
    this.#connection.reset(reason)
  }

  dismiss(): boolean {
    return this.#connection.dismiss()
  }

  drain(): void {
    this.#connection.drain()
  }

  goAway(): boolean {
    return this.#connection.goAway()
  }

  abort(error: AbortError): void {
    this.#connection.kill(error)
  }

  toString(): string {
    return this.#connection.toString()
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}
