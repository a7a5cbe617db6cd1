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
import type { Connection } from './connection.ts'

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

type Response = Omit<ServerResponse, 'writeInformation'> & Internals & { writeInformation: Inform }
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

/** A response to `req` over `connection`. */
export function makeResponse(
  req: IncomingMessage,
  connection: Connection,
  environ: Environ,
  startResponse: StartResponse,
  keepFraming: boolean,
): ServerResponse {
  const res = new ServerResponse(req) as unknown as Response
  let write: Write | undefined
  let lengthKnown = false

  res._storeHeader = (firstLine, given) => {
    // Fields that `setHeader` took were checked by it; a list that `writeHead` alone was given was not.
    const headers = pairsOf(given, res.getHeaderNames().length === 0)
    const length = headers.find(([name]) => name.length === 14 && name.toLowerCase() === 'content-length')
    const kept = endToEnd(headers)
    // As node does for a body that is known whole when the head is made, and for an empty one.
    if (length) {
      lengthKnown = kept.includes(length)
      if (lengthKnown) res._contentLength = Number(length[1])
    } else if (
      res._hasBody &&
      !res._removedContLen &&
      typeof res._contentLength === 'number' &&
      !headers.some(([name]) => announcesMore(name))
    ) {
      kept.push(['Content-Length', String(res._contentLength)])
      lengthKnown = true
    }
    // The exchange would take an answer to HEAD without a length for one of none.
    connection.joinable = lengthKnown || (!keepFraming && environ.REQUEST_METHOD !== 'HEAD')
    // `HTTP/1.1 200 OK\r\n` → `200 OK`.
    write = startResponse(statusFromWire(firstLine.slice(9, -2)), kept)
    // "Sent": nothing of it is to be written before the body's first chunk. Truthy: `headersSent` is this.
    res._header = firstLine
    res._headerSent = true
  }

  res._finish = () => {
    NodeResponse._finish.call(res)
    if (res._trailer !== '' && !lengthKnown) {
      const trailer = res._trailer
      environ.gantry.trailers(() => trailersOf(trailer))
    }
    connection.responded()
  }

  res.writeInformation = (code, headers, callback) => {
    if (res._header) {
      throw Object.assign(new Error('Cannot write headers after they are sent to the client'), {
        code: 'ERR_HTTP_HEADERS_SENT',
      })
    }
    // 100 is the gateway's, sent when the request is first read; 102 has no reader left (RFC 4918 dropped it).
    if (code === 103) environ.gantry.earlyHints(endToEnd(pairsOf(headers, true)))
    if (callback) process.nextTick(callback)
  }
  res.writeContinue = writeContinue
  res.writeProcessing = writeProcessing
  res.writeEarlyHints = writeEarlyHints

  connection.flush = () => {
    void write?.(EMPTY).catch(ignore)
  }
  connection.on('drain', () => drained(res))
  res.once('finish', () => finished(req, res, connection))
  res.assignSocket(connection as never)
  return res as unknown as ServerResponse
}

// One function for all responses: these are set on each of them, and closures would cost every request.

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

/** Node's own `_flush` emits 'drain' where it is due. */
function drained(res: Response): void {
  if (!res.writableNeedDrain || res.writableLength > 0) return
  res._flush()
}

/** What node's server does when a response was handed over (its resOnFinish). */
function finished(req: IncomingMessage, res: Response, connection: Connection): void {
  const request = req as IncomingMessage & Dumpable
  if (!request._consuming && !request._readableState.resumeScheduled) request._dump()
  res.detachSocket(connection as never)
  process.nextTick(() => {
    if (res._closed) return
    res.destroyed = true
    res._closed = true
    res.emit('close')
  })
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
