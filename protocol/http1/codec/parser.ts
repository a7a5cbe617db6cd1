/**
 * Parses the requests of a client's connection, sans-IO: `push()` bytes, then call `next()` until it returns `more`.
 * `head.ts` decides what a head may contain.
 */

import { asBuffer } from '../../contract/as-buffer.ts'
import { peerError } from '../../contract/coded-errors.ts'
import { RemoteProtocolError } from '../../contract/errors.ts'
import { NEVER_FORWARDED } from '../../contract/hop-by-hop.ts'
import { LINE_SHOWN } from '../../contract/refused-request.ts'
import {
  LINE_REST,
  METHOD_MAX,
  type ParsedHead,
  parseHead,
  parseRequestLine,
  refuseBareLineFeed,
  refuseLongLine,
} from './head.ts'
import type { Http1Limits } from './limits.ts'
import { ChunkedFramer, OK } from './llhttp.ts'

/**
 * - `head`: `parser.head` is the head of a request
 * - `data`: `parser.data` is a chunk of its body, not empty
 * - `end`: the request is complete; `parser.trailers` are its trailers
 * - `error`: `parser.error` is the reason; the connection cannot be used any more
 * - `more`: more bytes are needed
 */
export type ParserEvent = 'head' | 'data' | 'end' | 'error' | 'more'

const LINE = 0
const HEADERS = 1
const FIXED = 2
const CHUNKED = 3
const FAILED = 4

const DETACHED = peerError('DETACHED', 'the parser got bytes after the connection was upgraded')
const CLOSED = peerError('CLOSED', 'the parser got bytes after the connection was closed')

const CR = 0x0d
const LF = 0x0a
const END_OF_HEAD: Buffer = Buffer.from('\r\n\r\n', 'latin1')
const NO_TRAILERS: string[] = []
const NOTHING: Buffer = Buffer.alloc(0)
/** Framing of one chunk, bytes: CRLF, 16 hex digits, CRLF. More bytes than that count as overhead. */
const CHUNK_FRAME = 20
/** Bytes that llhttp is given at once. */
const PIECE = 64 * 1024

/**
 * Events do not depend on how the bytes were split into reads. After an error there are no further events: bytes that
 * follow an ambiguous message are never read as a request. A request is parsed only when `next()` is called, so that
 * the caller completes one request before the next begins.
 */
export class RequestParser {
  head!: ParsedHead
  data: Uint8Array = NOTHING
  /** Flat: name, value, … */
  trailers: string[] = NO_TRAILERS
  error: RemoteProtocolError | undefined

  readonly #limits: Http1Limits
  #state = LINE
  /** Bytes not yet parsed: `#bytes` from `#at` to `#end`. The buffer may have room after `#end`. */
  #bytes: Buffer = NOTHING
  #at = 0
  #end = 0
  /** Whether this parser allocated `#bytes`, and may append to it. */
  #own = false
  /** How many bytes after `#at` were already searched for the end of a line or a head. */
  #searched = 0
  #lineLength = 0
  #lineChecked = false
  #emptyLines = 0
  /** Bytes of a Content-Length body that have not arrived. */
  #left = 0
  #framer: ChunkedFramer | undefined
  /** Bytes of a chunked body and its framing so far, and the position of its last body byte. */
  #position = 0
  #lastData = 0
  #overhead = 0
  #received = 0
  #failedLine = ''

  constructor(limits: Http1Limits) {
    this.#limits = limits
  }

  /** Bytes that were pushed and are not parsed. */
  get buffered(): number {
    return this.#end - this.#at
  }

  /**
   * The part of the request line that has arrived, up to `LINE_SHOWN` bytes: of the current head, or of a refused one.
   */
  get line(): string {
    return this.#state === LINE || this.#state === HEADERS ? this.#shownLine() : this.#failedLine
  }

