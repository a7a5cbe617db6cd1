/**
 * Serves one application on one HTTP port, like wsgiref.simple_server: for tests, tools and first experiments. The HTTP
 * is that of `gantry container`, which adds workers, slots, frames and an access log. Accepts connections at once, but
 * answers them only during `handleRequest` or `serveForever`.
 */

import type { Socket } from 'node:net'
import { inspect } from 'node:util'
import { lastEvents } from '../process/last-events.ts'
import type { Application } from '../protocol/contract/application.ts'
import { localError } from '../protocol/contract/coded-errors.ts'
import type { OtherCode } from '../protocol/contract/error-codes.ts'
import { AbortError } from '../protocol/contract/errors.ts'
import { CLOSE_GRACE, type Exchange, type ExchangeHost } from '../protocol/contract/exchange.ts'
import type { Http1Limits } from '../protocol/http1/codec/limits.ts'
import { serveHttp1 } from '../protocol/http1/gateway.ts'
import type { Http1Connection, Http1Options, Http1Timeouts } from '../protocol/http1/options.ts'
import type { Logger } from '../protocol/log/logger.ts'
import { stderrLog } from '../protocol/log/stderr-log.ts'
import { Deadlines, systemClock } from '../protocol/net/clock.ts'
import { type Listener, listen } from '../protocol/net/listen.ts'
import { checkOptions, defined, logger, type OptionForms, orMore, record } from '../protocol/options/check-options.ts'
import { GOING_AWAY_GRACE } from '../protocol/websocket/going-away.ts'

/** Options of `makeServer`. Times are in milliseconds, sizes in bytes. */
export interface SimpleServerOptions {
  /** Gets failures and `wsgi.errors`. Default: lines on standard error, as with wsgiref. */
  readonly log?: Logger
  /** Sizes in bytes. Defaults: those of a container. */
  readonly limits?: Partial<Http1Limits>
  /** Milliseconds. Defaults: those of a container. */
  readonly timeouts?: Partial<Http1Timeouts>
  /**
   * How long `close()` lets running requests finish before they are aborted, ms. Default 10 s, as long as `docker stop`
   * waits.
   */
  readonly drainTimeout?: number
}

/** A server that `makeServer` has started. */
export interface SimpleServer extends AsyncDisposable {
  /** The port number; if 0 was requested, the one that the system chose. */
  readonly serverPort: number
  readonly address: { readonly host: string; readonly port: number }
  /**
   * Serves until `close()`, and resolves when the server is closed.
   *
   * @throws LocalProtocolError if the server is closed, or `serveForever` already runs
   */
  serveForever(): Promise<void>
  /**
   * Serves exactly one request, of the connection that sent bytes first, and closes that connection. A refused request
   * (414, 400) counts as one; a connection without bytes does not. Resolves with true when the response is sent and the
   * application has settled, or with false if the server was closed before a request arrived.
   *
   * @throws LocalProtocolError if the server is closed, or `serveForever` runs
   */
  handleRequest(): Promise<boolean>
  /**
   * Accepts no new requests, lets running requests finish within `drainTimeout`, and resolves when all is closed. Stops
   * waiting for an application 5 s after aborting it. A second call waits for the same.
   */
  close(): Promise<void>
}

const DRAIN_TIMEOUT = 10_000
/**
 * Connections that may wait for `handleRequest`; further ones are closed. It is the traditional limit of the listen
 * backlog.
 */
const WAITING_MAX = 128

const bytes = orMore('a number of bytes')
const milliseconds = orMore('a number of milliseconds')

const OPTIONS: OptionForms<SimpleServerOptions> = {
  log: logger('debug', 'info', 'warn', 'error'),
  limits: record('sizes by name'),
  timeouts: record('milliseconds by name'),
  drainTimeout: milliseconds,
}

const LIMITS: OptionForms<Http1Limits> = {
  target: bytes,
  head: bytes,
  fields: orMore('a number of header fields'),
  body: bytes,
  chunkOverhead: bytes,
  readAhead: bytes,
  discard: bytes,
}

const TIMEOUTS: OptionForms<Http1Timeouts> = {
  head: milliseconds,
  body: milliseconds,
  keepAlive: milliseconds,
  write: milliseconds,
  linger: milliseconds,
  upgradeIdle: milliseconds,
}

