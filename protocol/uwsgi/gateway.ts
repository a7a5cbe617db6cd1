/**
 * Where uwsgi meets a socket and an exchange: one connection, one request, one response, then the end.
 *
 * The response is HTTP's text without a transfer coding: its body goes to Content-Length or to the end of the connection.
 * Knows neither the packet (`packet.ts`) nor which peers may speak uwsgi at all: that is the listener's owner's matter.
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Application, Environ, Headers } from '../application.ts'
import type { Clock, Deadlines } from '../clock.ts'
import { environFromVariables, type ProcessFacts } from '../environ.ts'
import { AbortError, RemoteProtocolError } from '../errors.ts'
import { Exchange, type ExchangeHost, type ResponseSink } from '../exchange.ts'
import { defaultLimits, defaultTimeouts, type Http1Limits, type Http1Timeouts } from '../http1/options.ts'
import { Output } from '../http1/output.ts'
import { type Wait, type Waiter, Waits } from '../http1/waits.ts'
import { DateLine, informHead, plainAnswer, responseHead } from '../http1/writer.ts'
import { type InputSource, RequestInput } from '../input.ts'
import type { Logger } from '../log.ts'
import { encodePong } from './packet.ts'
import { RequestReader } from './request.ts'

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
  /** Called once when the connection is closed. */
  readonly onClose?: (connection: UwsgiConnection) => void
}

export interface UwsgiConnection {
  /** Nothing more is begun here: closes now if no request has arrived. */
  drain(): void
  /** Ends the connection at once; a running exchange is aborted with `error`. */
  abort(error: AbortError): void
  /** Whether an exchange is running, or its response still on its way. */
  readonly busy: boolean
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

/** Dates of one clock are formatted once a second for all its connections. */
const dates: WeakMap<object, DateLine> = new WeakMap()

function dateOf({ clock }: ExchangeHost): DateLine {
  let date = dates.get(clock)
  if (!date) {
    date = new DateLine(clock)
    dates.set(clock, date)
  }
  return date
}

/**
 * `reading`: no request yet · `open`: an exchange has the connection · `closing`: all is written but for what the socket
 * holds · `lingering`: our end is closed, what still comes is dropped · `handed`: an upgrade took the socket · `gone`
 */
type Phase = 'reading' | 'open' | 'closing' | 'lingering' | 'handed' | 'gone'

class Connection implements ResponseSink, InputSource, Waiter, ExchangeHost {
  readonly handle: UwsgiConnection = new Handle(this)
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger
  readonly #socket: Duplex
  readonly #application: Application
  readonly #options: UwsgiOptions
  readonly #reader: RequestReader = new RequestReader()
  readonly #output: Output
  readonly #waits: Waits
  readonly #readAhead: number
  #phase: Phase = 'reading'
  #exchange: Exchange | undefined
  #input: RequestInput | undefined
  /** The application is done with the exchange. */
  #settled = false
  /** Whether the response's end is the connection's. */
  #untilClose = false
  /** Bytes after the request that may be another protocol's, if this becomes one. */
  #early: Uint8Array[] | undefined
  #earlyBytes = 0
  #paused = false
  /** The peer's FIN came. */
  #ended = false
  #flushing = false

