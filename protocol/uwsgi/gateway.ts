/**
 * uwsgi connections of web servers: one connection, one request, one response. Knows neither the packet (`codec/`) nor
 * which peers may speak uwsgi: the owner of the listening socket decides that.
 */

import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ClientKey } from '../client/client-shares.ts'
import { resolveClient } from '../client/resolve-client.ts'
import type { Application, Headers } from '../contract/application.ts'
import { asBuffer } from '../contract/as-buffer.ts'
import { peerError } from '../contract/coded-errors.ts'
import { newRequestId } from '../contract/context.ts'
import { environFromVariables } from '../contract/environ.ts'
import { statusOf } from '../contract/error-codes.ts'
import { AbortError, RemoteProtocolError } from '../contract/errors.ts'
import type { Exchange } from '../contract/exchange.ts'
import { LINE_SHOWN } from '../contract/refused-request.ts'
import { bodyLength, plainAnswer } from '../http1/codec/writer.ts'
import type { DateField } from '../http1/date-field.ts'
import { type Settings, settingsOf } from '../http1/settings.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock, Deadlines } from '../net/clock.ts'
import { type AwaitedRead, silenceOf, stallOf } from '../net/connection-timeouts.ts'
import { Transport, type TransportOwner } from '../net/transport.ts'
import { encodePong } from './codec/packet.ts'
import { RequestReader } from './codec/request.ts'
import type { UwsgiConnection, UwsgiOptions } from './options.ts'
import { UwsgiRequest, type UwsgiRequestConnection } from './request.ts'

/**
 * Serves uwsgi on `socket`.
 *
 * @param socket accepted with `allowHalfOpen: true`
 * @param first bytes that were already read, to find out the protocol
 * @example
 * ```ts
 * import { createServer } from 'node:net'
 * import { statusPage } from 'gantry'
 * import { Deadlines, serveUwsgi, silent, systemClock } from 'gantry/protocol'
 *
 * const clock = systemClock
 * const host = { clock, deadlines: new Deadlines(clock), log: silent, draining: false, settled() {} }
 * const facts = { multithread: false, multiprocess: false, runOnce: false }
 * const options = { host, facts }
 * const server = createServer({ allowHalfOpen: true }, (socket) => serveUwsgi(socket, statusPage(404), options))
 * server.listen(8000)
 * ```
 */
export function serveUwsgi(
  socket: Duplex,
  application: Application,
  options: UwsgiOptions,
  first?: Uint8Array,
): UwsgiConnection {
  return new UwsgiGateway(socket, application, options, first)
}

const NEVER: number = Number.POSITIVE_INFINITY
const EMPTY: Buffer = Buffer.alloc(0)

class UwsgiGateway implements UwsgiConnection, UwsgiRequestConnection, TransportOwner {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger
  readonly transport: Transport
  readonly reader: RequestReader = new RequestReader()
  share: ClientKey | undefined = undefined
  readonly #socket: Duplex
  readonly #application: Application
  readonly #options: UwsgiOptions
  readonly #settings: Settings
  /** The variables of the request, for the access log of a refusal. */
  #variables: readonly string[] | undefined
  /** The id that the web server gave the request. */
  #givenId: string | undefined
  #request: UwsgiRequest | undefined
  /** Bytes after a request that asks for an upgrade; undefined: it asks for none, and these bytes are ignored. */
  #surplus: Uint8Array[] | undefined
  #surplusBytes = 0