/**
 * Listens on a host and port for an application, and returns the server. The server answers requests only during
 * `serveForever` or `handleRequest`.
 *
 * @param host a name or address; `''` means every interface
 * @param port 0 to 65535; 0 lets the system choose
 * @param application the application to serve
 * @param options limits, timeouts and the log
 * @throws TypeError if an argument or an option is invalid
 * @throws ListenError if the address is taken or not allowed
 * @example
 * ```ts
 * import { demoApp, makeServer } from 'gantry/container'
 *
 * const server = await makeServer('127.0.0.1', 0, demoApp)
 * console.log(`http://127.0.0.1:${server.serverPort}/`)
 * const served = server.handleRequest() // one request
 * await fetch(`http://127.0.0.1:${server.serverPort}/`) // the response of demoApp
 * await served
 * await server.close()
 * ```
 */
export async function makeServer(
  host: string,
  port: number,
  application: Application,
  options: SimpleServerOptions = {},
): Promise<SimpleServer> {
  if (typeof host !== 'string') throw new TypeError(`makeServer: the host is ${inspect(host)}, expected a string`)
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new TypeError(`makeServer: the port is ${inspect(port)}, expected a number from 0 to 65535`)
  }
  if (typeof application !== 'function') {
    throw new TypeError(`makeServer: the application is ${inspect(application, { depth: 0 })}, expected a function`)
  }
  checkOptions('makeServer', options, OPTIONS)
  if (options.limits) checkOptions('makeServer', options.limits, LIMITS, 'limits.')
  if (options.timeouts) checkOptions('makeServer', options.timeouts, TIMEOUTS, 'timeouts.')
  const { drainTimeout = DRAIN_TIMEOUT } = options
  const server = new SimpleHttpServer(host, application, options, drainTimeout)
  await server.listen(port)
  return server
}

class SimpleHttpServer implements SimpleServer, ExchangeHost {
  readonly clock: typeof systemClock = systemClock
  readonly deadlines: Deadlines = new Deadlines(systemClock)
  readonly log: Logger
  draining = false
  readonly #host: string
  readonly #application: Application
  readonly #http: Http1Options
  readonly #drainTimeout: number
  #listener: Listener | undefined
  /** Connections that no call serves yet, oldest first, each with the function that removes its listeners. */
  readonly #waiting: Map<Socket, () => void> = new Map()
  /** Calls of `handleRequest` that wait for a request. */
  readonly #handlers: ((served: Promise<boolean>) => void)[] = []
  readonly #connections: Set<Http1Connection> = new Set()
  /** The number of requests whose applications have not settled. */
  #running = 0
  #forever: PromiseWithResolvers<void> | undefined
  #closing: Promise<void> | undefined
  #onIdle: (() => void) | undefined

