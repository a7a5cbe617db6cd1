/**
 * One request to an HTTP upstream, between http-proxy's request and our response: time, the answer's way back, and what each
 * failure means. It knows no agents and makes no requests.
 */

import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { RequestContext } from '../../protocol/contract/application.ts'
import type { Context } from '../../protocol/contract/context.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import { STATUS, shown, statusFromWire } from '../../protocol/contract/response-head.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import type { Clock, Timer } from '../../protocol/net/clock.ts'
import type { Phase } from '../../protocol/net/unreachable.ts'
import { UpstreamError, UpstreamTimeout, upstreamError } from './http-errors.ts'
import { type UpstreamRequest, upstreamTrailers } from './http-headers.ts'

export interface CallHost {
  /** For messages: the upstream's origin. */
  readonly name: string
  readonly secure: boolean
  /** Whether its host is a name, which has to be resolved. */
  readonly named: boolean
  readonly clock: Clock
  /** Milliseconds to the response's head. */
  readonly timeout: number
  /** Milliseconds between two pieces of the response's body. */
  readonly idleTimeout: number
  readonly log: Pick<Logger, 'info'>
}

/** Progress is looked at this often in the time of one timeout: it is found out at most a quarter late. */
const LOOKS = 4
/** How long an upstream that was asked (`Expect`) is waited for, ms: some never say 100 (RFC 9110 §10.1.1). Curl's time. */
const CONTINUE_PATIENCE = 1_000
/** What may be sent again although it may have run, and has no body (RFC 9110 §9.2.2). */
const REPEATABLE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** Where the answer or the failure goes: a response, or an upgrade's socket. */
export interface Client {
  readonly destroyed: boolean
  readonly writableNeedDrain: boolean
  destroy(error?: Error): unknown
}

export class HttpCall {
  readonly sent: UpstreamRequest
  readonly #host: CallHost
  readonly #context: RequestContext
  readonly #req: IncomingMessage
  readonly #client: Client
  readonly #done: () => void
  #request: ClientRequest | undefined
  #socket: Socket | undefined
  /** The phase of the present connection; `first-byte`: it is established. */
  #phase: Phase = 'connect'
  #response: IncomingMessage | undefined
  #timer: Timer | undefined
  #since: number
  /** Bytes at the last look: sent until the head is here, received after it. */
  #moved = 0
  #repeated = false
  #piped = false
  #patience: Timer | undefined
  #over = false

  /**
   * @param sent what the upstream is sent before the body: decided before http-proxy has a hand in the request's fields
   * @param done called once, when the upstream has no more to do with the request
   */
  constructor(
    host: CallHost,
    context: RequestContext,
    req: IncomingMessage,
    client: Client,
    sent: UpstreamRequest,
    done: () => void,
  ) {
    this.sent = sent
    this.#host = host
    this.#context = context
    this.#req = req
    this.#client = client
    this.#done = done
    this.#since = host.clock.now()
    this.#arm(host.timeout)
  }

  // ---- the request -------------------------------------------------------------------------------------------------