  constructor(socket: Duplex, application: Application, options: UwsgiOptions, first: Uint8Array | undefined) {
    const { host } = options
    this.clock = host.clock
    this.deadlines = host.deadlines
    this.log = host.log
    this.#socket = socket
    this.#application = application
    this.#options = options
    this.#settings = settingsOf(options)
    this.transport = new Transport(socket, this, this.#settings.timeouts, host)
    this.transport.timeouts.waitFor('head')
    if (first && first.length > 0) this.received(first)
  }

  // ---- UwsgiConnection: the server's side ---------------------------------------------------------------------------

  get busy(): boolean {
    const { phase } = this.transport
    return this.#request !== undefined && phase !== 'lingering' && phase !== 'destroyed'
  }

  get waitingSince(): number {
    if (this.#request || !this.transport.open || this.transport.backlog > 0) return NEVER
    return this.transport.timeouts.since
  }

  evict(): boolean {
    // The web server may just have sent a request.
    if (this.waitingSince === NEVER || this.transport.receiveUnread()) return false
    this.transport.destroy()
    return true
  }

  get stalledSince(): number {
    return this.busy ? this.transport.timeouts.stalledSince : NEVER
  }

  reset(reason: AbortError): void {
    this.#endWith(reason, true)
  }

  drain(): void {
    // A web server that has begun to send a POST does not retry it elsewhere.
    if (!this.#request && !this.reader.partial) this.transport.closeSoon()
  }

  goAway(): boolean {
    return this.#request?.exchange.goAway() ?? false
  }

  abort(error: AbortError): void {
    this.#request?.failExchange(error)
    this.abortResponse()
  }

  toString(): string {
    const state = this.#request ? (this.#request.complete ? 'answered' : 'busy') : 'reading'
    return `<Uwsgi ${state}, ${this.transport.phase}>`
  }

  // ---- TransportOwner: events of the socket -------------------------------------------------------------------------

  received(chunk: Uint8Array): void {
    if (this.#surplus && this.reader.pending === 0) {
      this.#surplus.push(chunk)
      this.#surplusBytes += chunk.length
      this.#updateReading(false)
      return
    }
    try {
      for (const event of this.reader.receive(asBuffer(chunk))) {
        switch (event.type) {
          case 'request':
            this.#start(event.variables, event.length)
            break
          case 'data':
            this.#request?.input.push(event.chunk)
            break
          case 'end':
            this.#request?.input.end()
            if (this.#request?.complete) this.transport.closeSoon()
            break
          case 'ping':
            this.transport.output.bytes(encodePong())
            this.transport.closeSoon()
        }
      }
    } catch (error) {
      this.#refuse(error as Error)
      return
    }
    this.#updateReading(true)
  }

  /** nginx sends a FIN when its own client has closed the connection. */
  finReceived(): void {
    const request = this.#request
    if (!request) this.transport.closeSoon()
    else if (request.complete) {
      request.abortExchange('CLIENT_GONE', 'the client closed the connection')
      this.transport.closeSoon()
    } else if (this.#options.halfClose !== 'serve' || this.reader.pending > 0) {
      this.abort(new AbortError('CLIENT_GONE', 'the client closed the connection'))
    }
  }

  drained(): void {
    this.#request?.exchange.resume()
  }

  stalled(): void {
    this.#endWith(stallOf(this.#settings.timeouts, this.#request?.exchange.upgraded), true)
  }

  timedOut(awaited: AwaitedRead): void {
    if (awaited === 'upgraded') {
      this.#endWith(silenceOf(this.#settings.timeouts), false)
      return
    }
    const what =
      awaited === 'head'
        ? 'the web server did not send the complete uwsgi packet in time (--head-timeout)'
        : 'the web server stopped sending the request body (--body-timeout)'
    this.#refuse(peerError(awaited === 'head' ? 'HEAD_TIMEOUT' : 'BODY_TIMEOUT', what))
  }

  closed(): void {
    // An upgraded exchange watches the socket itself: for it this is the normal end.
    if (!this.#request?.exchange.upgraded) {
      this.#request?.abortExchange('CLIENT_GONE', 'the connection was closed')
    }
    this.#options.onClose?.(this)
  }

  // ---- the request --------------------------------------------------------------------------------------------------

  /** @throws RemoteProtocolError if the variables make no environ, or the body is above the limit */
  #start(variables: string[], length: number): void {
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
    this.transport.timeouts.waitFor('nothing')
    if (admit && !admit()) {
      const fields: Headers = [['Retry-After', String(this.#options.retryAfter ?? 1)]]
      this.#answer(statusOf('SLOTS_TAKEN'), 'SLOTS_TAKEN', this.#givenId ?? newRequestId(), fields)
      return
    }
    if (environ['HTTP_UPGRADE'] !== undefined) this.#surplus = [this.reader.surplus]
    const request = new UwsgiRequest(this, this.#application, environ, length !== 0, this.#givenId)
    this.#request = request
    request.exchange.run()
  }

  updateReading(): void {
    this.#updateReading(false)
  }

  /**
   * Decides whether to read from the socket, and which timeout runs meanwhile.
   *
   * @param progress whether bytes arrived
   */
  #updateReading(progress: boolean): void {
    const { transport } = this
    const request = this.#request
    if (!transport.open || !request) return
    transport.readWhileBelow(this.#settings.limits.readAhead, this.#surplusBytes + request.input.buffered)
    if (this.reader.pending === 0 || transport.paused) transport.timeouts.waitFor('nothing')
    else if (progress) transport.timeouts.restart('body')
    else transport.timeouts.waitFor('body')
  }

  // ---- UwsgiRequestConnection: what the request uses ----------------------------------------------------------------

  get draining(): boolean {
    return this.#options.host.draining
  }

  get leaving(): boolean | undefined {
    return this.#options.host.leaving
  }

  get date(): DateField {
    return this.#settings.date
  }

  get surplus(): Buffer {
    return this.#surplus ? Buffer.concat(this.#surplus) : EMPTY
  }

  /** Called when the application is done with the exchange. */
  settled(exchange: Exchange): void {
    const request = this.#request
    if (request) {
      request.settled = true
      if (request.complete) this.transport.closeSoon()
    }
    this.#options.host.settled(exchange)
  }

  abortSlow(reason: AbortError): void {
    const request = this.#request
    if (request?.exchange.responded) {
      this.#endWith(reason, true)
      return
    }
    this.#logEnd(reason)
    const requestId = this.#requestId ?? newRequestId()
    request?.failExchange(reason, statusOf('SLOW_CLIENT'))
    this.#answer(statusOf('SLOW_CLIENT'), reason.code, requestId, [])
  }

  abortResponse(): void {
    this.#abortResponse(false)
  }

  // ---- refusals and ends --------------------------------------------------------------------------------------------

  /** Refuses a request that cannot be served: answers if that is still possible, and ends the connection either way. */
  #refuse(error: Error): void {
    const refusal = error instanceof RemoteProtocolError ? error : undefined
    const { status, code } = refusal ?? { status: statusOf('INTERNAL'), code: 'INTERNAL' }
    const request = this.#request
    const requestId = this.#requestId ?? this.#givenId ?? newRequestId()
    if (refusal) this.log.warn({ requestId, remoteAddress: this.#peer, code }, refusal.message)
    else this.log.error({ requestId, remoteAddress: this.#peer, err: error }, 'a request could not be started')
    const begun = request?.exchange.responded ?? false
    const complete = request?.complete ?? false
    // Bytes that are not a packet are not from a web server: nobody would read a response.
    const unanswered = begun || code === 'UWSGI_PACKET' || code === 'UWSGI_MODIFIER'
    const answered = unanswered || complete ? 0 : status
    request?.abortExchange(status === 408 ? 'DEADLINE' : 'PROTOCOL', error.message, error, answered)
    if (complete) this.transport.closeSoon()
    else if (unanswered) {
      if (!request) this.#reportRefused(0, code, requestId, 0)
      this.abortResponse()
    } else this.#answer(status, code, requestId, [])
  }

  /** Sends a response in the application's place. */
  #answer(status: number, code: string, requestId: string, headers: Headers): void {
    const fields: Headers = [['X-Request-Id', requestId], ...headers]
    const head = this.#variable('REQUEST_METHOD') === 'HEAD'
    const text = plainAnswer(status, fields, head, '', this.date)
    this.transport.output.text(text)
    this.transport.closeSoon()
    if (!this.#request) this.#reportRefused(status, code, requestId, bodyLength(text))
  }

  #reportRefused(status: number, code: string, requestId: string, bytes: number): void {
    const { onRefused } = this.#options
    if (!onRefused) return
    const parts = ['REQUEST_METHOD', 'REQUEST_URI', 'SERVER_PROTOCOL'].map((name) => this.#variable(name))
    const line = parts.filter((part) => part !== undefined).join(' ')
    const remote = this.#variable('REMOTE_ADDR') ?? this.#peer
    onRefused({ requestId, remote, line: line.slice(0, LINE_SHOWN), status, code, bytes, milliseconds: undefined })
  }

  #variable(name: string): string | undefined {
    const variables = this.#variables
    if (variables === undefined) return undefined
    for (let at = 0; at < variables.length; at += 2) if (variables[at] === name) return variables[at + 1]
    return undefined
  }

  /** Logs `error`, for example a timeout of the connection, and ends the connection and its exchange. */
  #endWith(error: AbortError, stalled: boolean): void {
    this.#logEnd(error)
    this.#abortResponse(stalled)
    this.#request?.failExchange(error)
  }

  #logEnd(error: AbortError): void {
    this.log.info({ requestId: this.#requestId, remoteAddress: this.#peer, code: error.code }, error.message)
  }

  /** @param stalled whether the web server accepts no bytes */
  #abortResponse(stalled: boolean): void {
    const { phase } = this.transport
    const endsBody = this.#request?.untilClose ?? false
    this.transport.abort(endsBody && (phase === 'open' || phase === 'closing'), stalled)
  }

  get #requestId(): string | undefined {
    return this.#request?.exchange.environ.gantry.requestId
  }

  get #peer(): string {
    return (this.#socket as Partial<Socket>).remoteAddress || 'unix'
  }
}
