/**
 * `req`: Node's own `IncomingMessage` with the request's raw header lines and a body from `wsgi.input`. As in Node's
 * server, arrived bytes are pushed up to the high-water mark, read or not; then the socket drives reading, which
 * `IncomingMessage` resumes. The body is checked against Content-Length.
 */

import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Environ, Headers, Input } from '../../protocol/contract/application.ts'
import { Context } from '../../protocol/contract/context.ts'
import { AbortError, HttpError } from '../../protocol/contract/errors.ts'
import { hasBody } from '../../protocol/contract/has-body.ts'
import { pairs, type RequestInput } from '../../protocol/contract/input.ts'
import type { ClientSocket } from './client-socket.ts'
import type { ConnectionRequest } from './connection.ts'
import { requestUrl } from './request-url.ts'

/** The most bytes that `req` takes at once: as many as sockets and frames deliver. */
const CHUNK = 64 * 1024

interface IncomingInternals {
  _addHeaderLines(flat: string[], count: number): void
}

/** A request, and the object through which its connection drives it. */
export interface FedRequest {
  readonly req: IncomingMessage
  readonly feed: RequestFeed
}

/** What its server provides for a request. */
export interface RequestSettings {
  readonly IncomingMessage: new (socket: Socket) => IncomingMessage
}

/** Settings of a server that are read for each request: an application may assign them at any time. */
interface ServerOfRequest {
  joinDuplicateHeaders?: boolean | undefined
  maxHeadersCount: number | null
}

export function makeRequest(environ: Environ, socket: ClientSocket, settings: RequestSettings): FedRequest {
  // The socket is not an instance of Node's class, but behaves like one.
  const req = new settings.IncomingMessage(socket as never)
  const { joinDuplicateHeaders, maxHeadersCount } = socket.server as ServerOfRequest
  if (joinDuplicateHeaders !== undefined)
    (req as { joinDuplicateHeaders?: boolean }).joinDuplicateHeaders = joinDuplicateHeaders
  const minor = environ.SERVER_PROTOCOL === 'HTTP/1.0' ? 0 : 1
  req.httpVersionMajor = 1
  req.httpVersionMinor = minor
  req.httpVersion = minor === 0 ? '1.0' : '1.1'
  req.method = environ.REQUEST_METHOD
  req.url = requestUrl(environ)
  ;(req as { upgrade?: boolean }).upgrade = false
  const input = environ['wsgi.input']
  const body = hasBody(environ, input)
  const lines = headerLines(environ, body)
  ;(req as IncomingMessage & IncomingInternals)._addHeaderLines(
    lines,
    maxHeadersCount ? Math.min(lines.length, 2 * maxHeadersCount) : lines.length,
  )
  return { req, feed: new RequestFeed(req, socket, environ, body) }
}

/**
 * A flat list, as Node's parser gives it. A chunked body gets its Transfer-Encoding back: by that frameworks recognise
 * a body.
 */
function headerLines(environ: Environ, body: boolean): string[] {
  const { gantry } = environ
  const lines = gantry instanceof Context ? gantry.lines.slice() : gantry.rawHeaders.flat()
  if (body && environ.CONTENT_LENGTH === undefined) lines.push('Transfer-Encoding', 'chunked')
  return lines
}

/** Copies `wsgi.input` to a request. A truncated upload never looks complete. */
class RequestFeed implements ConnectionRequest {
  readonly #req: IncomingMessage
  #socket: ClientSocket
  readonly #input: Input
  readonly #body: boolean
  /** The declared length of the body, or -1 if it is unknown. */
  readonly #declared: number
  #received = 0
  #reading = false
  #over = false
  /** Whether the reader of the request has asked for more: from then on the body is read as it asks. */
  #asked = false
  /** Whether the end was pushed, the input has failed, or the body may not be read any more. */
  #done = false

  constructor(req: IncomingMessage, socket: ClientSocket, environ: Environ, body: boolean) {
    this.#req = req
    this.#socket = socket
    this.#input = environ['wsgi.input']
    this.#body = body
    this.#declared = environ.CONTENT_LENGTH === undefined ? -1 : Number(environ.CONTENT_LENGTH)
  }