  #shownLine(): string {
    const text = this.#bytes.toString('latin1', this.#at, Math.min(this.#end, this.#at + LINE_SHOWN))
    const end = text.search(/[\r\n]/)
    return end === -1 ? text : text.slice(0, end)
  }

  /** Whether no byte of a further request has arrived. */
  get between(): boolean {
    return this.#state === LINE && this.#at === this.#end
  }

  /** Adds bytes. They are not copied, and body data refers to them: the caller must not change them. */
  push(chunk: Uint8Array): void {
    if (this.#state === FAILED || chunk.length === 0) return
    if (this.#at === this.#end) {
      this.#bytes = asBuffer(chunk)
      this.#at = 0
      this.#end = chunk.length
      this.#own = false
      return
    }
    const size = this.#end - this.#at
    if (!this.#own || this.#end + chunk.length > this.#bytes.length) {
      // Twice the size, so that a head that arrives byte by byte is not copied each time.
      const bytes = Buffer.allocUnsafeSlow(Math.max(1024, 2 * (size + chunk.length)))
      this.#bytes.copy(bytes, 0, this.#at, this.#end)
      this.#bytes = bytes
      this.#at = 0
      this.#end = size
      this.#own = true
    }
    this.#bytes.set(chunk, this.#end)
    this.#end += chunk.length
  }

  next(): ParserEvent {
    try {
      switch (this.#state) {
        case LINE:
        case HEADERS:
          return this.#nextHead()
        case FIXED:
          return this.#nextFixed()
        case CHUNKED:
          return this.#nextChunked()
        default:
          return 'error'
      }
    } catch (error) {
      // A RemoteProtocolError is the peer's fault. Any other error is a bug of ours, but the connection must not be
      // read on.
      this.#fail(error instanceof RemoteProtocolError ? error : peerError('INTERNAL', String(error)))
      return 'error'
    }
  }

  /** Stops parsing, and returns the bytes that were not parsed: they belong to another protocol now. */
  detach(): Buffer {
    const rest = this.#bytes.subarray(this.#at, this.#end)
    this.#fail(DETACHED)
    return rest
  }

  /** Frees all memory, when the connection is closed. */
  free(): void {
    this.#fail(this.error ?? CLOSED)
  }

  #fail(error: RemoteProtocolError): void {
    this.error = error
    if (this.#at !== this.#end && (this.#state === LINE || this.#state === HEADERS))
      this.#failedLine = this.#shownLine()
    this.#state = FAILED
    this.#bytes = NOTHING
    this.#at = 0
    this.#end = 0
    this.#endBody()
  }

  // ---- heads -------------------------------------------------------------------------------------------------------

  #nextHead(): ParserEvent {
    if (this.#state === LINE && !this.#findLine()) return 'more'
    const limit = Math.min(this.#end, this.#at + this.#limits.head)
    const from = this.#at + Math.max(this.#searched - 3, this.#lineLength)
    const end = this.#bytes.indexOf(END_OF_HEAD, from)
    if (end === -1 || end + 4 > limit) {
      if (!this.#lineChecked) {
        this.#lineChecked = true
        parseRequestLine(this.#bytes.toString('latin1', this.#at, this.#at + this.#lineLength), this.#limits)
      }
      this.#refuseBareLineFeed(from, limit)
      if (this.#end - this.#at >= this.#limits.head) {
        throw peerError('HEAD_TOO_LARGE', `the request head is longer than ${this.#limits.head} bytes (--head-limit)`)
      }
      this.#searched = this.#end - this.#at
      return 'more'
    }
    this.head = parseHead(this.#bytes, this.#at, end + 4, this.#lineLength, this.#limits)
    this.#at = end + 4
    this.#searched = 0
    this.#emptyLines = 0
    this.trailers = NO_TRAILERS
    const length = this.head.bodyLength
    if (length === -1) {
      this.#framer = new ChunkedFramer()
      this.#position = 0
      this.#lastData = 0
      this.#overhead = 0
      this.#received = 0
      this.#state = CHUNKED
    } else {
      this.#left = length
      this.#state = FIXED
    }
    return 'head'
  }

  /** Finds the end of the request line; true once `#lineLength` is known. */
  #findLine(): boolean {
    for (;;) {
      const most = METHOD_MAX + this.#limits.target + LINE_REST
      const lf = this.#bytes.indexOf(LF, this.#at + this.#searched)
      if (lf === -1 || lf >= this.#end || lf - this.#at >= most) {
        if (this.#end - this.#at >= most) {
          refuseLongLine(this.#bytes.toString('latin1', this.#at, this.#at + most), this.#limits)
        }
        this.#searched = this.#end - this.#at
        return false
      }
      if (lf === this.#at || this.#bytes[lf - 1] !== CR) refuseBareLineFeed()
      if (lf === this.#at + 1 && this.#emptyLines === 0) {
        // RFC 9112 §2.2: one empty line before a request is ignored (old clients send it after a body), a second is
        // not.
        this.#emptyLines = 1
        this.#at += 2
        this.#searched = 0
        continue
      }
      this.#lineLength = lf - 1 - this.#at
      this.#lineChecked = false
      this.#searched = this.#lineLength
      this.#state = HEADERS
      return true
    }
  }

  #refuseBareLineFeed(from: number, to: number): void {
    for (let at = this.#bytes.indexOf(LF, from); at !== -1 && at < to; at = this.#bytes.indexOf(LF, at + 1)) {
      if (this.#bytes[at - 1] !== CR) refuseBareLineFeed()
    }
  }

  // ---- bodies ------------------------------------------------------------------------------------------------------

  #nextFixed(): ParserEvent {
    if (this.#left === 0) {
      this.#state = LINE
      return 'end'
    }
    const size = Math.min(this.#left, this.#end - this.#at)
    if (size === 0) return 'more'
    this.data = this.#bytes.subarray(this.#at, this.#at + size)
    this.#take(size)
    this.#left -= size
    return 'data'
  }

  #nextChunked(): ParserEvent {
    const framer = this.#framer!
    if (framer.complete) return this.#endChunked(framer)
    if (this.error) {
      this.#fail(this.error)
      return 'error'
    }
    for (;;) {
      if (this.#at === this.#end) return 'more'
      const start = this.#at
      const end = Math.min(this.#end, start + PIECE)
      const result = framer.execute(this.#bytes, start, end)
      const bytes = this.#bytes
      const pieces = this.#measure(framer, bytes, start)
      if (result !== OK) this.error ??= peerError('BAD_CHUNK', `the chunked request body is invalid: ${framer.reason}`)
      this.#position += framer.taken
      this.#take(framer.taken)
      if (pieces.length > 0) {
        this.data = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
        return 'data'
      }
      if (this.error) {
        this.#fail(this.error)
        return 'error'
      }
      if (framer.complete) return this.#endChunked(framer)
    }
  }

  /**
   * Returns the data that the framer found, up to the point where a limit is exceeded (then `this.error` is set).
   * Limits are measured by positions in the stream, so that they do not depend on how it was split into reads.
   */
  #measure(framer: ChunkedFramer, bytes: Buffer, start: number): Uint8Array[] {
    const pieces: Uint8Array[] = []
    const { spans } = framer
    for (let at = 0; at < spans.length; at += 2) {
      const offset = spans[at]!
      let size = spans[at + 1]!
      if (!this.#countOverhead(this.#position + offset, framer)) return pieces
      const room = this.#limits.body - this.#received
      if (size > room) {
        this.error = peerError(
          'BODY_TOO_LARGE',
          `the request body is longer than ${this.#limits.body} bytes (--body-limit)`,
        )
        size = room
      }
      if (size > 0) pieces.push(bytes.subarray(start + offset, start + offset + size))
      this.#received += size
      this.#lastData = this.#position + offset + size
      if (this.error) return pieces
    }
    const tail = this.#position + framer.taken - this.#lastData - CHUNK_FRAME
    if (this.#overhead + Math.max(0, tail) > this.#limits.chunkOverhead) this.error = this.#tooMuch(framer)
    return pieces
  }

  /** Counts the bytes between two pieces of data that framing does not need; false if there are too many. */
  #countOverhead(position: number, framer: ChunkedFramer): boolean {
    const gap = position - this.#lastData
    if (gap > CHUNK_FRAME) this.#overhead += gap - CHUNK_FRAME
    if (this.#overhead <= this.#limits.chunkOverhead) return true
    this.error = this.#tooMuch(framer)
    return false
  }

  #tooMuch(framer: ChunkedFramer): RemoteProtocolError {
    const most = this.#limits.chunkOverhead
    return framer.trailers.length > 0
      ? peerError('TRAILERS_TOO_LARGE', `the trailers of the request body are longer than ${most} bytes`)
      : peerError('CHUNK_OVERHEAD', `the chunk extensions of the request body are longer than ${most} bytes`)
  }

  #endChunked(framer: ChunkedFramer): ParserEvent {
    if (this.error) {
      this.#fail(this.error)
      return 'error'
    }
    this.trailers = checkTrailers(framer.trailers, this.#limits)
    this.#endBody()
    this.#state = LINE
    return 'end'
  }

  #endBody(): void {
    this.#framer?.free()
    this.#framer = undefined
  }

  #take(size: number): void {
    this.#at += size
    if (this.#at !== this.#end) return
    this.#bytes = NOTHING
    this.#at = 0
    this.#end = 0
  }
}

/**
 * Fields that would change the framing, the routing or the meaning of the message: no trailers may (RFC 9110 §6.5.1).
 */
const NEVER_TRAILERS: ReadonlySet<string> = new Set(['content-length', 'host', 'transfer-encoding'])
const DROPPED_TRAILERS: ReadonlySet<string> = new Set([
  ...NEVER_FORWARDED,
  'authorization',
  'content-encoding',
  'content-range',
  'content-type',
  'cookie',
  'expect',
])

/**
 * @throws RemoteProtocolError if a trailer would change the framing or the routing of the message, or there are too
 * many
 */
function checkTrailers(received: string[], limits: Http1Limits): string[] {
  if (received.length === 0) return NO_TRAILERS
  if (received.length / 2 > limits.fields) {
    throw peerError(
      'TOO_MANY_FIELDS',
      `the request body has ${received.length / 2} trailer fields; the limit is ${limits.fields}`,
    )
  }
  const kept: string[] = []
  for (let at = 0; at < received.length; at += 2) {
    const name = received[at]!
    const lower = name.toLowerCase()
    if (NEVER_TRAILERS.has(lower))
      throw peerError('BAD_TRAILER', `the trailer field ${name} is only allowed in the request head`)
    if (!DROPPED_TRAILERS.has(lower)) kept.push(name, received[at + 1]!.replace(/[\t ]+$/, ''))
  }
  return kept
}
