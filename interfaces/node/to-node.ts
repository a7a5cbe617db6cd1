/**
 * Runs an application as a Node `(req, res)` listener, for Express, `http.createServer`, or any framework that passes
 * these on. `response-sink.ts` sends the response, `body-source.ts` reads the request's body, and `exchange.ts` has the
 * rules. Trusts no header field about the client.
 */

import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Application, Environ } from '../../protocol/contract/application.ts'
import { environFromHttp, type ProcessFacts } from '../../protocol/contract/environ.ts'
import { AbortError, RemoteProtocolError } from '../../protocol/contract/errors.ts'
import { Exchange, type ExchangeHost } from '../../protocol/contract/exchange.ts'
import { shown } from '../../protocol/contract/response-head.ts'
import { statusPage } from '../../protocol/contract/status-page.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { stderrLog } from '../../protocol/log/stderr-log.ts'
import { type Clock, Deadlines, systemClock } from '../../protocol/net/clock.ts'
import { NodeBodySource } from './body-source.ts'
import { NodeResponseSink } from './response-sink.ts'

/** Options of `toNode`. */
export interface ToNodeOptions {
  /**
   * Gets what applications write to `wsgi.errors`, and failures of the application. Default: lines on standard error.
   */
  readonly log?: Logger | undefined
  /** Default: the system's clock. */
  readonly clock?: Clock | undefined
}

/** A listener for `http.createServer`, the 'request' and 'checkContinue' events of a server, and Express's `use`. */
export interface ApplicationListener {
  (req: IncomingMessage, res: ServerResponse): void
  /**
   * Handles a server's 'upgrade' event: the application gets the upgrade. A response other than 101 is sent, and the
   * connection is closed after it. Without this listener an application gets such a request as an ordinary one, as
   * Node's servers do without an 'upgrade' listener.
   */
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void
}

/** The surrounding server may serve other requests meanwhile, and in other processes. */
const FACTS: ProcessFacts = { multithread: true, multiprocess: true, runOnce: false }

/**
 * Returns a Node listener that calls an application.
 *
 * - Mounted at a path in Express, SCRIPT_NAME is `req.baseUrl`, and PATH_INFO is the rest.
 * - Fields that were set on `res` before are kept; fields of the application replace them, and its cookies are added.
 * - If other code has read the request's body before, reading it in the application fails: mount the listener before
 *   body parsers.
 * - Forwarded fields are passed on unchanged; wrap the application in `forwarded` to resolve or remove them.
 * - If the application throws, the response is 500 and the error is logged; `next` is never called.
 *
 * @param application the application to call
 * @param options the log and the clock
 * @throws TypeError if the application is not a function
 * @example
 * ```ts
 * import { createServer } from 'node:http'
 * import { type Application, toNode } from 'gantry'
 *
 * const application: Application = (environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [Buffer.from(`Hello ${environ.PATH_INFO}\n`)]
 * }
 * const listener = toNode(application)
 * const server = createServer(listener).on('upgrade', listener.upgrade)
 * server.listen(3000)
 * ```
 */