  /** The request is an upgrade, and continues on `socket`. */
  move(socket: ClientSocket): void {
    this.#socket = socket
    this.#req.socket = socket as never
    ;(this.#req as { client?: unknown; upgrade?: boolean }).client = socket
    ;(this.#req as { upgrade?: boolean }).upgrade = true
  }

  /** The listener has returned: a request without a body is complete from then on, as in Node. */
  began(): void {
    if (this.#body) this.more()
    else if (!this.#done) this.#end(undefined)
  }

  /**
   * Pushes bytes that have arrived, as Node's parser does even without a reader: applications look at `complete` and
   * `readableLength`. An input that a middleware has replaced is read only on request.
   */
  more(): void {
    const { readAhead } = this.#input as Partial<RequestInput>
    try {
      while (readAhead && !this.#asked && !this.#done && !this.#over) {
        const chunk = readAhead.call(this.#input as RequestInput, CHUNK, this)
        if (chunk === undefined) return
        if (chunk === null) {
          // A body that is too short fails its reader, if there is one.
          if (!this.#short) this.#ended()
          return
        }
        if (!this.#took(chunk)) return
      }
    } catch (error) {
      this.#failed(error)
    }
  }

  /**
   * The exchange is over: the input is not read any more. If no reader has begun, the body just disappears (Node reads
   * and drops it; here the gateway does). If a reader has begun, the body is truncated and must not look complete.
   */
  over(): void {
    this.#over = true
    // After 'finish', which is emitted in this tick: destroying the request closes its connection.
    process.nextTick(() => {
      if (this.#done) return
      const { _consuming, _dumped } = this.#req as IncomingMessage & { _consuming: boolean; _dumped: boolean }
      if (!_consuming || _dumped) this.#end(undefined)
      else {
        this.#done = true
        this.#req.destroy(reset('the response ended before its request was read'))
      }
    })
  }

  /** The connection closed: does what Node's server does to a request that is not over (its abortIncoming). */
  connectionClosed(): void {
    if (this.#done && this.#req.readableEnded) return
    this.#done = true
    this.#req.destroy(reset('aborted'))
  }

  whenOver(callback: () => void): void {
    if (this.#req.destroyed) callback()
    else this.#req.once('close', callback)
  }

  timedOut(): boolean {
    return !this.#req.complete && this.#req.emit('timeout', this.#socket)
  }

  /** The reader of the request wants more. */
  pump(): void {
    this.#asked = true
    if (this.#reading || this.#done || this.#over) return
    if (!this.#body) {
      this.#end(undefined)
      return
    }
    const { readNow } = this.#input as Partial<RequestInput>
    try {
      while (readNow) {
        const chunk = readNow.call(this.#input, CHUNK)
        if (chunk === undefined) break
        if (chunk === null) {
          this.#ended()
          return
        }
        if (!this.#took(chunk)) return
      }
    } catch (error) {
      this.#failed(error)
      return
    }
    this.#reading = true
    this.#input.read1(CHUNK).then(
      (chunk) => {
        this.#reading = false
        if (this.#done || this.#over) return
        if (chunk.length === 0) this.#ended()
        else if (this.#took(chunk)) this.pump()
      },
      (error: unknown) => {
        this.#reading = false
        this.#failed(error)
      },
    )
  }

  /** Pushes a chunk. Returns whether `req` wants more. */
  #took(chunk: Uint8Array): boolean {
    this.#received += chunk.length
    this.#socket.recordActivity(chunk.length)
    if (this.#declared !== -1 && this.#received > this.#declared) {
      this.#failed(new Error(`wsgi.input gave more than the ${this.#declared} bytes of CONTENT_LENGTH`))
      return false
    }
    return this.#req.push(chunk)
  }

  /** Whether fewer bytes than declared have arrived. */
  get #short(): boolean {
    return this.#declared !== -1 && this.#received < this.#declared
  }

  #ended(): void {
    if (this.#short) {
      this.#failed(new Error(`wsgi.input ended after ${this.#received} of ${this.#declared} bytes`))
      return
    }
    if (this.#declared !== -1) {
      this.#end(undefined)
      return
    }
    const { trailerFields } = this.#input as Partial<RequestInput>
    if (trailerFields) {
      this.#end(pairs(trailerFields))
      return
    }
    this.#reading = true
    this.#input.trailers.then(
      (fields) => {
        this.#reading = false
        this.#end(fields)
      },
      (error: unknown) => {
        this.#reading = false
        this.#failed(error)
      },
    )
  }

  #end(trailers: Headers | undefined): void {
    if (this.#done) return
    this.#done = true
    this.#req.complete = true
    if (trailers && trailers.length > 0) {
      const flat = trailers.flat()
      ;(this.#req as IncomingMessage & IncomingInternals)._addHeaderLines(flat, flat.length)
    }
    this.#req.push(null)
  }

  #failed(error: unknown): void {
    if (this.#done || this.#over) return
    this.#done = true
    // Errors with a response for the client (408, 413) go to the exchange unchanged; any other error means a lost
    // connection.
    if (error instanceof HttpError || error instanceof AbortError) this.#socket.fail(error)
    else this.#socket.fail(new AbortError('PROTOCOL', 'the request body could not be read', { cause: error }))
    this.#req.destroy(reset('aborted', error))
  }
}

/** The error that Node gives for a reset connection; applications look at its `code`. */
function reset(message: string, cause?: unknown): Error {
  return Object.assign(new Error(message, cause === undefined ? undefined : { cause }), { code: 'ECONNRESET' })
}
