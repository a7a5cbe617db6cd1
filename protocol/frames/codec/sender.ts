/**
 * The write side of a link, sans-IO: writes heads in order, and body once it has credit, so that other frames overtake
 * body. `control.ts` writes the other frames. Does not know what the peer sent; `Connection` does.
 */

import type { Headers } from '../../contract/application.ts'
import { localError } from '../../contract/coded-errors.ts'
import { CONTROL_MAX, Flag, Frame, INFORM_COUNT, INFORM_MAX } from './constants.ts'
import { Control } from './control.ts'
import type { RequestFields } from './head.ts'
import { Output } from './output.ts'
import type { Stream } from './stream.ts'
import { StreamList } from './stream-list.ts'
import { NAME_INDEX, VARIABLE_INDEX } from './tables.ts'

/** Body is written ahead of `take()` until so much waits: what is small leaves with its head in one frame. */
const AHEAD = 64 * 1024
/** Body that is no longer than heads are goes with its head also when the line is full. */
const SMALL = 1024
const EMPTY: Uint8Array = new Uint8Array(0)
const NONE: Stream[] = []
const BEYOND_LATIN1 = /[^\x00-\xff]/

export class Sender {
  /** Told by the peer's HELLO: longest DATA, longest head. */
  dataMax = 0
  headMax = 0
  readonly #out: Output = new Output()
  readonly control: Control = new Control(this.#out)
  /** Called when the END of our direction was written. */
  readonly #onEnd: (stream: Stream) => void
  #full = false
  /** Streams with body that can be sent, in turn. */
  readonly #line: StreamList = new StreamList()
  /** Streams whose sender waits only for the next write. */
  readonly #blocked: StreamList = new StreamList()
  #relieved: Stream[] = []

  constructor(onEnd: (stream: Stream) => void) {
    this.#onEnd = onEnd
  }

  /** The socket accepts no more bytes now, and `take` is not called until it does: body and REQUESTs stay queued. */
  get full(): boolean {
    return this.#full
  }

  set full(full: boolean) {
    this.#full = full
    this.control.full = full
  }

  get pending(): boolean {
    return this.#out.bytes > 0 || this.#line.length > 0 || this.#blocked.length > 0 || this.control.pending
  }

  get backlog(): number {
    return this.#out.bytes + this.control.queued.bytes
  }

  get congested(): boolean {
    return this.#full && this.backlog > CONTROL_MAX
  }

  take(max: number): Uint8Array[] {
    this.control.write()
    const line = this.#line.streams
    let served = 0
    while (served < line.length && this.#out.bytes < max) {
      const stream = line[served++]!
      stream.ready = false
      if (!stream.closed) this.#serve(stream)
    }
    if (served > 0) line.splice(0, served)
    if (this.#blocked.length > 0) {
      for (const stream of this.#blocked.streams) this.#relieved.push(stream)
      this.#blocked.clear()
    }
    return this.control.prepend(this.#out.take())
  }

  relieved(): Stream[] {
    if (this.#relieved.length === 0) return NONE
    const relieved: Stream[] = []
    for (const stream of this.#relieved) {
      if (!stream.waiting) continue
      stream.waiting = false
      relieved.push(stream)
    }
    this.#relieved = []
    return relieved
  }

  /** The stream is over: nothing of it is sent any more. */
  drop(stream: Stream): void {
    if (stream.queue.length > 0) stream.queue.length = 0
    stream.offset = 0
    stream.queued = 0
    stream.ending = false
    if (stream.waiting) this.#relieved.push(stream)
    this.control.drop(stream)
  }

  /** Nothing but what is written already is sent any more. */
  dropAll(): void {
    this.#line.clear()
    this.#blocked.clear()
    this.control.dropAll()
  }

  // ---- body ------------------------------------------------------------------------------------------------------

  send(stream: Stream, chunk: Uint8Array, end: boolean): boolean {
    let rest = chunk
    if (stream.queued === 0 && this.#line.length === 0 && !this.#full) {
      while (this.#out.bytes < AHEAD && (rest.length > 0 ? stream.credit > 0 : end && !stream.localEnded)) {
        const size = Math.min(rest.length, stream.credit, this.dataMax)
        const whole = size === rest.length
        this.#writeData(stream, whole ? rest : rest.subarray(0, size), end && whole)
        rest = whole ? EMPTY : rest.subarray(size)
      }
    }
    return this.#queue(stream, rest, end)
  }

  /** @throws LocalProtocolError `HEAD_TOO_LARGE`, `NOT_LATIN1` */
  trailers(stream: Stream, fields: string[]): void {
    let most = 5
    for (const text of fields) {
      most += 5 + 2 * text.length
      if (BEYOND_LATIN1.test(text)) throw localError('NOT_LATIN1', 'a trailer field contains a code unit above U+00FF')
    }
    if (most > this.headMax)
      throw localError(
        'HEAD_TOO_LARGE',
        `the trailers have up to ${most} bytes; the limit of the peer is ${this.headMax}`,
      )
    stream.trailers = fields
    this.#queue(stream, EMPTY, true)
    // While the socket is full the stream's REQUEST may be queued too, and must go first.
    if (stream.queued === 0 && stream.ending && !this.#full) this.#writeEnd(stream)
  }

  room(stream: Stream): boolean {
    const blocked = stream.queued === 0 && stream.credit > 0
    if (blocked && !this.#full && this.#out.bytes < AHEAD) return true
    if (!stream.waiting) {
      stream.waiting = true
      if (blocked) this.#blocked.push(stream)
    }
    return false
  }

  /** The peer gave credit. */
  credited(stream: Stream): void {
    if (stream.queued > 0) this.#enlist(stream)
    else if (stream.waiting && !stream.ending) this.#relieved.push(stream)
  }

  /** Queues what could not be written, and says whether more would be welcome. */
  #queue(stream: Stream, rest: Uint8Array, end: boolean): boolean {
    if (rest.length > 0) {
      stream.queue.push(rest)
      stream.queued += rest.length
    }
    if (end && !stream.localEnded) {
      stream.localEnded = true
      stream.ending = true
    }
    if (stream.queued > 0 || stream.ending) {
      this.#enlist(stream)
      stream.waiting = true
      return false
    }
    return end || this.room(stream)
  }

  #enlist(stream: Stream): void {
    if (stream.ready || !stream.sendable) return
    stream.ready = true
    this.#line.push(stream)
  }

  /** One frame of a stream whose turn it is. */
  #serve(stream: Stream): void {
    if (stream.queued > 0) {
      const chunk = stream.queue[0]!
      const left = chunk.length - stream.offset
      const size = Math.min(left, stream.credit, this.dataMax)
      if (size === 0) return
      const part = size === chunk.length ? chunk : chunk.subarray(stream.offset, stream.offset + size)
      stream.queued -= size
      if (size === left) {
        stream.queue.shift()
        stream.offset = 0
      } else stream.offset += size
      this.#writeData(stream, part, stream.ending && stream.queued === 0 && stream.trailers === undefined)
    }
    if (stream.closed) return
    if (stream.queued === 0 && stream.ending) this.#writeEnd(stream)
    if (stream.sendable) {
      // Not through `#enlist`, which may compact the list that `take` is iterating.
      stream.ready = true
      this.#line.streams.push(stream)
    } else if (stream.queued === 0 && stream.waiting && (stream.credit > 0 || stream.localEnded))
      this.#relieved.push(stream)
  }

  #writeData(stream: Stream, bytes: Uint8Array, end: boolean): void {
    const out = this.#out
    out.begin(Frame.DATA, end ? Flag.END : 0, stream.id)
    out.finish(bytes.length)
    if (bytes.length > 0) out.payload(bytes)
    stream.credit -= bytes.length
    if (end) this.#ended(stream)
  }

  #writeEnd(stream: Stream): void {
    const { trailers } = stream
    if (trailers === undefined) {
      this.#writeData(stream, EMPTY, true)
      return
    }
    const out = this.#out
    out.begin(Frame.TRAILERS, Flag.END, stream.id)
    out.array(trailers.length)
    for (let at = 0; at < trailers.length; at += 2) {
      out.name(trailers[at]!, NAME_INDEX)
      out.text(trailers[at + 1]!)
    }
    out.endArray()
    out.finish()
    this.#ended(stream)
  }

  #ended(stream: Stream): void {
    stream.localEnded = true
    stream.ending = false
    this.#onEnd(stream)
  }