  constructor(socket: Duplex, application: Application, options: UwsgiOptions, first: Uint8Array | undefined) {
    const { host, timeouts, limits } = options
    this.clock = host.clock
    this.deadlines = host.deadlines
    this.log = host.log
    this.#socket = socket
    this.#application = application
    this.#options = options
    this.#readAhead = limits?.readAhead ?? defaultLimits.readAhead
    this.#output = new Output(socket)
    this.#waits = new Waits(this, { ...defaultTimeouts, ...timeouts }, host.clock, host.deadlines)
    this.#waits.for('head')
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('drain', this.#onDrain)
    socket.on('error', ignore)
    socket.on('close', this.#onClose)
    if (first && first.length > 0) this.#onData(first)
  }

  // ---- the server's side -------------------------------------------------------------------------------------------

  get busy(): boolean {
    return this.#phase !== 'reading' && this.#phase !== 'lingering' && this.#phase !== 'gone'
  }

  get draining(): boolean {
    return this.#options.host.draining
  }

  drain(): void {
    if (this.#phase === 'reading') this.#closeSoon()
  }

  /** Ends the exchange as well as the connection. */
  kill(error: AbortError): void {
    this.#abortExchange(error)
    this.abort()
  }

  settled(exchange: Exchange): void {
    this.#settled = true
    if (this.#phase === 'lingering') this.#linger()
    this.#options.host.settled(exchange)
  }

  toString(): string {
    return `<Uwsgi ${this.#phase}>`
  }

  // ---- the socket's side -------------------------------------------------------------------------------------------

  readonly #onData = (chunk: Uint8Array): void => {
    if (this.#phase !== 'reading' && !this.#wanted) return
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
            break
          case 'ping':
            this.#output.bytes(encodePong())
            this.#closeSoon()
        }
      }
    } catch (error) {
      this.#refuse(error as Error)
      return
    }
    this.#watch(true)
  }

  /** A FIN. nginx closes so when its own client has gone. */
  readonly #onEnd = (): void => {
    this.#ended = true
    const error = new AbortError('CLIENT_GONE', 'the client closed the connection')
    switch (this.#phase) {
      case 'gone':
        // Held open after a cut that could not be shown otherwise: the peer has understood.
        this.#socket.destroy()
        return
      case 'reading':
        this.#closeSoon()
        return
      case 'open':
        if (this.#options.halfClose !== 'serve' || this.#reader.pending > 0) this.kill(error)
        return
      default:
        this.#abortExchange(error)
    }
  }

  readonly #onDrain = (): void => {
    this.#output.drained()
    this.#waits.written(this.#socket.writableLength)
    if (this.#output.room) this.#exchange?.resume()
  }

  readonly #onClose = (): void => {
    this.#waits.stop()
    // An upgraded exchange watches the socket itself: for it this is the good end.
    if (this.#phase !== 'handed') this.#abortExchange(new AbortError('CLIENT_GONE', 'the connection was closed'))
    this.#phase = 'gone'
    this.#options.onClose?.(this.handle)
  }

  // ---- waits -------------------------------------------------------------------------------------------------------

  get taken(): number {
    return this.#output.taken
  }

  get backlog(): number {
    return this.#output.backlog
  }

  stalled(): void {
    this.kill(new AbortError('DEADLINE', 'the client took nothing of its response for too long'))
  }

  waitedTooLong(wait: Wait): void {
    switch (wait) {
      case 'head':
        this.#refuse(new RemoteProtocolError('HEAD_TIMEOUT', 'the request packet took too long', 408))
        break
      case 'body':
        this.#refuse(new RemoteProtocolError('BODY_TIMEOUT', 'the request body took too long', 408))
        break
      case 'linger':
        this.#phase = 'gone'
        this.#socket.destroy()
    }
  }

  // ---- the request -------------------------------------------------------------------------------------------------

  /** @throws RemoteProtocolError for variables that make no environ, and for a body above the limit */
  #begin(variables: string[], length: number): void {
    const { facts, limits, requestId, admit } = this.#options
    if (length > (limits?.body ?? defaultLimits.body)) {
      throw new RemoteProtocolError('BODY_TOO_LARGE', `a request body of ${length} bytes is above the limit`, 413)
    }
    const environ = environFromVariables(variables, facts)
    this.#waits.for('nothing')
    this.#phase = 'open'
    if (admit && !admit()) {
      this.#answer(503, environ.REQUEST_METHOD, [['Retry-After', String(this.#options.retryAfter ?? 1)]])
      return
    }
    if (environ['HTTP_UPGRADE'] !== undefined) this.#early = [this.#reader.surplus]
    this.#input = new RequestInput(length === 0 ? null : this)
    this.#exchange = new Exchange(this.#application, environ, this.#input, this, this, requestId?.(environ))
    this.#exchange.run()
  }