export function toNode(application: Application, options: ToNodeOptions = {}): ApplicationListener {
  if (typeof application !== 'function') {
    throw new TypeError(
      `toNode: expected an application, a function of (environ, startResponse), got ${shown(application)}`,
    )
  }
  const { log = stderrLog(), clock = systemClock } = options
  const host: ExchangeHost = { clock, log, deadlines: new Deadlines(clock), draining: false, settled() {} }
  const serve = (req: IncomingMessage, res: ServerResponse, upgraded: (() => Duplex) | undefined): void => {
    const source = new NodeBodySource(req, res)
    const sink = new NodeResponseSink(req, res, upgraded)
    let environ: Environ
    try {
      environ = environOf(req, upgraded !== undefined)
    } catch (error) {
      refuse(error, req, sink, host)
      return
    }
    const exchange = new Exchange(application, environ, source.input, sink, host)
    // Not assigned as a function literal: `../README.md` explains why.
    const resume = (): void => exchange.resume()
    sink.onDrain = resume
    // One handler for every end: a complete response is finished before, and aborting it has no effect.
    res.once('close', () => {
      const disconnected = new AbortError('CLIENT_GONE', 'the client disconnected')
      exchange.abort(disconnected)
      source.abort(disconnected)
    })
    exchange.run()
  }
  const listener = (req: IncomingMessage, res: ServerResponse): void => serve(req, res, undefined)
  const upgrade = (req: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const res = new ServerResponse(req)
    res.shouldKeepAlive = false
    res.assignSocket(socket as Socket)
    res.once('finish', () => {
      res.detachSocket(socket as Socket)
      socket.end()
    })
    // Node has removed its own handler, and a reset must not end the process.
    socket.on('error', ignore)
    serve(req, res, () => {
      res.detachSocket(socket as Socket)
      if (head.length > 0) socket.unshift(head)
      return socket
    })
  }
  return Object.assign(listener, { upgrade })
}

/** What Express and Connect add to a request. */
interface MountedRequest {
  readonly baseUrl?: string
  readonly originalUrl?: string
}

/** @throws RemoteProtocolError if the path is invalid */
function environOf(req: IncomingMessage & MountedRequest, upgrade: boolean): Environ {
  const { socket, url = '/', originalUrl = url } = req
  const encrypted = (socket as { encrypted?: boolean }).encrypted === true
  const scheme = encrypted ? 'https' : 'http'
  const base = req.baseUrl ?? prefixOf(originalUrl, url)
  // A router leaves a slash if nothing else is left.
  const rest = base !== '' && withoutQuery(originalUrl) === base ? url.slice(1) : url
  const environ = environFromHttp(
    {
      method: req.method ?? 'GET',
      target: base === '' ? url : `${base}${rest}`,
      minor: req.httpVersionMinor === 0 ? 0 : 1,
      headers: req.rawHeaders,
      upgrade,
    },
    {
      remoteAddress: socket.remoteAddress ?? '',
      remotePort: String(socket.remotePort ?? ''),
      serverName: socket.localAddress || 'localhost',
      serverPort: String(socket.localPort || (encrypted ? 443 : 80)),
      scheme,
    },
    FACTS,
  )
  if (base !== '') {
    const { length } = decodeBytes(base)
    environ.SCRIPT_NAME = environ.PATH_INFO.slice(0, length)
    environ.PATH_INFO = environ.PATH_INFO.slice(length)
  }
  environ.REQUEST_URI = originalUrl
  return environ
}

/** The prefix that was removed from `whole`: Connect removes it without setting `baseUrl`. */
function prefixOf(whole: string, rest: string): string {
  if (whole === rest) return ''
  if (whole.endsWith(rest)) return whole.slice(0, -rest.length)
  // Connect changes `/api?x` to `/?x`.
  const bare = rest.slice(1)
  return bare !== rest && whole.endsWith(bare) ? whole.slice(0, whole.length - bare.length) : ''
}

function withoutQuery(target: string): string {
  const question = target.indexOf('?')
  return question === -1 ? target : target.slice(0, question)
}

function decodeBytes(path: string): string {
  return path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

/** Answers a request that cannot become an environ. */
function refuse(error: unknown, req: IncomingMessage, sink: NodeResponseSink, host: ExchangeHost): void {
  if (!(error instanceof RemoteProtocolError)) throw error
  host.log.warn({ code: error.code }, error.message)
  const environ = environFromHttp(
    { method: req.method ?? 'GET', target: '/', minor: 1, headers: [], upgrade: false },
    { remoteAddress: '', remotePort: '', serverName: 'localhost', serverPort: '80', scheme: 'http' },
    FACTS,
  )
  const application = statusPage(error.status)
  new Exchange(application, environ, new NodeBodySource(req).input, sink, host).run()
}

function ignore(): void {}
