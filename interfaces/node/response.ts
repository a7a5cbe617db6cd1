/**
 * `res`: Node's own `ServerResponse`. Its head goes to `startResponse` without being serialised, and its body goes to
 * the connection unframed. Everything else is Node's: implicit heads, `strictContentLength`, write callbacks, 'drain',
 * 'finish', informational responses, and errors of late calls.
 */

import { channel } from 'node:diagnostics_channel'
import { IncomingMessage, ServerResponse, validateHeaderName, validateHeaderValue } from 'node:http'
import type { Environ, Headers, StartResponse, Write } from '../../protocol/contract/application.ts'
import { endToEnd } from '../../protocol/contract/end-to-end.ts'
import { NEVER_FORWARDED } from '../../protocol/contract/hop-by-hop.ts'
import { statusFromWire } from '../../protocol/contract/response-head.ts'
import type { ConnectionResponse, NodeConnection } from './connection.ts'

/** What `writeHead` passes on: the fields that were set (by key), a flat list, a list of pairs, or an object. */
type HeadersArgument = Record<string, unknown> | unknown[] | undefined | null

/** The parts of `ServerResponse` that its types lack. */
interface ResponseInternals {
  _header: string | null
  _headerSent: boolean
  _contentLength: number | null
  _hasBody: boolean
  _removedContLen: boolean
  _removedTE: boolean
  _trailer: string
  _closed: boolean
  _storeHeader(firstLine: string, headers: HeadersArgument): void
  _finish(): void
  _flush(): void
}

type Response = ServerResponse & ResponseInternals & { [STATE]: NodeResponseState }
/** Node's internals to dump a request that was not read. */
interface RequestInternals {
  [hook: symbol]: (() => void) | undefined
  _consuming: boolean
  _readableState: { resumeScheduled: boolean }
  _dump(): void
}

/** The channels of Node's server; the response itself publishes `http.server.response.created`. */
const requestStart = channel('http.server.request.start')
const responseFinish = channel('http.server.response.finish')

/**
 * The abort hook of `req.signal`, if Node has it: a connection that closes after a complete response must not abort the
 * signal.
 */
const DETACH_SIGNAL: symbol | undefined = Object.getOwnPropertySymbols(IncomingMessage.prototype).find(
  ({ description }) => description === 'kDetachAbortSignal',
)

const NodeResponse = ServerResponse.prototype as unknown as Response
const EMPTY: Uint8Array = new Uint8Array(0)
const ignore = (): void => {}

/** Gantry's state of a response, in addition to Node's. */
const STATE: unique symbol = Symbol('state')

/** What its server provides for a response. */
export interface ResponseSettings {
  readonly ServerResponse: new (req: IncomingMessage, options: object) => ServerResponse
  /** Fields sent as one line (`uniqueHeaders`), in lower case. */
  readonly uniqueHeaders: ReadonlySet<string> | undefined
  readonly keepFraming: boolean
}