  /** A request was made, and gets a connection now or later. */
  sending(request: ClientRequest): void {
    this.#request = request
    this.#socket = undefined
    this.#phase = 'connect'
    request.once('socket', (socket) => this.#assigned(socket))
  }

  /** Sends the body of `req` after `request`. Unlike a plain pipe: with trailers, and only once it is wanted. */
  upload(request: ClientRequest): void {
    this.sending(request)
    const { body, expect } = this.sent
    if (!body) {
      request.end()
      this.#req.resume()
      return
    }
    // The upstream may want to answer, or to do something, before any of the body is there.
    request.flushHeaders()
    if (!expect) {
      this.#pipe(request)
      return
    }
    request.once('continue', () => this.#pipe(request))
    this.#patience = this.#host.clock.after(CONTINUE_PATIENCE, () => this.#pipe(request))
  }

  #pipe(request: ClientRequest): void {
    this.#patience?.cancel()
    this.#patience = undefined
    if (this.#piped || this.#over || this.#response) return
    this.#piped = true
    this.#req.pipe(request, { end: false })
    this.#req.once('end', () => {
      const trailers = upstreamTrailers(this.#req.rawTrailers)
      if (trailers.length > 0 && request.chunkedEncoding) request.addTrailers(trailers)
      request.end()
    })
  }

  #assigned(socket: Socket): void {
    this.#socket = socket
    this.#moved = socket.bytesWritten
    if (!socket.connecting) {
      this.#phase = 'first-byte'
      return
    }
    const { named, secure } = this.#host
    if (named) {
      this.#phase = 'resolve'
      // Called for each address of the name.
      socket.on('lookup', (error) => {
        if (!error && this.#phase === 'resolve') this.#phase = 'connect'
      })
    }
    socket.once('connect', () => {
      this.#phase = secure ? 'handshake' : 'first-byte'
    })
    if (secure) {
      socket.once('secureConnect', () => {
        this.#phase = 'first-byte'
      })
    }
  }

  /**
   * No answer came. Whether the request is to be made again: once, on a connection of its own, when one that was kept open turns
   * out to have been closed by the upstream meanwhile, and repeating does no harm.
   */
  failed(error: NodeJS.ErrnoException): boolean {
    // After a whole answer it can only be the rest of an upload that was not wanted.
    if (this.#over || this.#client.destroyed || this.#response?.complete) return false
    const stale =
      this.#request?.reusedSocket === true &&
      (error.code === 'ECONNRESET' || error.code === 'EPIPE') &&
      this.#response === undefined
    if (stale && !this.#repeated && !this.sent.body && REPEATABLE.has(this.#req.method ?? '')) {
      this.#repeated = true
      this.#since = this.#host.clock.now()
      this.#tellRepeated(error.code)
      return true
    }
    this.#fail(upstreamError(error, this.#host.name, this.#phase))
    return false
  }

  #tellRepeated(code: string | undefined): void {
    const { log, name } = this.#host
    const use = (this.#context as Partial<Context>).upstreamUse
    if (use) use.tries++
    log.info(
      { requestId: this.#context.requestId, member: name, code },
      'request is sent again: the server had closed the connection that was kept',
    )
  }

  // ---- the answer --------------------------------------------------------------------------------------------------

  /** An informational response (RFC 8297 for 103; others say nothing to a client of ours). */
  informed(res: ServerResponse, code: number, rawHeaders: string[]): void {
    if (code !== 103 || res.headersSent || res.destroyed) return
    try {
      res.writeInformation(103, rawHeaders)
    } catch {
      // Hints that may not be passed on are no reason to fail the answer.
    }
  }

  /** The head is here; its body follows. */
  answered(res: ServerResponse, response: IncomingMessage): void {
    const status = statusFromWire(`${response.statusCode} ${response.statusMessage ?? ''}`)
    if (!STATUS.test(status)) {
      // Not an `UpstreamError`: the upstream has answered, so that the request must not be repeated.
      const message = `${this.#host.name} responded with the status ${shown(status)}; expected 100 to 599 (RFC 9110 §15)`
      this.#fail(httpError('UPSTREAM_PROTOCOL', message))
      return
    }
    this.began(response)
    try {
      res.writeHead(response.statusCode!, response.statusMessage ?? '', response.rawHeaders)
    } catch (error) {
      const { name } = this.#host
      this.#fail(
        new UpstreamError('UPSTREAM_PROTOCOL', `the response head of ${name} cannot be forwarded`, 'maybe', error),
      )
      return
    }
    response.pipe(res, { end: false })
    // The head is news of its own when nothing follows it at once.
    setImmediate(() => {
      if (!this.#over && !res.writableEnded) res.flushHeaders()
    })
    response.once('end', () => {
      const { rawTrailers } = response
      if (rawTrailers.length > 0) res.addTrailers(upstreamTrailers(rawTrailers))
      res.end()
    })
  }

  /** The head is here; somebody else passes the body on. What is cut short is cut short for the client. */
  began(response: IncomingMessage): void {
    this.#response = response
    this.#since = this.#host.clock.now()
    this.#moved = this.#socket?.bytesRead ?? 0
    this.#arm(this.#host.idleTimeout)
    response.on('error', ignore)
    response.once('close', () => {
      if (!response.complete)
        this.#fail(
          new AbortError('UPSTREAM', `${this.#host.name} closed the connection before its response was complete`),
        )
    })
  }

  /** Nothing more is to happen: the response went out whole, was cut, or became another protocol. */
  over(): void {
    if (this.#over) return
    this.#over = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.#patience?.cancel()
    // A request in which anything is unfinished holds a connection that nobody else may use: an upload that the upstream did not
    // want to have, an answer that nobody waits for.
    const request = this.#request
    if (request && !(request.writableFinished && this.#response?.complete)) request.destroy()
    this.#done()
  }

  /** As `over`, and the connection stays. */
  upgraded(): void {
    this.#request = undefined
    this.over()
  }

  #fail(error: Error): void {
    if (this.#over) return
    this.#client.destroy(error)
    this.over()
  }

  // ---- time --------------------------------------------------------------------------------------------------------

  #arm(timeout: number): void {
    this.#timer?.cancel()
    this.#timer =
      timeout === Number.POSITIVE_INFINITY ? undefined : this.#host.clock.after(timeout / LOOKS, () => this.#look())
  }

  /**
   * Only time spent waiting for the upstream counts.
   *
   * @param read the sockets were read after the time had passed: this process may have been stopped or blocked
   */
  #look(read: boolean = false): void {
    if (this.#over) return
    const began = this.#response !== undefined
    const timeout = began ? this.#host.idleTimeout : this.#host.timeout
    const now = this.#host.clock.now()
    const moved = (began ? this.#socket?.bytesRead : this.#socket?.bytesWritten) ?? 0
    if (moved !== this.#moved || this.#waitsForClient()) {
      this.#since = now
      this.#moved = moved
    }
    if (now - this.#since < timeout) {
      this.#arm(timeout)
      return
    }
    if (!read) {
      setImmediate(() => this.#look(true))
      return
    }
    if (began)
      this.#fail(new AbortError('DEADLINE', `${this.#host.name} sent nothing for ${timeout / 1000} s (--idle-timeout)`))
    else {
      const message = `${this.#host.name} did not begin its response within ${timeout / 1000} s (--timeout)`
      this.#fail(new UpstreamTimeout(message, this.#phase))
    }
  }

  #waitsForClient(): boolean {
    if (this.#response) return this.#client.writableNeedDrain
    return this.#phase === 'first-byte' && !this.#req.complete && this.#request?.writableLength === 0
  }
}

const ignore = (): void => {}
