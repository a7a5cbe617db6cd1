/**
 * HTTP/1.1 connections of clients, at the proxy's front and at the container's port: what timeouts, a FIN, a drain and
 * the connection limit do to a connection. `request-loop.ts` serves its requests.
 */

import type { Duplex } from 'node:stream'
import type { ClientKey } from '../client/client-shares.ts'
import type { Application } from '../contract/application.ts'
import { peerError } from '../contract/coded-errors.ts'
import type { ConnectionFacts } from '../contract/environ.ts'
import type { AbortError } from '../contract/errors.ts'
import type { Clock } from '../net/clock.ts'
import { type AwaitedRead, silenceOf, stallOf } from '../net/connection-timeouts.ts'
import { closeIdle, type Idle } from '../net/idle-close.ts'
import type { Transport, TransportOwner } from '../net/transport.ts'
import type { Http1ServerConnection } from './codec/connection.ts'
import type { Http1Connection, Http1Options, Http1Timeouts } from './options.ts'
import { Http1RequestLoop } from './request-loop.ts'
import { factsOf, type Settings, settingsOf } from './settings.ts'

/**
 * Serves HTTP/1.1 on `socket`.
 *
 * @param socket accepted with `allowHalfOpen: true`: a response must be able to follow the client's FIN, and our FIN
 *   must not end reading
 * @param first bytes that were already read, to find out the protocol
 * @param peer facts that are known better than from the socket (PROXY protocol)
 * @example
 * ```ts
 * import { createServer } from 'node:net'
 * import { statusPage } from 'gantry'
 * import { Deadlines, serveHttp1, silent, systemClock } from 'gantry/protocol'
 *
 * const clock = systemClock
 * const host = { clock, deadlines: new Deadlines(clock), log: silent, draining: false, settled() {} }
 * const facts = { multithread: false, multiprocess: false, runOnce: false }
 * const options = { host, facts }
 * const server = createServer({ allowHalfOpen: true }, (socket) => serveHttp1(socket, statusPage(404), options))
 * server.listen(8000)
 * ```
 */
export function serveHttp1(
  socket: Duplex,
  application: Application,
  options: Http1Options,
  first?: Uint8Array,
  peer?: Partial<ConnectionFacts>,
): Http1Connection {
  const facts = factsOf(socket, options.scheme ?? 'http', peer)
  return new Http1Gateway(socket, application, options, settingsOf(options), facts, first)
}

const NEVER: number = Number.POSITIVE_INFINITY

class Http1Gateway implements Http1Connection, TransportOwner, Idle {
  share: ClientKey | undefined = undefined
  readonly #options: Http1Options
  readonly #facts: ConnectionFacts
  readonly #timeouts: Http1Timeouts
  readonly #clock: Clock
  readonly #loop: Http1RequestLoop
  readonly #codec: Http1ServerConnection
  readonly #transport: Transport
  /** The number of requests when the idle connection timed out. */
  #requestsWhenIdle = 0

  constructor(
    socket: Duplex,
    application: Application,
    options: Http1Options,
    settings: Settings,
    facts: ConnectionFacts,
    first: Uint8Array | undefined,
  ) {
    this.#options = options
    this.#facts = facts
    this.#timeouts = settings.timeouts
    this.#clock = options.host.clock
    this.#loop = new Http1RequestLoop(socket, this, application, options, settings, facts)
    this.#codec = this.#loop.codec
    this.#transport = this.#loop.transport
    this.#transport.timeouts.waitFor('head')
    if (first && first.length > 0) this.received(first)
  }

  // ---- Http1Connection: the server's side ---------------------------------------------------------------------------

  get last(): boolean {
    if (!this.#transport.open) return true
    if (this.#codec.response === 'pending') return false
    // A long response (an event stream) must not delay the application's stop for longer than the grace.
    return this.#codec.afterResponse() === 'close' || this.#clock.now() >= (this.#loop.graceEnd ?? NEVER)
  }

  get idle(): boolean {
    return !this.busy && !this.#codec.busy && this.#codec.parser.between
  }

  get busy(): boolean {
    return this.#loop.exchange !== undefined
  }

  get upgraded(): boolean {
    return this.#loop.exchange?.upgraded ?? false
  }

  get waitingSince(): number {
    if (this.busy || this.#codec.busy || !this.#transport.open || this.#transport.backlog > 0) return NEVER
    return this.#transport.timeouts.since
  }

  evict(): boolean {
    // The client may just have sent a request.
    if (this.waitingSince === NEVER || this.#transport.receiveUnread()) return false
    this.#transport.destroy()
    return true
  }

  get stalledSince(): number {
    return this.busy || this.#codec.busy ? this.#transport.timeouts.stalledSince : NEVER
  }

  reset(reason: AbortError): void {
    this.#loop.endWith(reason, true)
  }

  drain(grace: number = 0): void {
    const { timeouts } = this.#transport
    this.#loop.graceEnd = this.#clock.now() + grace
    timeouts.grace = grace
    // With a grace, a late request may follow a response whose head did not announce the close.
    if (grace === 0) this.#codec.closeAfterResponse()
    if (!this.idle) return
    if (grace === 0) this.#loop.closeSoon()
    else timeouts.restart('late-request')
  }

  #closeIfStillIdle(): void {
    this.#requestsWhenIdle = this.#loop.requests
    closeIdle(this)
  }

  closeIfIdle(): void {
    // A request may have arrived and been answered since the timeout: then the idle time has started anew.
    if (this.#transport.open && this.idle && this.#loop.requests === this.#requestsWhenIdle) this.#loop.closeSoon()
  }

  goAway(): boolean {
    return this.#loop.exchange?.goAway() ?? false
  }

  abort(error: AbortError): void {
    this.#loop.abortExchange(error)
    this.#loop.abortResponse()
  }

  toString(): string {
    const { remoteAddress, remotePort } = this.#facts
    const { requests, transport } = this.#loop
    const state = !transport.open ? transport.phase : this.busy ? 'busy' : this.idle ? 'idle' : 'reading'
    return `<Http1 ${remoteAddress || 'unix'}${remotePort && `:${remotePort}`} ${state}, ${requests} requests>`
  }

  // ---- TransportOwner: events of the socket -------------------------------------------------------------------------

  received(chunk: Uint8Array): void {
    this.#codec.parser.push(chunk)
    this.#loop.read(true)
  }

  /**
   * By default a FIN means that the client has closed the connection, as for nginx (`proxy_ignore_client_abort off`).
   */
  finReceived(): void {
    if (this.#options.halfClose === 'serve') this.#loop.read(false)
    else this.#loop.clientClosed()
  }

  drained(): void {
    this.#loop.exchange?.resume()
    this.#loop.read(false)
  }

  stalled(): void {
    this.#loop.endWith(stallOf(this.#timeouts, this.upgraded), true)
  }

  timedOut(awaited: AwaitedRead): void {
    switch (awaited) {
      case 'head':
        if (this.#codec.parser.between) this.#closeIfStillIdle()
        else
          this.#loop.refuse(
            peerError('HEAD_TIMEOUT', 'the client did not send the complete request head in time (--head-timeout)'),
          )
        break
      case 'next-request':
      case 'late-request':
        this.#closeIfStillIdle()
        break
      case 'body':
        this.#loop.refuse(peerError('BODY_TIMEOUT', 'the client stopped sending the request body (--body-timeout)'))
        break
      case 'upgraded':
        this.#loop.endWith(silenceOf(this.#timeouts), false)
        break
      default:
        this.#loop.closeSoon()
    }
  }

  closed(): void {
    this.#loop.closed()
    this.#options.onClose?.(this)
  }
}