  constructor(host: string, application: Application, options: SimpleServerOptions, drainTimeout: number) {
    const { log = stderrLog(), limits, timeouts } = options
    this.log = log
    this.#host = host
    this.#drainTimeout = drainTimeout
    this.#application = (environ, startResponse) => {
      this.#running++
      return application(environ, startResponse)
    }
    this.#http = {
      host: this,
      facts: { multithread: true, multiprocess: false, runOnce: false },
      ...(limits && { limits: defined(limits) }),
      ...(timeouts && { timeouts: defined(timeouts) }),
      onClose: (connection) => this.#closed(connection),
    }
  }

  async listen(port: number): Promise<void> {
    const address = { kind: 'tcp', host: this.#host, port } as const
    this.#listener = await listen(address, { log: this.log }, (socket) => this.#accept(socket))
  }

  get address(): { host: string; port: number } {
    return { host: this.#host, port: this.serverPort }
  }

  get serverPort(): number {
    const { address } = this.#listener!
    return address.kind === 'tcp' ? address.port : 0
  }

  async serveForever(): Promise<void> {
    this.#checkOpen('serveForever')
    this.#forever = Promise.withResolvers<void>()
    for (const [socket, stopWatching] of this.#waiting) {
      stopWatching()
      this.#connections.add(serveHttp1(socket, this.#application, this.#http))
    }
    await this.#forever.promise
  }

  async handleRequest(): Promise<boolean> {
    this.#checkOpen('handleRequest')
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#handlers.push(resolve)
    for (const socket of this.#waiting.keys()) this.#tryServe(socket)
    return await promise
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  toString(): string {
    return `<SimpleServer ${this.#host}:${this.serverPort}, ${this.#connections.size} connections, ${this.#running} requests>`
  }

  settled(_exchange: Exchange): void {
    this.#running--
    this.#checkIdle()
  }

  #checkOpen(method: string): void {
    if (this.#closing) throw localError('SERVER_CLOSED', `${method}() was called after close(); make a new server`)
    if (this.#forever)
      throw localError('SERVER_BUSY', `${method}() was called while serveForever() runs; use one of the two`)
  }

  #accept(socket: Socket): void {
    if (this.#forever) {
      this.#connections.add(serveHttp1(socket, this.#application, this.#http))
      return
    }
    if (this.#waiting.size >= WAITING_MAX || this.#closing) {
      socket.destroy()
      return
    }
    const onReadable = (): void => {
      // Readable, but without bytes: the client disconnected before it sent a request.
      if (socket.readableLength === 0) socket.destroy()
      else this.#tryServe(socket)
    }
    const stopWatching = (): void => {
      this.#waiting.delete(socket)
      socket.off('readable', onReadable).off('close', stopWatching)
    }
    this.#waiting.set(socket, stopWatching)
    socket.on('readable', onReadable).on('close', stopWatching)
  }

  /** Serves `socket` if it has sent bytes and a call of `handleRequest` waits. */
  #tryServe(socket: Socket): void {
    const stopWatching = this.#waiting.get(socket)
    if (!stopWatching || socket.readableLength === 0 || this.#handlers.length === 0) return
    stopWatching()
    this.#handlers.shift()!(this.#serveOne(socket))
  }

  /** Resolves when the connection is closed and the application has settled. */
  async #serveOne(socket: Socket): Promise<boolean> {
    const closed = Promise.withResolvers<void>()
    let settled: PromiseWithResolvers<void> | undefined
    const application: Application = (environ, startResponse) => {
      settled = Promise.withResolvers<void>()
      // The one request has begun: no other may follow on this connection.
      connection.drain()
      return this.#application(environ, startResponse)
    }
    const { clock, deadlines, log } = this
    const host: ExchangeHost = {
      clock,
      deadlines,
      log,
      draining: false,
      settled: (exchange) => {
        settled?.resolve()
        this.settled(exchange)
      },
    }
    const onClose = (): void => {
      this.#closed(connection)
      closed.resolve()
    }
    const connection = serveHttp1(socket, application, { ...this.#http, host, onClose })
    this.#connections.add(connection)
    await closed.promise
    await settled?.promise
    return true
  }

  #closed(connection: Http1Connection): void {
    this.#connections.delete(connection)
    this.#checkIdle()
  }

  #checkIdle(): void {
    if (this.#connections.size === 0 && this.#running === 0) this.#onIdle?.()
  }

  /** Stops waiting for an application that ignores its abort, so that `close()` resolves. */
  #abandon(): void {
    this.log.warn(
      { code: 'NOT_SETTLED' satisfies OtherCode, requests: this.#running },
      'the server is closed, but its application has not settled',
    )
    this.#onIdle?.()
  }

  async #close(): Promise<void> {
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve
    })
    const listenerClosed = this.#listener!.close()
    for (const handler of this.#handlers.splice(0)) handler(Promise.resolve(false))
    for (const socket of this.#waiting.keys()) socket.destroy()
    // Connections that the system had already accepted still arrive; `serveForever` serves them.
    await listenerClosed
    this.draining = true
    for (const connection of this.#connections) connection.drain()
    // WebSockets are closed with code 1001 and have until the next call to finish.
    const abort = (): void => {
      const error = new AbortError('DRAIN_TIMEOUT', 'the server closes (drainTimeout)')
      for (const connection of this.#connections) if (!connection.goAway()) connection.abort(error)
    }
    let timer = this.clock.after(this.#drainTimeout, () => {
      abort()
      timer = this.clock.after(GOING_AWAY_GRACE, () => {
        abort()
        timer = this.clock.after(CLOSE_GRACE - GOING_AWAY_GRACE, () => this.#abandon())
      })
    })
    this.#checkIdle()
    await idle
    timer.cancel()
    await lastEvents()
    this.#forever?.resolve()
  }
}

/**
 * An application that answers with a greeting and the request's environ, like wsgiref's demo_app. Do not expose it to
 * strangers: the environ contains the request's headers.
 *
 * @example
 * ```ts
 * import { demoApp, makeServer } from 'gantry/container'
 *
 * await using server = await makeServer('127.0.0.1', 0, demoApp)
 * console.log(server.address)
 * ```
 */
export const demoApp: Application = (environ, startResponse) => {
  const lines = ['Hello world!', '']
  for (const name of Object.keys(environ).sort()) {
    lines.push(`${name} = ${inspect(environ[name], { depth: 0, breakLength: Number.POSITIVE_INFINITY })}`)
  }
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  return [Buffer.from(`${lines.join('\n')}\n`)]
}