/**
 * Makes a response to `req` over `connection`. Publishes what Node's server publishes about a request before its
 * listeners are called.
 *
 * The methods are replaced on the object itself: frameworks put their own prototypes below it (Express does), and
 * methods of a subclass would be lost. Four hooks of Node are used, as test servers and middleware use them:
 * `_storeHeader`, `_finish`, `assignSocket` and `detachSocket`. A test guards each.
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
  const state = new NodeResponseState(res, connection, environ, startResponse, settings)
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

class NodeResponseState implements ConnectionResponse {
  readonly connection: NodeConnection
  readonly environ: Environ
  readonly #res: Response
  readonly #startResponse: StartResponse
  readonly #settings: ResponseSettings
  #write: Write | undefined
  #lengthKnown = false
  /**
   * Whether Node would send the body in chunks. The gateway frames the body, so `chunkedEncoding` is set only after the
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

  storeHeader(firstLine: string, headersArgument: HeadersArgument): void {
    // A response without a client accepts a head as Node's responses do after their connection closed.
    if (this.connection.destroyed || !this.#start(firstLine, headersArgument)) {
      NodeResponse._storeHeader.call(this.#res, firstLine, headersArgument)
    }
  }

  /**
   * Passes the head to the exchange. Returns false if the exchange refuses the head: then the connection is destroyed.
   */
  #start(firstLine: string, headersArgument: HeadersArgument): boolean {
    const res = this.#res
    const { keepFraming, uniqueHeaders } = this.#settings
    // `setHeader` has checked its fields; a list that only `writeHead` got is not checked yet.
    const headers = pairsOf(headersArgument, res.getHeaderNames().length === 0, uniqueHeaders)
    const length = headers.find(([name]) => name.length === 14 && name.toLowerCase() === 'content-length')
    const kept = endToEnd(headers)
    // As Node does for a body that is complete when the head is made, and for an empty one.
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
    // The exchange would treat a response to HEAD without a length as one with an empty body.
    this.connection.joinable = this.#lengthKnown || (!keepFraming && this.environ.REQUEST_METHOD !== 'HEAD')
    try {
      // `HTTP/1.1 200 OK\r\n` → `200 OK`.
      this.#write = this.#startResponse(statusFromWire(firstLine.slice(9, -2)), kept)
    } catch (error) {
      // An abort that the connection has not seen yet, or a head that Node sends and the contract refuses (status 999).
      // The caller may be a timer or an event, where Node never throws. The exchange answers and logs.
      this.connection.fail(error)
      return false
    }
    // Nothing of the head is written before the body's first chunk. The value must be truthy: `headersSent` tests it.
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

  /** Node's own `_flush` emits 'drain' if a writer waits for it. */
  drained(): void {
    const res = this.#res
    if (!res.writableNeedDrain || res.writableLength > 0) return
    res._flush()
  }

  /** Late calls behave as in Node, where the end of a chunked body is another write. */
  closed(): void {
    if (this.#chunked) this.#res.chunkedEncoding = true
  }

  timedOut(): boolean {
    return this.#res.emit('timeout', this.connection)
  }
}

// One function for all responses: a closure would cost time for each request (and see `../README.md`).

function storeHeader(this: Response, firstLine: string, headersArgument: HeadersArgument): void {
  this[STATE].storeHeader(firstLine, headersArgument)
}

function finish(this: Response): void {
  NodeResponse._finish.call(this)
  this[STATE].finish()
}

/** Does what Node's server does when a response was handed over (its resOnFinish). */
function finished(this: Response): void {
  const { connection } = this[STATE]
  // Only once, whoever emits 'finish'.
  if ((this.socket as unknown) !== connection) return
  const request = this.req as IncomingMessage & RequestInternals
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

/**
 * Fields as a list of pairs, in Node's order: one pair for each value of a list, except for fields that are sent as one
 * line.
 */
function pairsOf(headersArgument: HeadersArgument, check: boolean, unique: ReadonlySet<string> | undefined): Headers {
  const headers: Headers = []
  if (!headersArgument) return headers
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
  if (Array.isArray(headersArgument)) {
    if (Array.isArray(headersArgument[0]))
      for (const [name, value] of headersArgument as [string, unknown][]) add(name, value)
    else {
      if (headersArgument.length % 2 !== 0) {
        throw Object.assign(new TypeError('headers: a flat list holds a value for each name'), {
          code: 'ERR_INVALID_ARG_VALUE',
        })
      }
      for (let at = 0; at < headersArgument.length; at += 2) add(headersArgument[at] as string, headersArgument[at + 1])
    }
  } else if (check) {
    for (const name of Object.keys(headersArgument)) add(name, headersArgument[name])
  } else {
    for (const key in headersArgument) {
      const [name, value] = headersArgument[key] as [string, unknown]
      add(name, value)
    }
  }
  return headers
}

/**
 * Trailer fields, from the lines that Node collects. Fields that must not be trailers are left out (RFC 9110 §6.5.1).
 */
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
