/**
 * Writes HELLO, AUTH, GOAWAY, STARTED, WINDOW, RESET, SLOTS, PING and PONG. Only the latest SLOTS, PING and PONG are
 * queued, and while the socket is full one WINDOW or RESET per stream, so that a peer that does not read cannot grow
 * the queue. `FrameConnection` decides when to send which frame.
 */

import { localError } from '../../contract/coded-errors.ts'
import { Frame, HEADER, HELLO_MAX, STARTED_MAX, TEXT_MAX } from './constants.ts'
import { type Hello, writeHello } from './hello.ts'
import type { FrameOutput } from './output.ts'
import { QueuedFrames } from './queued-frames.ts'
import type { FrameStream } from './stream.ts'
import { StreamEvent } from './stream-state.ts'
import { WriteQueue } from './write-queue.ts'

export class ControlFrames {
  /** The socket accepts no more bytes now. */
  full = false
  /** Frames that are queued while the socket is full; otherwise empty. */
  readonly queued: QueuedFrames = new QueuedFrames()
  readonly #out: FrameOutput
  readonly #starting: WriteQueue = new WriteQueue()
  #ping: Uint8Array | undefined
  #pong: { token: Uint8Array; running: number; lag: number } | undefined
  #slots: number | undefined
  /** HELLO or AUTH is queued: no frame may overtake it. */
  #handshaking = false

  constructor(out: FrameOutput) {
    this.#out = out
  }

  get pending(): boolean {
    return this.#starting.length > 0 || this.queued.size > 0 || this.#urgent
  }

  /** Writes the queued frames: WINDOW after STARTED, and REQUESTs after the RESETs that free their slots. */
  write(): void {
    if (this.#starting.length > 0) this.#writeStarted()
    const { queued } = this
    if (queued.size === 0) return
    for (const [stream, credit] of queued.windows()) this.#writeWindow(stream.id, credit)
    for (const [id, { code, text }] of queued.resets()) this.#writeReset(id, code, text)
    for (const frame of queued.requests()) this.#out.payload(frame)
    queued.clear()
  }

  /** Puts PONG, PING and SLOTS before `parts`: they overtake heads and body. */
  prepend(parts: Uint8Array[]): Uint8Array[] {
    const handshake = this.#handshaking
    this.#handshaking = false
    if (!this.#urgent) return parts
    this.#writeUrgent()
    const urgent = this.#out.take()
    return handshake ? [...parts, ...urgent] : [...urgent, ...parts]
  }

  /** The stream is closed. */
  drop(stream: FrameStream): void {
    if (this.queued.size > 0) this.queued.drop(stream)
  }

  /** Drops everything that is not written yet. */
  dropAll(): void {
    this.#starting.clear()
    this.queued.clear()
    this.#ping = undefined
    this.#pong = undefined
    this.#slots = undefined
  }

  // ---- the handshake ---------------------------------------------------------------------------------------------

  /** Writes HELLO. @returns its payload as it is sent */
  hello(hello: Hello): Uint8Array {
    const out = this.#out
    out.begin(Frame.HELLO, 0, 0)
    writeHello(out, hello)
    if (out.length > HELLO_MAX) {
      throw localError(
        'HELLO_TOO_LARGE',
        `HELLO has ${out.length} bytes, and at most ${HELLO_MAX} are allowed: use a shorter id`,
      )
    }
    out.finish()
    const frame = Buffer.concat(out.take())
    out.copy(frame)
    this.#handshaking = true
    return frame.subarray(HEADER)
  }

  auth(proof: Uint8Array): void {
    this.#handshaking = true
    this.#out.begin(Frame.AUTH, 0, 0)
    this.#out.copy(proof)
    this.#out.finish()
  }

  // ---- streams ---------------------------------------------------------------------------------------------------

  /** Queues the stream for the next STARTED frame. INFORM or RESPONSE replaces STARTED if it is written earlier. */
  start(stream: FrameStream): void {
    this.#starting.push(stream)
  }

  window(stream: FrameStream, credit: number): void {
    if (this.full) {
      this.queued.window(stream, credit)
      return
    }
    // STARTED makes the caller release its copy of the body. A server grants no further credit before STARTED.
    if (this.#starting.length > 0 && !stream.started) this.#writeStarted()
    this.#writeWindow(stream.id, credit)
  }

  /** The stream is closed. */
  reset(id: number, code: number, text: string): void {
    if (this.full) this.queued.reset(id, code, shortText(text))
    else this.#writeReset(id, code, shortText(text))
  }

  // ---- the link --------------------------------------------------------------------------------------------------

  slots(count: number): void {
    this.#slots = count
  }

  ping(token: Uint8Array): void {
    this.#ping = token
  }

  pong(token: Uint8Array, running: number, lag: number): void {
    this.#pong = { token, running, lag }
  }

  /** Writes GOAWAY after the frames that are queued already. */
  goaway(last: number, code: number, text: string): void {
    if (this.queued.size > 0) this.write()
    this.#out.begin(Frame.GOAWAY, 0, 0)
    this.#out.u32(last)
    this.#out.u8(code)
    this.#out.copy(shortText(text))
    this.#out.finish()
  }

  // ---- internals -------------------------------------------------------------------------------------------------

  get #urgent(): boolean {
    return this.#slots !== undefined || this.#pong !== undefined || this.#ping !== undefined
  }

  #writeUrgent(): void {
    const out = this.#out
    if (this.#pong !== undefined) {
      const { token, running, lag } = this.#pong
      out.begin(Frame.PONG, 0, 0)
      out.copy(token)
      out.u32(running)
      out.u32(Math.min(Math.max(Math.round(lag), 0), 0xffff_ffff))
      out.finish()
      this.#pong = undefined
    }
    if (this.#ping !== undefined) {
      out.begin(Frame.PING, 0, 0)
      out.copy(this.#ping)
      out.finish()
      this.#ping = undefined
    }
    if (this.#slots !== undefined) {
      out.begin(Frame.SLOTS, 0, 0)
      out.u32(this.#slots)
      out.finish()
      this.#slots = undefined
    }
  }

  /** Writes one STARTED frame for all streams whose applications have started and have not responded. */
  #writeStarted(): void {
    const out = this.#out
    let count = 0
    for (const stream of this.#starting.streams) {
      if (stream.closed || stream.started) continue
      stream.on(StreamEvent.START, 'server')
      if (count === 0) out.begin(Frame.STARTED, 0, 0)
      out.u32(stream.id)
      count++
      if (count === STARTED_MAX) {
        out.finish()
        count = 0
      }
    }
    if (count > 0) out.finish()
    this.#starting.clear()
  }

  #writeWindow(id: number, credit: number): void {
    this.#out.begin(Frame.WINDOW, 0, id)
    this.#out.u32(credit)
    this.#out.finish()
  }

  #writeReset(id: number, code: number, text: Uint8Array): void {
    this.#out.begin(Frame.RESET, 0, id)
    this.#out.u8(code)
    this.#out.copy(text)
    this.#out.finish()
  }
}

function shortText(text: string): Uint8Array {
  const bytes = Buffer.from(text)
  return bytes.length <= TEXT_MAX ? bytes : bytes.subarray(0, TEXT_MAX)
}