  /** The peer's request cannot be served: says so if that can still be said, and ends the connection either way. */
  #refuse(error: Error): void {
    const refusal = error instanceof RemoteProtocolError ? error : undefined
    if (refusal) this.log.warn({ remoteAddress: this.#peer, code: refusal.code }, refusal.message)
    else this.log.error({ remoteAddress: this.#peer, err: error }, 'a request could not be begun')
    const answered = this.#phase !== 'reading' && (this.#phase !== 'open' || this.#exchange?.responded)
    this.#abortExchange(
      new AbortError(refusal?.status === 408 ? 'DEADLINE' : 'PROTOCOL', error.message, { cause: error }),
    )
    // Bytes that are no packet are from no web server: nobody would read an answer.
    if (answered || refusal?.code === 'UWSGI_PACKET' || refusal?.code === 'UWSGI_MODIFIER') this.abort()
    else this.#answer(refusal?.status ?? 500, '', [])
  }

  #answer(status: number, method: string, headers: Headers): void {
    this.#output.text(plainAnswer(status, headers, method === 'HEAD', '', dateOf(this.#options.host)))
    this.#closeSoon()
  }

  /** Nothing of the exchange reaches the peer from here on, nor of the peer the application. */
  #abortExchange(error: AbortError): void {
    this.#exchange?.abort(error)
    if (this.#input && !this.#input.ended) this.#input.fail(error)
  }

  get #peer(): string {
    return (this.#socket as Partial<Socket>).remoteAddress || 'unix'
  }

  // ---- the exchange's side: its sink -------------------------------------------------------------------------------

  inform(status: string, headers: Headers): void {
    if (this.#phase !== 'open') return
    this.#output.text(informHead(status, headers))
    this.flush()
  }

  head(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    if (this.#phase !== 'open') return true
    this.#untilClose = length === -1
    this.#output.text(responseHead(status, headers, 'close', '', dateOf(this.#options.host)))
    if (chunk) return this.data(chunk, end)
    if (end) this.end()
    else this.#flushSoon()
    return this.#output.room
  }

  data(chunk: Uint8Array, end: boolean): boolean {
    if (this.#phase !== 'open') return true
    this.#output.bytes(chunk)
    if (end) this.end()
    else this.#flushSoon()
    return this.#output.room
  }

  /** Trailers have no place on this wire. */
  end(): void {
    this.#closeSoon()
  }

  flush(): void {
    if (this.#phase !== 'open') return
    this.#output.flush()
    this.#waits.written(this.#socket.writableLength)
  }

  upgrade(): Duplex {
    const socket = this.#socket
    this.flush()
    this.#phase = 'handed'
    this.#waits.stop()
    socket.off('data', this.#onData)
    socket.off('end', this.#onEnd)
    socket.off('drain', this.#onDrain)
    // As node:http does: it flows again with its next reader.
    ;(socket as { readableFlowing: boolean | null }).readableFlowing = null
    const early = Buffer.concat(this.#early ?? [])
    if (early.length > 0 && !this.#ended) socket.unshift(early)
    return socket
  }

  // ---- the exchange's side: its input's source ---------------------------------------------------------------------

  /** The web server answered `Expect: 100-continue` itself. */
  wanted(): void {}

  consumed(): void {
    this.#watch(false)
  }

  // ---- ends --------------------------------------------------------------------------------------------------------

  /** Ends the connection so that the peer sees that the response is not whole, if it is not. */
  abort(): void {
    if (this.#phase === 'gone') return
    // Where the connection's end is the body's, a FIN would make what has left look whole.
    const hidden = this.#untilClose && (this.#phase === 'open' || this.#phase === 'closing')
    this.#phase = 'gone'
    this.#waits.stop()
    const socket = this.#socket
    if (!hidden) socket.destroy()
    else if (socket instanceof Socket && socket.remotePort !== undefined) socket.resetAndDestroy()
    else if (this.#ended) socket.destroy()
    else {
      this.log.warn(
        {},
        'a response without a length was cut on a Unix socket: it is held open until its client gives up',
      )
      this.#resume()
    }
  }

  /** Ends the connection in good order: what is written goes out, what still comes is dropped for a while (RFC 9112 §9.6). */
  #closeSoon(): void {
    if (this.#phase !== 'reading' && this.#phase !== 'open') return
    this.#phase = 'closing'
    this.#waits.for('nothing')
    this.#output.end(() => {
      if (this.#phase !== 'closing') return
      this.#phase = 'lingering'
      this.#linger()
    })
    this.#waits.written(this.#socket.writableLength)
    this.#resume()
  }

  /** An application that is not done may read its input even after its response. */
  #linger(): void {
    if (this.#wanted) this.#watch(false)
    else {
      this.#waits.for('linger')
      this.#resume()
    }
  }

  #flushSoon(): void {
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(flushNow, this)
  }

  flushNow(): void {
    this.#flushing = false
    this.flush()
  }

  /** Whether what arrives may still be read by the application. */
  get #wanted(): boolean {
    if (this.#phase === 'open') return true
    if (this.#phase !== 'closing' && this.#phase !== 'lingering') return false
    return this.#input !== undefined && !this.#settled && this.#reader.pending > 0
  }

  /** Decides whether to go on reading, and what is being waited for. */
  #watch(progress: boolean): void {
    if (!this.#wanted) {
      if (this.#phase === 'lingering') this.#linger()
      return
    }
    const held = this.#earlyBytes + (this.#input?.buffered ?? 0)
    if (held < this.#readAhead) this.#resume()
    else if (!this.#paused) {
      this.#paused = true
      this.#socket.pause()
    }
    if (this.#reader.pending === 0 || this.#paused) this.#waits.for('nothing')
    else if (progress) this.#waits.anew('body')
    else this.#waits.for('body')
  }

  #resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#socket.resume()
  }
}

/** A connection as its server sees it: what a sink's `abort` does is only the half of this one. */
class Handle implements UwsgiConnection {
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  get busy(): boolean {
    return this.#connection.busy
  }

  drain(): void {
    this.#connection.drain()
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

function ignore(): void {}

function flushNow(connection: Connection): void {
  connection.flushNow()
}
