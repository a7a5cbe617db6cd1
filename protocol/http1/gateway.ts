/**
 * The one place where a sans-IO HTTP/1.1 connection meets a socket: reading, backpressure, timeouts, closing.
 * Knows neither syntax (`parser.ts`, `writer.ts`) nor which response may keep a connection (`connection.ts`).
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Application, Environ, Headers } from '../application.ts'
import type { Clock, Deadlines } from '../clock.ts'
import { type ConnectionFacts, environFromHttp } from '../environ.ts'
import { AbortError, RemoteProtocolError } from '../errors.ts'
import { Exchange, type ExchangeHost } from '../exchange.ts'
import { RequestInput } from '../input.ts'
import type { Logger } from '../log.ts'
import { ServerConnection } from './connection.ts'
import { defaultLimits, defaultTimeouts, type Http1Limits, type Http1Options, type Http1Timeouts } from './options.ts'
import { Output } from './output.ts'
import { Stream, type StreamOwner } from './stream.ts'
import { type Wait, type Waiter, Waits } from './waits.ts'
import { chunkHead, DateLine } from './writer.ts'

/** One client's connection. */
export interface Http1Connection {
  /** No request after the current one: its response says `Connection: close`; an idle connection closes now. */
  drain(): void
  /** Ends the connection at once; a running exchange is aborted with `error`. */
  abort(error: AbortError): void
  /** Whether no request is running or half-read. */
  readonly idle: boolean
  /** Whether an exchange is running. */
  readonly busy: boolean
}

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
  return new Connection(socket, application, options, settingsOf(options), first, peer)
}

/** Options with their defaults. */
interface Settings {
  limits: Http1Limits
  timeouts: Http1Timeouts
  date: DateLine
}

const settings: WeakMap<Http1Options, Settings> = new WeakMap()

function settingsOf(options: Http1Options): Settings {
  let made = settings.get(options)
  if (!made) {
    made = {
      limits: { ...defaultLimits, ...options.limits },
      timeouts: { ...defaultTimeouts, ...options.timeouts },
      date: new DateLine(options.host.clock),
    }
    settings.set(options, made)
  }
  return made
}

function factsOf(
  socket: Duplex,
  scheme: 'http' | 'https',
  peer: Partial<ConnectionFacts> | undefined,
): ConnectionFacts {
  const net = socket as Partial<Socket>
  return {
    remoteAddress: net.remoteAddress ?? '',
    remotePort: net.remotePort === undefined ? '' : String(net.remotePort),
    // A Unix socket has neither, and PEP 3333 wants both.
    serverName: net.localAddress ?? 'localhost',
    serverPort: net.localPort === undefined ? (scheme === 'https' ? '443' : '80') : String(net.localPort),
    scheme,
    ...peer,
  }
}

/**
 * - `open`: requests are read and answered
 * - `closing`: the last bytes are being written; from here on nothing that is read is looked at
 * - `lingering`: all is written, and our FIN with it
 * - `gone`: destroyed, or another protocol's
 */
type Phase = 'open' | 'closing' | 'lingering' | 'gone'

/** Pipelined requests answered before others get their turn. */
const BURST = 32

class Connection implements Http1Connection, StreamOwner, ExchangeHost, Waiter {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly log: Logger

  readonly #socket: Duplex
  readonly #application: Application
  readonly #options: Http1Options
  readonly #readAhead: number
  readonly #facts: ConnectionFacts
  readonly #http: ServerConnection
  readonly #output: Output
  readonly #waits: Waits
  /** The current exchange's, from its request's head to the next request. */
  #stream: Stream | undefined
  #phase: Phase = 'open'
  #requests = 0
  /** In `#process`: what ends a response there goes on by itself. */
  #processing = false
  #paused = false
  /** The client's FIN came. */
  #ended = false
  #flushing = false

