/**
 * An application as a Node `(req, res)` listener: to mount it in Express, in `http.createServer`, or in any framework that hands these on.
 * The rules of a response are the exchange's; how it leaves through a ServerResponse is `response-sink.ts`, how a request's body comes in is
 * `body-source.ts`. This file makes the environ, and believes no header about the client.
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
import { BodySource } from './body-source.ts'
import { NodeResponseSink } from './response-sink.ts'

export interface ToNodeOptions {
  /** Takes what goes to `wsgi.errors`, and failures of the application. Default: lines on standard error. */
  readonly log?: Logger | undefined
  /** Default: the system's. */
  readonly clock?: Clock | undefined
}

/** What `http.createServer`, a server's 'request' and 'checkContinue' events and Express's `use` take. */
export interface ApplicationListener {
  (req: IncomingMessage, res: ServerResponse): void
  /**
   * For a server's 'upgrade' event: the application gets the upgrade, and what it answers other than 101 is sent as a response, after
   * which the connection is closed. Without it an application sees such a request as an ordinary one, as node's servers do where
   * nobody listens for upgrades.
   */
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void
}

/** Whoever it is mounted in may serve other requests meanwhile, and in other processes. */
const FACTS: ProcessFacts = { multithread: true, multiprocess: true, runOnce: false }

/**
 * The listener that calls `application`.
 *
 * Mounted at a path in Express, SCRIPT_NAME is `req.baseUrl` and PATH_INFO the rest. Header fields that were set on
 * `res` before stay, those that the application sets replace them; cookies are added. A request whose body somebody has
 * read before fails when the application reads: mount it before body parsers. Forwarded fields are passed on unchanged;
 * wrap the application in `forwarded` to resolve or remove them. An application that throws answers 500 and is logged;
 * `next` is never called.
 *
 * @throws TypeError for an application that is no function
 */
export function toNode(application: Application, options: ToNodeOptions = {}): ApplicationListener {
  if (typeof application !== 'function') {
    throw new TypeError(
      `toNode takes an application, a function of environ and startResponse, and got ${shown(application)}`,
    )
  }
  const { log = stderrLog(), clock = systemClock } = options
  const host: ExchangeHost = { clock, log, deadlines: new Deadlines(clock), draining: false, settled() {} }
  const serve = (req: IncomingMessage, res: ServerResponse, upgraded: (() => Duplex) | undefined): void => {
    const source = new BodySource(req, res)
    const sink = new NodeResponseSink(req, res, upgraded)
    let environ: Environ
    try {
      environ = environOf(req, upgraded !== undefined)
    } catch (error) {
      refuse(error, req, sink, host)
      return
    }
    const exchange = new Exchange(application, environ, source.input, sink, host)
    // Not assigned as a literal, which V8 takes for a method of something old: it would keep the exchange until a full collection.
    const room = (): void => exchange.resume()
    sink.room = room
    // Once for all ends: a response that is whole is finished before, and an abort of it does nothing.
    res.once('close', () => {
      const gone = new AbortError('CLIENT_GONE', 'the client disconnected')
      exchange.abort(gone)
      source.gone(gone)
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
    // Node has taken its own handler away, and a reset must not end the process.
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
interface Mounted {
  readonly baseUrl?: string
  readonly originalUrl?: string
}

/** @throws RemoteProtocolError for a path that is none */
function environOf(req: IncomingMessage & Mounted, upgrade: boolean): Environ {
  const { socket, url = '/', originalUrl = url } = req
  const encrypted = (socket as { encrypted?: boolean }).encrypted === true
  const scheme = encrypted ? 'https' : 'http'
  const base = req.baseUrl ?? prefixOf(originalUrl, url)
  // A router leaves a slash where nothing is left.
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

/** What was taken off the front of `whole`, as Connect does without saying so. */
function prefixOf(whole: string, rest: string): string {
  if (whole === rest) return ''
  if (whole.endsWith(rest)) return whole.slice(0, -rest.length)
  // `/api?x` was made `/?x`.
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

/** What is no request that an application can be given. */
function refuse(error: unknown, req: IncomingMessage, sink: NodeResponseSink, host: ExchangeHost): void {
  if (!(error instanceof RemoteProtocolError)) throw error
  host.log.warn({ code: error.code }, error.message)
  const environ = environFromHttp(
    { method: req.method ?? 'GET', target: '/', minor: 1, headers: [], upgrade: false },
    { remoteAddress: '', remotePort: '', serverName: 'localhost', serverPort: '80', scheme: 'http' },
    FACTS,
  )
  const application = statusPage(error.status)
  new Exchange(application, environ, new BodySource(req).input, sink, host).run()
}

function ignore(): void {}
