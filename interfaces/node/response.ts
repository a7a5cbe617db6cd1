/**
 * `res`: node's own `ServerResponse`, whose head goes to `startResponse` as it is and not into bytes, and whose body goes
 * to its connection unframed.
 *
 * What is replaced is replaced on the object itself: frameworks put their own prototypes below it (Express does), and a
 * subclass's methods would be gone. All else (implicit heads, `strictContentLength`, write callbacks, 'drain', 'finish',
 * informational responses, the errors of late calls) is node's, and after an abort everything is. It relies on four of
 * its hooks, `_storeHeader`, `_finish`, `assignSocket` and `detachSocket`, the same as test servers and middleware do;
 * a test guards each.
 */

import { channel } from 'node:diagnostics_channel'
import { IncomingMessage, ServerResponse, validateHeaderName, validateHeaderValue } from 'node:http'
import type { Environ, Headers, StartResponse, Write } from '../../protocol/contract/application.ts'
import { endToEnd } from '../../protocol/contract/end-to-end.ts'
import { NEVER_FORWARDED } from '../../protocol/contract/hop-by-hop.ts'
import { statusFromWire } from '../../protocol/contract/response-head.ts'
import type { ConnectionResponse, NodeConnection } from './connection.ts'

/** What `writeHead` hands on: the fields that were set (by key), a flat list, a list of pairs, or an object. */
type GivenHeaders = Record<string, unknown> | unknown[] | undefined | null

/** The parts of `ServerResponse` that its types leave out. */
interface Internals {
  _header: string | null
  _headerSent: boolean
  _contentLength: number | null
  _hasBody: boolean
  _removedContLen: boolean
  _removedTE: boolean
  _trailer: string
  _closed: boolean
  _storeHeader(firstLine: string, headers: GivenHeaders): void
  _finish(): void
  _flush(): void
}

type Response = ServerResponse & Internals & { [STATE]: ResponseState }
/** The dump of a request that nobody reads. */
interface Dumpable {
  [hook: symbol]: (() => void) | undefined
  _consuming: boolean
  _readableState: { resumeScheduled: boolean }
  _dump(): void
}

/** The channels of node's server; the response itself publishes `http.server.response.created`. */
const requestStart = channel('http.server.request.start')
const responseFinish = channel('http.server.response.finish')

/**
 * The abort hook of `req.signal`, where Node has it: a connection that closes after a complete response must not abort
 * the signal.
 */
const DETACH_SIGNAL: symbol | undefined = Object.getOwnPropertySymbols(IncomingMessage.prototype).find(
  ({ description }) => description === 'kDetachAbortSignal',
)

const NodeResponse = ServerResponse.prototype as unknown as Response
const EMPTY: Uint8Array = new Uint8Array(0)
const ignore = (): void => {}

/** What belongs to a response besides what node keeps. */
const STATE: unique symbol = Symbol('state')

/** What its server provides for a response. */
export interface ResponseSettings {
  readonly ServerResponse: new (req: IncomingMessage, options: object) => ServerResponse
  /** Fields sent as one line (`uniqueHeaders`), in lower case. */
  readonly uniqueHeaders: ReadonlySet<string> | undefined
  readonly keepFraming: boolean
}

/**
 * A response to `req` over `connection`. Publishes what node's server publishes about a request before its listeners
 * are called.
 */
export function makeResponse(
  req: IncomingMessage,
  connection: NodeConnection,
  environ: Environ,
  startResponse: StartResponse,
  settings: ResponseSettings,
): ServerResponse {
  const { server } = connection
  const res = new settings.ServerResponse(req, {
    highWaterMark: connection.writableHighWaterMark,
    rejectNonStandardBodyWrites: (server as { rejectNonStandardBodyWrites?: boolean }).rejectNonStandardBodyWrites,
  }) as unknown as Response
  const state = new ResponseState(res, connection, environ, startResponse, settings)
  connection.response = state
  res[STATE] = state
  res._storeHeader = storeHeader
  res._finish = finish
  if (requestStart.hasSubscribers) {
    requestStart.publish({ request: req, response: res, socket: connection, server })
  }
  res.assignSocket(connection as never)
  res.on('finish', finished)
  return res as unknown as ServerResponse
}

class ResponseState implements ConnectionResponse {
  readonly connection: NodeConnection
  readonly environ: Environ
  readonly #res: Response
  readonly #startResponse: StartResponse
  readonly #settings: ResponseSettings
  #write: Write | undefined
  #lengthKnown = false
  /**
   * Whether node would send the body in chunks. The gateway frames the body, so `chunkedEncoding` is set only after the
   * connection is destroyed.
   */
  #chunked = false

  constructor(
    res: Response,
    connection: NodeConnection,
    environ: Environ,
    startResponse: StartResponse,
    settings: ResponseSettings,
  ) {
    this.#res = res
    this.connection = connection
    this.environ = environ
    this.#startResponse = startResponse
    this.#settings = settings
  }

  get started(): boolean {
    return this.#write !== undefined
  }

