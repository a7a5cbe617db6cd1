/**
 * The write side of a link, sans-IO: writes heads in order, and body when it has credit, so that other frames overtake
 * body. `control.ts` writes the other frames; `FrameConnection` knows what the peer has sent.
 */

import type { Headers } from '../../contract/application.ts'
import { localError } from '../../contract/coded-errors.ts'
import { CONTROL_MAX, Flag, Frame, INFORM_COUNT, INFORM_MAX } from './constants.ts'
import { ControlFrames } from './control.ts'
import type { RequestFields } from './head.ts'
import { FrameOutput } from './output.ts'
import type { FrameStream, HeadEvent } from './stream.ts'
import { StreamEvent } from './stream-state.ts'
import { NAME_INDEX, VARIABLE_INDEX } from './tables.ts'
import { WriteQueue } from './write-queue.ts'

/** Body is written before `take()` up to this many bytes, so that a small body is sent with its head in one frame. */
const AHEAD = 64 * 1024
/** A body of at most this size is sent with its head also while the socket is full: it is no longer than a head. */
const SMALL = 1024
const EMPTY: Uint8Array = new Uint8Array(0)
const NONE: FrameStream[] = []
const BEYOND_LATIN1 = /[^\x00-\xff]/

export class Sender {
  /** The longest DATA and the longest head that the peer's HELLO allows, bytes. */
  dataMax = 0
  headMax = 0
  readonly #out: FrameOutput = new FrameOutput()
  readonly control: ControlFrames = new ControlFrames(this.#out)
  /** Called when the END of our direction was written. */
  readonly #onEnd: (stream: FrameStream) => void
  #full = false
  /** Streams with body that can be sent. They alternate. */
  readonly #sendable: WriteQueue = new WriteQueue()
  /** Streams whose producer waits only for the next write. */
  readonly #blocked: WriteQueue = new WriteQueue()
  #unblocked: FrameStream[] = []

  constructor(onEnd: (stream: FrameStream) => void) {
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
    return this.#out.bytes > 0 || this.#sendable.length > 0 || this.#blocked.length > 0 || this.control.pending
  }

  get backlog(): number {
    return this.#out.bytes + this.control.queued.bytes
  }

  get congested(): boolean {
    return this.#full && this.backlog > CONTROL_MAX
  }

  take(max: number): Uint8Array[] {
    this.control.write()
    const { streams } = this.#sendable
    let written = 0
    while (written < streams.length && this.#out.bytes < max) {
      const stream = streams[written++]!
      stream.isListed = false
      if (!stream.closed) this.#writeNext(stream)
    }
    if (written > 0) streams.splice(0, written)
    if (this.#blocked.length > 0) {
      for (const stream of this.#blocked.streams) this.#unblocked.push(stream)
      this.#blocked.clear()
    }
    return this.control.prepend(this.#out.take())
  }

  unblocked(): FrameStream[] {
    if (this.#unblocked.length === 0) return NONE
    const unblocked: FrameStream[] = []
    for (const stream of this.#unblocked) {
      if (!stream.isBlocked) continue
      stream.isBlocked = false
      unblocked.push(stream)
    }
    this.#unblocked = []
    return unblocked
  }

  /** The stream is closed: drops its queued bytes. */
  drop(stream: FrameStream): void {
    if (stream.queue.length > 0) stream.queue.length = 0
    stream.offset = 0
    stream.queued = 0
    if (stream.isBlocked) this.#unblocked.push(stream)
    this.control.drop(stream)
  }

  /** Drops everything that is not written yet. */
  dropAll(): void {
    this.#sendable.clear()
    this.#blocked.clear()
    this.control.dropAll()
  }

  // ---- body ------------------------------------------------------------------------------------------------------

  data(stream: FrameStream, chunk: Uint8Array, end: boolean): boolean {
    let rest = chunk
    if (stream.queued === 0 && this.#sendable.length === 0 && !this.#full) {
      while (this.#out.bytes < AHEAD && (rest.length > 0 ? stream.sendCredit > 0 : end && stream.takesData)) {
        const size = Math.min(rest.length, stream.sendCredit, this.dataMax)
        const whole = size === rest.length
        this.#writeData(stream, whole ? rest : rest.subarray(0, size), end && whole)
        rest = whole ? EMPTY : rest.subarray(size)
      }
    }
    return this.#queue(stream, rest, end)
  }

  /** @throws LocalProtocolError `HEAD_TOO_LARGE` or `NOT_LATIN1`; then the direction has not ended */
  endWithTrailers(stream: FrameStream, fields: string[]): void {
    let most = 5
    for (const text of fields) {
      most += 5 + 2 * text.length
      if (BEYOND_LATIN1.test(text)) throw localError('NOT_LATIN1', 'a trailer has a code unit above U+00FF')
    }
    if (most > this.headMax)
      throw localError('HEAD_TOO_LARGE', `trailers of up to ${most} bytes; the peer accepts ${this.headMax}`)
    stream.trailers = fields
    this.#queue(stream, EMPTY, true)
    // While the socket is full the stream's REQUEST may be queued too, and must be sent first.
    if (stream.queued === 0 && stream.ending && !this.#full) this.#writeEnd(stream)
  }

  hasRoom(stream: FrameStream): boolean {
    const waitsForWrite = stream.queued === 0 && stream.sendCredit > 0
    if (waitsForWrite && !this.#full && this.#out.bytes < AHEAD) return true
    if (!stream.isBlocked) {
      stream.isBlocked = true
      if (waitsForWrite) this.#blocked.push(stream)
    }
    return false
  }

  /** The peer has given credit. */
  onCredit(stream: FrameStream): void {
    if (stream.queued > 0) this.#list(stream)
    else if (stream.isBlocked && !stream.ending) this.#unblocked.push(stream)
  }

  /** Queues the bytes that could not be written. @returns whether there is room for more */
  #queue(stream: FrameStream, rest: Uint8Array, end: boolean): boolean {
    if (rest.length > 0) {
      stream.queue.push(rest)
      stream.queued += rest.length
    }
    if (end && stream.takesData) stream.on(StreamEvent.QUEUE_END, stream.role)
    if (stream.queued > 0 || stream.ending) {
      this.#list(stream)
      stream.isBlocked = true
      return false
    }
    return end || this.hasRoom(stream)
  }

  #list(stream: FrameStream): void {
    if (stream.isListed || !stream.sendable) return
    stream.isListed = true
    this.#sendable.push(stream)
  }

  /** Writes the next frame of a stream. */
  #writeNext(stream: FrameStream): void {
    if (stream.queued > 0) {
      const chunk = stream.queue[0]!
      const left = chunk.length - stream.offset
      const size = Math.min(left, stream.sendCredit, this.dataMax)
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
      // Not through `#list`, which may compact the list that `take` is iterating.
      stream.isListed = true
      this.#sendable.streams.push(stream)
    } else if (stream.queued === 0 && stream.isBlocked && (stream.sendCredit > 0 || !stream.takesData))
      this.#unblocked.push(stream)
  }

  #writeData(stream: FrameStream, bytes: Uint8Array, end: boolean): void {
    const out = this.#out
    out.begin(Frame.DATA, end ? Flag.END : 0, stream.id)
    out.finish(bytes.length)
    if (bytes.length > 0) out.payload(bytes)
    stream.sendCredit -= bytes.length
    if (end) this.#ended(stream)
  }

  #writeEnd(stream: FrameStream): void {
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

  #ended(stream: FrameStream): void {
    this.#onEnd(stream)
  }

  // ---- heads -----------------------------------------------------------------------------------------------------

  /** Writes REQUEST with as much of `body` as fits; `data` sends the rest. @returns bytes of `body` in the frame */
  request(
    stream: FrameStream,
    fields: RequestFields,
    flags: number,
    body: Uint8Array | undefined,
    end: boolean,
  ): number {
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

  /** Writes RESPONSE, as `request`. @throws LocalProtocolError if `event` is illegal now; then nothing was written */
  head(
    stream: FrameStream,
    event: HeadEvent,
    status: string,
    headers: Headers,
    body: Uint8Array | undefined,
    end: boolean,
  ): number {
    stream.checkHead(event)
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
    stream.onHead(event)
    return this.#withBody(stream, 0, body, end)
  }

  /** Writes INFORM. @returns false if the budget is spent; then nothing was written */
  inform(stream: FrameStream, status: string, headers: Headers): boolean {
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
      throw localError('HEAD_TOO_LARGE', `a head of ${length} bytes; the peer accepts ${this.headMax}`)
    }
    this.#out.patch(0, length)
  }

  #withBody(stream: FrameStream, flags: number, body: Uint8Array | undefined, end: boolean): number {
    const out = this.#out
    const length = body ? body.length : 0
    const room = this.#full ? length <= SMALL : out.bytes < AHEAD
    const size = room ? Math.min(length, stream.sendCredit, this.dataMax) : 0
    const last = end && size === length
    out.flags(last ? flags | Flag.END : flags)
    out.finish(size)
    if (size > 0) {
      stream.sendCredit -= size
      out.payload(size === length ? body! : body!.subarray(0, size))
    }
    if (last) this.#ended(stream)
    return size
  }
}