  // ---- heads -----------------------------------------------------------------------------------------------------

  /** A REQUEST with what of `body` fits in. What does not is for `send`. @returns bytes of `body` that went along */
  request(stream: Stream, fields: RequestFields, flags: number, body: Uint8Array | undefined, end: boolean): number {
    const out = this.#out
    const { variables, headers } = fields
    const full = this.#full
    if (full) out.isolate()
    out.begin(Frame.REQUEST, 0, stream.id)
    try {
      out.skip32()
      out.array(2 + variables.length + headers.length)
      out.text(fields.requestId)
      out.int(variables.length / 2)
      for (let at = 0; at < variables.length; at += 2) {
        out.name(variables[at]!, VARIABLE_INDEX)
        out.text(variables[at + 1]!)
      }
      for (let at = 0; at < headers.length; at += 2) {
        out.name(headers[at]!, NAME_INDEX)
        out.text(headers[at + 1]!)
      }
      out.endArray()
      this.#closeHead()
    } catch (error) {
      out.cancel()
      throw error
    }
    const sent = this.#withBody(stream, flags, body, end)
    if (full) this.control.queued.request(stream, out.extract())
    return sent
  }

  /** As `request`. */
  response(stream: Stream, status: string, headers: Headers, body: Uint8Array | undefined, end: boolean): number {
    const out = this.#out
    out.begin(Frame.RESPONSE, 0, stream.id)
    try {
      out.skip32()
      this.#responseHead(status, headers)
      this.#closeHead()
    } catch (error) {
      out.cancel()
      throw error
    }
    return this.#withBody(stream, 0, body, end)
  }

