/**
 * A server of one application on one HTTP port, in the shape of wsgiref.simple_server: for tests, tools and a first look. It has no
 * workers, slots, frames or access log; `gantry container` has. The HTTP is the same.
 *
 * Connections are taken by the system and by this server at once, but nothing of them is answered until `handleRequest` or
 * `serveForever` asks for it.
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

export interface SimpleServerOptions {
  /** Takes failures and `wsgi.errors`. Default: lines on standard error, as wsgiref's. */
  readonly log?: Logger
  /** Sizes in bytes; defaults as a container's. */
  readonly limits?: Partial<Http1Limits>
  /** Milliseconds; defaults as a container's. */
  readonly timeouts?: Partial<Http1Timeouts>
  /** How long `close()` lets running requests finish before they are aborted, ms. Default 10 s, as `docker stop` waits. */
  readonly drainTimeout?: number
}

export interface SimpleServer extends AsyncDisposable {
  /** The port, also where 0 was asked for. */
  readonly serverPort: number
  readonly address: { readonly host: string; readonly port: number }
  /**
   * Serves until `close()`, and resolves with it.
   *
   * @throws LocalProtocolError when it does already, or is closed
   */
  serveForever(): Promise<void>
  /**
   * Serves exactly one request, of the connection whose bytes came first, and ends that connection. A request that is refused (414, 400)
   * counts as one; a connection on which nothing is sent does not. Resolves with true once the answer has left and the application is
   * done with it, with false when the server was closed before a request came.
   *
   * @throws LocalProtocolError when serveForever runs
   */
  handleRequest(): Promise<boolean>
  /**
   * Takes nothing new, lets what runs finish within `drainTimeout`, and resolves when all is closed. Of an application that does not end within
   * 5 s after it was aborted no more is waited for. Again: the same.
   */
  close(): Promise<void>
}

const DRAIN_TIMEOUT = 10_000
/** Connections that wait for `handleRequest`, above which new ones are closed: what systems allowed as a backlog for long. */
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
 * Listens on `host` and `port` for `application`.
 *
 * @param host a name or address; `''` is every interface
 * @param port 0: one that the system chooses
 * @throws TypeError for a port or an option that is none, ListenError where nobody can listen
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
  const server = new Server(host, application, options, drainTimeout)
  await server.listen(port)
  return server
}

class Server implements SimpleServer, ExchangeHost {
  readonly clock: typeof systemClock = systemClock
  readonly deadlines: Deadlines = new Deadlines(systemClock)
  readonly log: Logger
  draining = false
  readonly #host: string
  readonly #application: Application
  readonly #http: Http1Options
  readonly #drainTimeout: number
  #listener: Listener | undefined
  /** Connections that nobody serves yet, oldest first, and what stops watching each. */
  readonly #waiting: Map<Socket, () => void> = new Map()
  /** Who waits for a request. */
  readonly #handlers: ((served: Promise<boolean>) => void)[] = []
  readonly #connections: Set<Http1Connection> = new Set()
  /** Requests that the application is not done with. */
  #running = 0
  #forever: PromiseWithResolvers<void> | undefined
  #closing: Promise<void> | undefined
  #calmed: (() => void) | undefined

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
    this.#listener = await listen(address, { log: this.log }, (socket) => this.#came(socket))
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
    for (const [socket, leave] of this.#waiting) {
      leave()
      this.#connections.add(serveHttp1(socket, this.#application, this.#http))
    }
    await this.#forever.promise
  }

  async handleRequest(): Promise<boolean> {
    this.#checkOpen('handleRequest')
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#handlers.push(resolve)
    for (const socket of this.#waiting.keys()) this.#look(socket)
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
    this.#calm()
  }

  #checkOpen(method: string): void {
    if (this.#closing) throw localError('SERVER_CLOSED', `${method}() was called after close(); make a new server`)
    if (this.#forever)
      throw localError('SERVER_BUSY', `${method}() was called while serveForever() runs; use one of the two`)
  }

  #came(socket: Socket): void {
    if (this.#forever) {
      this.#connections.add(serveHttp1(socket, this.#application, this.#http))
      return
    }
    if (this.#waiting.size >= WAITING_MAX || this.#closing) {
      socket.destroy()
      return
    }
    const look = (): void => {
      // Readable, and nothing to read: it left before it asked for anything.
      if (socket.readableLength === 0) socket.destroy()
      else this.#look(socket)
    }
    const leave = (): void => {
      this.#waiting.delete(socket)
      socket.off('readable', look).off('close', leave)
    }
    this.#waiting.set(socket, leave)
    socket.on('readable', look).on('close', leave)
  }

  /** Serves `socket` if it has brought something, and somebody waits for that. */
  #look(socket: Socket): void {
    const leave = this.#waiting.get(socket)
    if (!leave || socket.readableLength === 0 || this.#handlers.length === 0) return
    leave()
    this.#handlers.shift()!(this.#serveOne(socket))
  }

  /** Resolves when the connection is closed, and the application done with its request. */
  async #serveOne(socket: Socket): Promise<boolean> {
    const closed = Promise.withResolvers<void>()
    let settled: PromiseWithResolvers<void> | undefined
    const application: Application = (environ, startResponse) => {
      settled = Promise.withResolvers<void>()
      // It has begun: nothing may follow it on this connection.
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
    this.#calm()
  }

  #calm(): void {
    if (this.#connections.size === 0 && this.#running === 0) this.#calmed?.()
  }

  /** An application that heeds no abort: whoever closes is not held by it for ever. */
  #abandon(): void {
    this.log.warn(
      { code: 'NOT_SETTLED' satisfies OtherCode, requests: this.#running },
      'the server is closed, and its application not done',
    )
    this.#calmed?.()
  }

  async #close(): Promise<void> {
    const calm = new Promise<void>((resolve) => {
      this.#calmed = resolve
    })
    const quiet = this.#listener!.close()
    for (const handler of this.#handlers.splice(0)) handler(Promise.resolve(false))
    for (const socket of this.#waiting.keys()) socket.destroy()
    // What the system had taken already still comes, and is served if somebody serves at all.
    await quiet
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
    this.#calm()
    await calm
    timer.cancel()
    await lastEvents()
    this.#forever?.resolve()
  }
}

/** Says hello and shows the request's environ, to whoever asks: wsgiref's demo_app. Not for where strangers can ask. */
export const demoApp: Application = (environ, startResponse) => {
  const lines = ['Hello world!', '']
  for (const name of Object.keys(environ).sort()) {
    lines.push(`${name} = ${inspect(environ[name], { depth: 0, breakLength: Number.POSITIVE_INFINITY })}`)
  }
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  return [Buffer.from(`${lines.join('\n')}\n`)]
}
