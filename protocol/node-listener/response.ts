/**
 * `res`: node's own `ServerResponse`, whose head goes to `startResponse` as it is and not into bytes, and whose body goes
 * to its connection unframed.
 *
 * What is replaced is replaced on the object itself: frameworks put their own prototypes below it (Express does), and a
 * subclass's methods would be gone. All else (implicit heads, `strictContentLength`, write callbacks, 'drain', 'finish',
 * the errors of late calls) is node's. It relies on four of its hooks, `_storeHeader`, `_finish`, `assignSocket` and
 * `detachSocket`, the same as test servers and middleware do; a test guards each.
 */

import { type IncomingMessage, ServerResponse, validateHeaderName, validateHeaderValue } from 'node:http'
import type { Environ, Headers, StartResponse, Write } from '../application.ts'
import { endToEnd } from '../end-to-end.ts'
import { NEVER_FORWARDED } from '../hop-by-hop.ts'
import { statusFromWire } from '../response-head.ts'
import type { Answering, Connection } from './connection.ts'

/** What `writeHead` hands on: the fields that were set (by key), a flat list, a list of pairs, or an object. */
type GivenHeaders = Record<string, unknown> | unknown[] | undefined | null

/** The parts of `ServerResponse` that its types leave out. */
interface Internals {
  _header: string | null
  _headerSent: boolean
  _contentLength: number | null
  _hasBody: boolean
  _removedContLen: boolean
  _trailer: string
  _closed: boolean
  _storeHeader(firstLine: string, headers: GivenHeaders): void
  _finish(): void
  _flush(): void
}

type Response = Omit<ServerResponse, 'writeInformation'> & Internals & { writeInformation: Inform; [REPLY]: Reply }
type Inform = (code: number, headers?: GivenHeaders, callback?: () => void) => void
/** The dump of a request that nobody reads. */
interface Dumpable {
  _consuming: boolean
  _readableState: { resumeScheduled: boolean }
  _dump(): void
}

const NodeResponse = ServerResponse.prototype as unknown as Response
const EMPTY: Uint8Array = new Uint8Array(0)
const ignore = (): void => {}

/** What belongs to a response besides what node keeps. */
const REPLY: unique symbol = Symbol('reply')

/** A response to `req` over `connection`. */
export function makeResponse(
  req: IncomingMessage,
  connection: Connection,
  environ: Environ,
  startResponse: StartResponse,
  keepFraming: boolean,
): ServerResponse {
  const res = new ServerResponse(req) as unknown as Response
  const reply = new Reply(res, connection, environ, startResponse, keepFraming)
  connection.response = reply
  res[REPLY] = reply
  res._storeHeader = storeHeader
  res._finish = finish
  res.writeInformation = writeInformation
  res.writeContinue = writeContinue
  res.writeProcessing = writeProcessing
  res.writeEarlyHints = writeEarlyHints
  res.on('finish', finished)
  res.assignSocket(connection as never)
  return res as unknown as ServerResponse
}

class Reply implements Answering {
  readonly connection: Connection
  readonly environ: Environ
  readonly #res: Response
  readonly #startResponse: StartResponse
  readonly #keepFraming: boolean
  #write: Write | undefined
  #lengthKnown = false

  constructor(
    res: Response,
    connection: Connection,
    environ: Environ,
    startResponse: StartResponse,
    keepFraming: boolean,
  ) {
    this.#res = res
    this.connection = connection
    this.environ = environ
    this.#startResponse = startResponse
    this.#keepFraming = keepFraming
  }

  storeHeader(firstLine: string, given: GivenHeaders): void {
    const res = this.#res
    // Fields that `setHeader` took were checked by it; a list that `writeHead` alone was given was not.
    const headers = pairsOf(given, res.getHeaderNames().length === 0)
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
    // The exchange would take an answer to HEAD without a length for one of none.
    this.connection.joinable = this.#lengthKnown || (!this.#keepFraming && this.environ.REQUEST_METHOD !== 'HEAD')
    // `HTTP/1.1 200 OK\r\n` → `200 OK`.
    this.#write = this.#startResponse(statusFromWire(firstLine.slice(9, -2)), kept)
    // "Sent": nothing of it is to be written before the body's first chunk. Truthy: `headersSent` is this.
    res._header = firstLine
    res._headerSent = true
  }

  finish(): void {
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

  timedOut(): boolean {
    return this.#res.emit('timeout', this.connection)
  }
}

// One function each for all responses: a closure for each would cost every request (see lazy-duplex.ts, too).

function storeHeader(this: Response, firstLine: string, given: GivenHeaders): void {
  this[REPLY].storeHeader(firstLine, given)
}

function finish(this: Response): void {
  NodeResponse._finish.call(this)
  this[REPLY].finish()
}

function writeInformation(this: Response, code: number, headers?: GivenHeaders, callback?: () => void): void {
  if (this._header) {
    throw Object.assign(new Error('Cannot write headers after they are sent to the client'), {
      code: 'ERR_HTTP_HEADERS_SENT',
    })
  }
  // 100 is the gateway's, sent when the request is first read; 102 has no reader left (RFC 4918 dropped it).
  if (code === 103) this[REPLY].environ.gantry.earlyHints(endToEnd(pairsOf(headers, true)))
  if (callback) process.nextTick(callback)
}

function writeContinue(this: Response, callback?: () => void): void {
  this.writeInformation(100, null, callback)
}

function writeProcessing(this: Response, callback?: () => void): void {
  this.writeInformation(102, null, callback)
}

function writeEarlyHints(this: Response, hints: object, callback?: () => void): void {
  if (typeof hints !== 'object' || hints === null) {
    throw Object.assign(new TypeError('The "hints" argument must be of type object'), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  const { link, ...others } = hints as Record<string, unknown>
  const links = Array.isArray(link) ? link.join(', ') : link
  if (links !== undefined && links !== null && links !== '') {
    this.writeInformation(103, { Link: links, ...others }, callback)
  }
}

/** What node's server does when a response was handed over (its resOnFinish). */
function finished(this: Response): void {
  const { connection } = this[REPLY]
  // Once, whoever emits.
  if ((this.socket as unknown) !== connection) return
  const request = this.req as IncomingMessage & Dumpable
  if (!request._consuming && !request._readableState.resumeScheduled) request._dump()
  this.detachSocket(connection as never)
  process.nextTick(closed, this)
}

function closed(res: Response): void {
  if (res._closed) return
  res.destroyed = true
  res._closed = true
  res.emit('close')
}

function announcesMore(name: string): boolean {
  const lower = name.toLowerCase()
  return lower === 'trailer' || lower === 'transfer-encoding'
}

/** Fields as a list of pairs, in node's order: one for each value of a list, but for cookies of a request. */
function pairsOf(given: GivenHeaders, check: boolean): Headers {
  const headers: Headers = []
  if (!given) return headers
  const add = (name: string, value: unknown): void => {
    if (Array.isArray(value)) {
      for (const one of value) add(name, one)
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
