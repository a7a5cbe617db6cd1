/**
 * Writes the control frames: HELLO, AUTH, GOAWAY, STARTED, WINDOW, RESET, SLOTS, PING, PONG. Only the latest SLOTS,
 * PING and PONG are queued, and while the socket is full one WINDOW or RESET per stream (`queued-frames.ts`), so that a
 * peer that does not read cannot grow the queue. Does not decide when to send which frame.
 */

import { localError } from '../../contract/coded-errors.ts'
import { Frame, HEADER, HELLO_MAX, STARTED_MAX, TEXT_MAX } from './constants.ts'
import { type Hello, writeHello } from './hello.ts'
import type { Output } from './output.ts'
import { QueuedFrames } from './queued-frames.ts'
import type { Stream } from './stream.ts'
import { StreamList } from './stream-list.ts'

export class Control {
  /** The socket accepts no more bytes now. */
  full = false
  /** Frames queued while the socket is full; empty otherwise. */
  readonly queued: QueuedFrames = new QueuedFrames()
  readonly #out: Output
  readonly #starting: StreamList = new StreamList()
  #ping: Uint8Array | undefined
  #pong: { token: Uint8Array; running: number; lag: number } | undefined
  #slots: number | undefined
  /** HELLO or AUTH is queued: no frame may overtake it. */
  #handshaking = false

  constructor(out: Output) {
    this.#out = out
  }

  get pending(): boolean {
    return this.#starting.length > 0 || this.queued.size > 0 || this.#urgent
  }

  /** Writes the queued frames: WINDOW after STARTED, and requests after the RESETs that free their slots. */
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
  drop(stream: Stream): void {
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

  /** @returns the payload as it is sent */
  hello(hello: Hello): Uint8Array {
    const out = this.#out
    out.begin(Frame.HELLO, 0, 0)
    writeHello(out, hello)
    if (out.length > HELLO_MAX) {
      throw localError('HELLO_TOO_LARGE', `the HELLO has ${out.length} bytes; use a shorter --id`)
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

  /** Queues the stream for the next STARTED frame, unless another frame for the stream says as much before that. */
  start(stream: Stream): void {
    this.#starting.push(stream)
  }

  window(stream: Stream, credit: number): void {
    if (this.full) {
      this.queued.window(stream, credit)
      return
    }
    // STARTED makes the caller release its copy of the body; a server grants no further credit before it.
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

  /** GOAWAY goes behind the frames that are queued already. */
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

  /** One STARTED frame for all streams whose applications have started and not yet responded. */
  #writeStarted(): void {
    const out = this.#out
    let count = 0
    for (const stream of this.#starting.streams) {
      if (stream.closed || stream.started) continue
      stream.started = true
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