  /** @returns false when the budget is spent; nothing was written then */
  inform(stream: Stream, status: string, headers: Headers): boolean {
    if (stream.informs >= INFORM_COUNT) return false
    const out = this.#out
    out.begin(Frame.INFORM, 0, stream.id)
    try {
      this.#responseHead(status, headers)
    } catch (error) {
      out.cancel()
      throw error
    }
    if (stream.informBytes + out.length > INFORM_MAX) {
      out.cancel()
      return false
    }
    stream.informs++
    stream.informBytes += out.length
    out.finish()
    return true
  }

  #responseHead(status: string, headers: Headers): void {
    const out = this.#out
    out.array(1 + 2 * headers.length)
    out.text(status)
    for (const field of headers) {
      out.name(field[0], NAME_INDEX)
      out.text(field[1])
    }
    out.endArray()
  }

  #closeHead(): void {
    const length = this.#out.length - 4
    if (length > this.headMax) {
      throw localError('HEAD_TOO_LARGE', `the head has ${length} bytes; the limit of the peer is ${this.headMax}`)
    }
    this.#out.patch(0, length)
  }

  #withBody(stream: Stream, flags: number, body: Uint8Array | undefined, end: boolean): number {
    const out = this.#out
    const length = body ? body.length : 0
    const room = this.#full ? length <= SMALL : out.bytes < AHEAD
    const size = room ? Math.min(length, stream.credit, this.dataMax) : 0
    const last = end && size === length
    out.flags(last ? flags | Flag.END : flags)
    out.finish(size)
    if (size > 0) {
      stream.credit -= size
      out.payload(size === length ? body! : body!.subarray(0, size))
    }
    if (last) this.#ended(stream)
    return size
  }
}