  constructor(
    socket: Duplex,
    application: Application,
    options: Http1Options,
    { limits, timeouts, date }: Settings,
    first: Uint8Array | undefined,
    peer: Partial<ConnectionFacts> | undefined,
  ) {
    const { clock, deadlines, log } = options.host
    this.clock = clock
    this.deadlines = deadlines
    this.log = log
    this.#socket = socket
    this.#application = application
    this.#options = options
    this.#readAhead = limits.readAhead
    this.#facts = factsOf(socket, options.scheme ?? 'http', peer)
    this.#http = new ServerConnection(limits, date)
    this.#output = new Output(socket)
    this.#waits = new Waits(this, timeouts, clock, deadlines)
    this.#waits.for('head')
    if (socket instanceof Socket) socket.setNoDelay(true)
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('drain', this.#onDrain)
    socket.on('error', ignore)
    socket.on('close', this.#onClose)
    if (first && first.length > 0) this.#onData(first)
  }

  // ---- the server's side -------------------------------------------------------------------------------------------

  get draining(): boolean {
    return this.#options.host.draining
  }

  get idle(): boolean {
    return !this.#stream && !this.#http.busy && this.#http.parser.between
  }

  get busy(): boolean {
    return this.#stream !== undefined
  }

  drain(): void {
    this.#http.close()
    if (this.idle) this.#closeSoon()
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
    const state = this.#phase !== 'open' ? this.#phase : this.busy ? 'busy' : this.idle ? 'idle' : 'reading'
    return `<Http1 ${remoteAddress || 'unix'}${remotePort && `:${remotePort}`} ${state}, ${this.#requests} requests>`
  }

  // ---- the socket's side -------------------------------------------------------------------------------------------

  readonly #onData = (chunk: Uint8Array): void => {
    if (this.#phase !== 'open') return
    this.#http.parser.push(chunk)
    this.#process(true)
  }

  /** A FIN. nginx takes it for the client's end (proxy_ignore_client_abort off), and so does this, unless told otherwise. */
  readonly #onEnd = (): void => {
    this.#ended = true
    if (this.#phase === 'gone') {
      // Held open after a cut that could not be shown otherwise: the client has understood.
      this.#socket.destroy()
      return
    }
    if (this.#phase !== 'open') return
    if (this.#options.halfClose === 'serve') {
      this.#process(false)
      return
    }
    this.#clientGone()
  }

  #clientGone(): void {
    const exchange = this.#stream?.exchange
    const cut = exchange?.responded && !exchange.finished
    this.#abortExchange(new AbortError('CLIENT_GONE', 'the client closed the connection'))
    if (cut) this.cut()
    else this.#closeSoon()
  }

  readonly #onDrain = (): void => {
    this.#output.drained()
    this.#waits.written(this.#socket.writableLength)
    if (!this.#output.room) return
    this.#stream?.exchange?.resume()
    this.#process(false)
  }

  readonly #onClose = (): void => {
    this.#phase = 'gone'
    this.#waits.stop()
    this.#http.fail()
    // An upgraded exchange watches the socket itself: for it this is the good end.
    if (!this.#stream?.exchange?.upgraded) {
      this.#abortExchange(new AbortError('CLIENT_GONE', 'the connection was closed'))
    }
    this.#stream = undefined
    this.#options.onClose?.(this)
  }

  // ---- waits -------------------------------------------------------------------------------------------------------

  get taken(): number {
    return this.#output.taken
  }

  get backlog(): number {
    return this.#output.backlog
  }

  stalled(): void {
    this.#abortExchange(new AbortError('DEADLINE', 'the client took nothing of its response for too long'))
    this.#phase = 'gone'
    this.#socket.destroy()
  }