  storeHeader(firstLine: string, given: GivenHeaders): void {
    // A response that no client gets accepts a head as node's responses do after their connection closed.
    if (this.connection.destroyed || !this.#start(firstLine, given)) {
      NodeResponse._storeHeader.call(this.#res, firstLine, given)
    }
  }

  /** Passes the head to the exchange. False if the exchange refuses it: then the connection is destroyed. */
  #start(firstLine: string, given: GivenHeaders): boolean {
    const res = this.#res
    const { keepFraming, uniqueHeaders } = this.#settings
    // Fields that `setHeader` took were checked by it; a list that `writeHead` alone was given was not.
    const headers = pairsOf(given, res.getHeaderNames().length === 0, uniqueHeaders)
    const length = headers.find(([name]) => name.length === 14 && name.toLowerCase() === 'content-length')
    const kept = endToEnd(headers)
    // As node does for a body that is known whole when the head is made, and for an empty one.
    if (length) {
      this.#lengthKnown = kept.includes(length)
      if (this.#lengthKnown) res._contentLength = Number(length[1])
    } else if (
      res._hasBody &&
      !res._removedContLen &&
      typeof res._contentLength === 'number' &&
      !headers.some(([name]) => announcesMore(name))
    ) {
      kept.push(['Content-Length', String(res._contentLength)])
      this.#lengthKnown = true
    }
    this.#chunked = !length && !this.#lengthKnown && res._hasBody && !res._removedTE && res.useChunkedEncodingByDefault
    // The exchange would take an answer to HEAD without a length for one of none.
    this.connection.joinable = this.#lengthKnown || (!keepFraming && this.environ.REQUEST_METHOD !== 'HEAD')
    try {
      // `HTTP/1.1 200 OK\r\n` → `200 OK`.
      this.#write = this.#startResponse(statusFromWire(firstLine.slice(9, -2)), kept)
    } catch (error) {
      // An abort that the connection has not seen yet, or a head that node sends and the contract refuses (status
      // 999): the caller may be a timer or an event, where node never throws. The exchange answers and logs.
      this.connection.fail(error)
      return false
    }
    // "Sent": nothing of it is to be written before the body's first chunk. Truthy: `headersSent` is this.
    res._header = firstLine
    res._headerSent = true
    return true
  }

  finish(): void {
    if (!this.#write) return
    const { _trailer: trailer } = this.#res
    if (trailer !== '' && !this.#lengthKnown) this.environ.gantry.trailers(() => trailersOf(trailer))
    this.connection.responded()
  }

  flush(): void {
    void this.#write?.(EMPTY).catch(ignore)
  }

  /** Node's own `_flush` emits 'drain' where it is due. */
  drained(): void {
    const res = this.#res
    if (!res.writableNeedDrain || res.writableLength > 0) return
    res._flush()
  }

  /** Late calls behave as in node, where the end of a chunked body is another write. */
  closed(): void {
    if (this.#chunked) this.#res.chunkedEncoding = true
  }

  timedOut(): boolean {
    return this.#res.emit('timeout', this.connection)
  }
}

// One function each for all responses: a closure for each would cost every request (see lazy-duplex.ts, too).

function storeHeader(this: Response, firstLine: string, given: GivenHeaders): void {
  this[STATE].storeHeader(firstLine, given)
}

function finish(this: Response): void {
  NodeResponse._finish.call(this)
  this[STATE].finish()
}

/** What node's server does when a response was handed over (its resOnFinish). */
function finished(this: Response): void {
  const { connection } = this[STATE]
  // Once, whoever emits.
  if ((this.socket as unknown) !== connection) return
  const request = this.req as IncomingMessage & Dumpable
  if (responseFinish.hasSubscribers) {
    responseFinish.publish({ request, response: this, socket: connection, server: connection.server })
  }
  if (DETACH_SIGNAL) request[DETACH_SIGNAL]?.()
  if (!request._consuming && !request._readableState.resumeScheduled) request._dump()
  this.detachSocket(connection as never)
  process.nextTick(closed, this)
}

function closed(res: Response): void {
  if (res._closed) return
  res.destroyed = true
  res._closed = true
  res.emit('close')
  res[STATE].connection.over()
}

function announcesMore(name: string): boolean {
  const lower = name.toLowerCase()
  return lower === 'trailer' || lower === 'transfer-encoding'
}

/** Fields as a list of pairs, in node's order: one for each value of a list, but for cookies of a request. */
function pairsOf(given: GivenHeaders, check: boolean, unique: ReadonlySet<string> | undefined): Headers {
  const headers: Headers = []
  if (!given) return headers
  const add = (name: string, value: unknown): void => {
    if (Array.isArray(value)) {
      if (unique?.has(name.toLowerCase())) add(name, value.join('; '))
      else for (const one of value) add(name, one)
      return
    }
    if (check) {
      validateHeaderName(name)
      validateHeaderValue(name, value as string)
    }
    headers.push([name, String(value)])
  }
  if (Array.isArray(given)) {
    if (Array.isArray(given[0])) for (const [name, value] of given as [string, unknown][]) add(name, value)
    else {
      if (given.length % 2 !== 0) {
        throw Object.assign(new TypeError('headers: a flat list holds a value for each name'), {
          code: 'ERR_INVALID_ARG_VALUE',
        })
      }
      for (let at = 0; at < given.length; at += 2) add(given[at] as string, given[at + 1])
    }
  } else if (check) {
    for (const name of Object.keys(given)) add(name, given[name])
  } else {
    for (const key in given) {
      const [name, value] = given[key] as [string, unknown]
      add(name, value)
    }
  }
  return headers
}

/** Trailer fields as node gathers them: lines. What may not be a trailer is left out (RFC 9110 §6.5.1). */
function trailersOf(lines: string): Headers {
  const fields: Headers = []
  for (const line of lines.split('\r\n')) {
    const colon = line.indexOf(': ')
    if (colon <= 0) continue
    const name = line.slice(0, colon)
    const lower = name.toLowerCase()
    if (!NEVER_FORWARDED.has(lower) && lower !== 'content-length') fields.push([name, line.slice(colon + 2)])
  }
  return fields
}
