/**
 * One request to an HTTP upstream: the timeouts, how the response of http-proxy's request becomes ours, and the
 * meaning of each failure. `http.ts` makes the requests and has the agents.
 */

import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { RequestContext } from '../../protocol/contract/application.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import type { Context } from '../../protocol/contract/context.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import { SAFE_METHODS } from '../../protocol/contract/methods.ts'
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
  /** Whether the host is a name, which must be resolved. */
  readonly named: boolean
  readonly clock: Clock
  /** How long the upstream may take until the response's head, ms. */
  readonly timeout: number
  /** How long the upstream may pause between two chunks of the response's body, ms. */
  readonly idleTimeout: number
  readonly log: Pick<Logger, 'info'>
}

/** How many times within a timeout the progress is checked: a timeout is detected at most a quarter late. */
const LOOKS = 4
/**
 * How long to wait for a 100 after `Expect`, ms: some upstreams never send it (RFC 9110 §10.1.1). curl waits as long.
 */
const CONTINUE_PATIENCE = 1_000

/** What receives the response or the failure: a response, or an upgrade's socket. */
interface Client {
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
  /** The phase of the current connection; `first-byte`: it is established. */
  #phase: Phase = 'connect'
  #response: IncomingMessage | undefined
  #timer: Timer | undefined
  #since: number
  /** Bytes at the last check: bytes sent before the response's head, and bytes received after it. */
  #moved = 0
  #repeated = false
  #piped = false
  #patience: Timer | undefined
  #over = false

  /**
   * @param sent what is sent to the upstream before the body; decided before http-proxy changes the request's fields
   * @param done called once, when the upstream needs the request no more
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

  /** A request was made; it gets a connection now or later. */
  sending(request: ClientRequest): void {
    this.#request = request
    this.#socket = undefined
    this.#phase = 'connect'
    request.once('socket', (socket) => this.#assigned(socket))
  }

  /** Sends the body of `req` after `request`, with trailers, and after a 100 if the client expects one. */
  upload(request: ClientRequest): void {
    this.sending(request)
    const { body, expect } = this.sent
    if (!body) {
      request.end()
      this.#req.resume()
      return
    }
    // The upstream may respond, or begin its work, before any byte of the body has arrived.
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
   * The upstream did not respond.
   *
   * @returns whether to make the request again, on a new connection: once, if the upstream had closed the kept-alive
   *   connection in the meantime and repeating is safe
   */
  failed(error: NodeJS.ErrnoException): boolean {
    // After a complete response only the rest of an unwanted upload can fail.
    if (this.#over || this.#client.destroyed || this.#response?.complete) return false
    const stale =
      this.#request?.reusedSocket === true &&
      (error.code === 'ECONNRESET' || error.code === 'EPIPE') &&
      this.#response === undefined
    if (stale && !this.#repeated && !this.sent.body && SAFE_METHODS.has(this.#req.method ?? '')) {
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
      'request is sent again: the server had closed the kept-alive connection',
    )
  }

  // ---- the response ------------------------------------------------------------------------------------------------

  /** An informational response. Only 103 is passed on (RFC 8297). */
  informed(res: ServerResponse, code: number, rawHeaders: string[]): void {
    if (code !== 103 || res.headersSent || res.destroyed) return
    try {
      res.writeInformation(103, rawHeaders)
    } catch {
      // Early hints that cannot be passed on must not fail the response.
    }
  }

  /** The response's head has arrived; passes it and its body on. */
  answered(res: ServerResponse, response: IncomingMessage): void {
    const status = statusFromWire(`${response.statusCode} ${response.statusMessage ?? ''}`)
    if (!STATUS.test(status)) {
      // Not an `UpstreamError`: the upstream has responded, so the request must not be repeated.
      const message = `${this.#host.name} responded with the status ${shown(status)}; expected 100 to 599 (RFC 9110, section 15)`
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
    // Send the head alone if no byte of the body follows immediately.
    setImmediate(() => {
      if (!this.#over && !res.writableEnded) res.flushHeaders()
    })
    response.once('end', () => {
      const { rawTrailers } = response
      if (rawTrailers.length > 0) res.addTrailers(upstreamTrailers(rawTrailers))
      res.end()
    })
  }

  /**
   * The response's head has arrived; http-proxy passes the body on. A truncated body must look truncated to the client.
   */
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

  /** Ends the call: the response was sent completely, was aborted, or became another protocol. */
  over(): void {
    if (this.#over) return
    this.#over = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.#patience?.cancel()
    // An unfinished request (an unwanted upload, a response that nobody reads) holds a connection that no other request
    // may use: close it.
    const request = this.#request
    if (request && !(request.writableFinished && this.#response?.complete)) request.destroy()
    this.#done()
  }

  /** Like `over`, but the connection stays open. */
  upgraded(): void {
    this.#request = undefined
    this.over()
  }

  #fail(error: Error): void {
    if (this.#over) return
    this.#client.destroy(error)
    this.over()
  }

  // ---- timeouts ----------------------------------------------------------------------------------------------------

  #arm(timeout: number): void {
    this.#timer?.cancel()
    this.#timer =
      timeout === Number.POSITIVE_INFINITY ? undefined : this.#host.clock.after(timeout / LOOKS, () => this.#look())
  }

  /**
   * Only time spent waiting for the upstream counts.
   *
   * @param read whether the sockets were read after the timeout: this process may have been stopped or blocked
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