  waitedTooLong(wait: Wait): void {
    switch (wait) {
      case 'head':
        if (this.#http.parser.between) this.#closeSoon()
        else this.#refuse(new RemoteProtocolError('HEAD_TIMEOUT', 'the request head took too long', 408))
        break
      case 'body':
        this.#refuse(new RemoteProtocolError('BODY_TIMEOUT', 'the request body took too long', 408))
        break
      case 'next-request':
      case 'rest':
        this.#closeSoon()
        break
      case 'linger':
        this.#phase = 'gone'
        this.#socket.destroy()
        break
    }
  }

  // ---- requests ----------------------------------------------------------------------------------------------------

  /**
   * Reads what there is, and begins exchanges, one at a time.
   *
   * @param progress whether bytes came
   */
  #process(progress: boolean): void {
    if (this.#processing || this.#phase !== 'open') return
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
    if (this.#phase !== 'open') return
    this.flush()
    this.#watch(progress)
  }

  /** One event; false when there is nothing to do until more bytes, room or the application come. */
  #step(): boolean {
    if (this.#phase !== 'open') return false
    switch (this.#http.request) {
      case 'body':
        return this.#readBody()
      case 'done':
        if (this.#http.response !== 'done') return false
        if (this.#http.after() === 'close') return this.#closeSoon()
        this.#stream?.release()
        this.#stream = undefined
        this.#http.next()
        return true
      default:
        return this.#readHead()
    }
  }

  #readHead(): boolean {
    // A client that does not take its answers gets no further ones.
    if (!this.#output.room) return false
    switch (this.#http.read()) {
      case 'head':
        this.#requests++
        this.#begin()
        return true
      case 'error':
        return this.#refuse(this.#http.parser.error!)
      default:
        return this.#ended ? this.#closeSoon() : false
    }
  }

  #begin(): void {
    const http = this.#http
    const head = http.head
    if (this.draining) http.close()
    this.#waits.for('nothing')
    const { admit, retryAfter, facts, requestId } = this.#options
    let environ: Environ
    let id: string | undefined
    try {
      environ = environFromHttp(head, this.#facts, facts)
      id = requestId?.(head, this.#facts)
    } catch (error) {
      this.#refuse(error as Error)
      return
    }
    if (admit && !admit()) {
      this.#output.text(http.answer(503, [['Retry-After', String(retryAfter ?? 1)]], false))
      return
    }
    const stream = new Stream(this)
    const input = new RequestInput(head.bodyLength === 0 ? null : stream)
    const exchange = new Exchange(this.#application, environ, input, stream, this, id)
    stream.input = input
    stream.exchange = exchange
    this.#stream = stream
    exchange.run()
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
        if (!unwanted) this.#stream?.input?.push(http.parser.data)
        else if (!http.discard(http.parser.data.length)) return this.#closeSoon()
        return true
      case 'end':
        this.#stream?.input?.end(http.parser.trailers)
        return true
      case 'error':
        return this.#refuse(http.parser.error!)
      default:
        if (this.#ended) this.#clientGone()
        return false
    }
  }

  /** The client's request cannot be served: says so if that can still be said, and ends the connection either way. */
  #refuse(error: Error): false {
    const { remoteAddress } = this.#facts
    const refusal = error instanceof RemoteProtocolError ? error : undefined
    if (refusal) this.log.info({ remoteAddress, code: refusal.code, status: refusal.status }, refusal.message)
    else this.log.error({ remoteAddress, err: error }, 'a request could not be begun')
    this.#abortExchange(
      new AbortError(refusal?.status === 408 ? 'DEADLINE' : 'PROTOCOL', error.message, { cause: error }),
    )
    if (this.#http.response === 'body') this.cut()
    else {
      if (this.#http.response === 'due') this.#output.text(this.#http.answer(refusal?.status ?? 500, [], true))
      this.#closeSoon()
    }
    return false
  }

  /** Nothing of the exchange reaches the client from here on. */
  #abortExchange(error: AbortError): void {
    const stream = this.#stream
    if (!stream) return
    stream.release()
    stream.exchange?.abort(error)
    if (!stream.input?.ended) stream.input?.fail(error)
  }

  /** Goes on after this tick's callers have returned. */
  #soon(): void {
    if (!this.#processing && this.#phase === 'open') process.nextTick(proceed, this)
  }

  proceed(): void {
    this.#process(false)
  }

  // ---- the exchange's side -----------------------------------------------------------------------------------------

  inform(status: string, headers: Headers): void {
    this.#output.text(this.#http.inform(status, headers))
    this.flush()
  }

  respond(status: string, headers: Headers, length: number, chunk: Uint8Array | undefined, end: boolean): boolean {
    if (this.draining) this.#http.close()
    this.#output.text(this.#http.respond(status, headers, length, end))
    if (chunk) return this.send(chunk, end)
    if (end) this.finish(undefined)
    else this.#flushSoon()
    return this.#output.room
  }

  send(chunk: Uint8Array, end: boolean): boolean {
    if (this.#http.framing !== 'chunked') this.#output.bytes(chunk)
    else if (chunk.length > 0) {
      this.#output.text(chunkHead(chunk.length))
      this.#output.bytes(chunk)
      this.#output.text('\r\n')
    }
    if (end) this.finish(undefined)
    else this.#flushSoon()
    return this.#output.room
  }

  finish(trailers: Headers | undefined): void {
    this.#output.text(this.#http.end(trailers))
    if (this.#processing) return
    this.flush()
    this.#soon()
  }

  flush(): void {
    this.#output.flush()
    this.#waits.written(this.#socket.writableLength)
  }

  /** For who does not flush: by the end of the tick all is on its way. */
  #flushSoon(): void {
    if (this.#processing || this.#flushing) return
    this.#flushing = true
    setImmediate(flushNow, this)
  }

  flushNow(): void {
    this.#flushing = false
    if (this.#phase === 'open') this.flush()
  }

  handOver(): Duplex {
    const socket = this.#socket
    this.flush()
    const rest = this.#http.detach()
    this.#phase = 'gone'
    this.#waits.stop()
    socket.off('data', this.#onData)
    socket.off('end', this.#onEnd)
    socket.off('drain', this.#onDrain)
    // As node:http does: it flows again with its next reader.
    ;(socket as { readableFlowing: boolean | null }).readableFlowing = null
    if (rest.length > 0 && !this.#ended) socket.unshift(rest)
    return socket
  }

  inputWanted(): void {
    const text = this.#http.continue()
    if (text === '') return
    this.#output.text(text)
    this.flush()
    if (!this.#processing) this.#watch(true)
  }

  inputConsumed(): void {
    if (this.#paused && !this.#processing) this.#watch(true)
  }

  // ---- ends --------------------------------------------------------------------------------------------------------

  /** Ends the connection so that the client sees that the response is not whole. */
  cut(): void {
    if (this.#phase === 'gone') return
    this.#phase = 'gone'
    this.#stream?.release()
    this.#http.fail()
    this.#output.flush()
    this.#waits.stop()
    if (this.#http.response === 'body' && this.#http.framing === 'close') this.#cutByReset()
    else this.#socket.destroy()
  }

  /** Where the connection's end is the body's, a FIN would make it look whole. A reset does not. */
  #cutByReset(): void {
    const socket = this.#socket
    if (!(socket instanceof Socket)) socket.destroy(new Error('the response was cut'))
    else if (this.#facts.remotePort === '' && !this.#ended) {
      // A Unix socket has no reset (nginx speaks HTTP/1.0 on them unless told): only silence is left, until the client goes.
      this.log.warn(
        {},
        'a response without a length was cut on a Unix socket: it is held open until its client gives up',
      )
      this.#resume()
    } else {
      try {
        socket.resetAndDestroy()
      } catch {
        // TLS: a missing close_notify says the same.
        socket.destroy()
      }
    }
  }

  /** Ends the connection in good order: what is written goes out, what still comes is dropped for a while (RFC 9112 §9.6). */
  #closeSoon(): false {
    if (this.#phase !== 'open') return false
    this.#phase = 'closing'
    this.#abortExchange(new AbortError('CLIENT_GONE', 'the connection is over'))
    this.#http.fail()
    this.#waits.for('nothing')
    this.#output.end(() => {
      if (this.#phase !== 'closing') return
      this.#phase = 'lingering'
      this.#waits.for('linger')
    })
    this.#waits.written(this.#socket.writableLength)
    this.#resume()
    return false
  }

  // ---- reading on --------------------------------------------------------------------------------------------------

  /** Decides whether to go on reading, and what is being waited for. */
  #watch(progress: boolean): void {
    const http = this.#http
    switch (http.request) {
      case 'body': {
        const unwanted = this.#unwanted
        this.#readOn(unwanted ? 0 : (this.#stream?.input?.buffered ?? 0))
        // A client that waits for 100 Continue, or for us to read on, is not slow.
        if (unwanted) this.#waits.for('rest')
        else if (http.waiting || this.#paused) this.#waits.for('nothing')
        else if (progress) this.#waits.anew('body')
        else this.#waits.for('body')
        break
      }
      case 'done':
        this.#readOn(http.parser.buffered)
        this.#waits.for('nothing')
        break
      default:
        this.#readOn(http.parser.buffered)
        this.#waits.for(this.#requests > 0 && http.parser.between ? 'next-request' : 'head')
    }
  }

  /** Reads on while less than the limit is held. */
  #readOn(held: number): void {
    if (held < this.#readAhead) this.#resume()
    else if (!this.#paused) {
      this.#paused = true
      this.#socket.pause()
    }
  }

  #resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#socket.resume()
  }
}

function ignore(): void {}

function proceed(connection: Connection): void {
  connection.proceed()
}

function flushNow(connection: Connection): void {
  connection.flushNow()
}
