/**
 * An upgraded stream as a Duplex: raw bytes both ways under the same credit as any body; each direction ends by itself.
 * Does not know which protocol they speak, or which role this side has.
 */

import { Duplex } from 'node:stream'
import { Reset } from './codec/constants.ts'
import type { FrameStream } from './codec/stream.ts'
import type { Link } from './link.ts'

const EMPTY: Uint8Array = new Uint8Array(0)

export class StreamDuplex extends Duplex {
  /** Bytes given to the link; the name is that of a net.Socket. */
  bytesWritten = 0
  readonly #link: Link
  readonly #stream: FrameStream
  #written: ((error?: Error | null) => void) | undefined
  #finishing: ((error?: Error | null) => void) | undefined
  /** Bytes pushed that were not given back as credit. */
  #owed = 0
  readonly #onClose: () => void

  /** @param onClose once it is destroyed, however that came */
  constructor(link: Link, stream: FrameStream, onClose: () => void) {
    super({ allowHalfOpen: true, readableHighWaterMark: 64 * 1024, writableHighWaterMark: 64 * 1024 })
    this.#link = link
    this.#stream = stream
    this.#onClose = onClose
  }

  // ---- the link's side -------------------------------------------------------------------------------------------

  receive(bytes: Uint8Array, end: boolean): void {
    if (bytes.length > 0) {
      this.#owed += bytes.length
      if (this.push(bytes)) this.#giveBack()
    }
    if (end) this.push(null)
  }

  relieved(): void {
    const written = this.#written
    this.#written = undefined
    written?.()
    if (!this.#stream.ending) {
      const finishing = this.#finishing
      this.#finishing = undefined
      finishing?.()
    }
  }

  // ---- Duplex ----------------------------------------------------------------------------------------------------

  override _read(): void {
    this.#giveBack()
  }

  override _write(chunk: Uint8Array, _encoding: string, callback: (error?: Error | null) => void): void {
    this.bytesWritten += chunk.length
    const room = this.#link.connection.send(this.#stream, chunk, false)
    this.#link.schedule()
    if (room) callback()
    else this.#written = callback
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#link.connection.send(this.#stream, EMPTY, true)
    this.#link.schedule()
    if (this.#stream.closed || !this.#stream.ending) callback()
    else this.#finishing = callback
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.#stream.closed) {
      this.#link.connection.reset(this.#stream, Reset.CANCELLED, 'the upgraded connection was closed')
      this.#link.schedule()
    }
    this.#onClose()
    callback(error)
  }

  #giveBack(): void {
    if (this.#owed === 0) return
    const owed = this.#owed
    this.#owed = 0
    this.#link.connection.consumed(this.#stream, owed)
    this.#link.schedule()
  }
}
