/**
 * An upgraded stream as a Duplex: raw bytes in both directions, under the same credit as a body. Each direction ends by
 * itself. It knows neither the protocol of the bytes nor the role of this side.
 */

import { Duplex } from 'node:stream'
import { Reset } from './codec/constants.ts'
import type { FrameStream } from './codec/stream.ts'
import type { Link } from './link.ts'

export class UpgradedStream extends Duplex {
  /** Bytes given to the link. A net.Socket has a property of the same name. */
  bytesWritten = 0
  readonly #link: Link
  readonly #stream: FrameStream
  /** The callback of a write that waits for room. */
  #written: ((error?: Error | null) => void) | undefined
  /** The callback of `_final`, until the END is written. */
  #finishing: ((error?: Error | null) => void) | undefined
  /** Bytes that were pushed and not returned as credit. */
  #owed = 0
  readonly #onClose: () => void

  /** @param onClose called when the duplex is destroyed, for any reason */
  constructor(link: Link, stream: FrameStream, onClose: () => void) {
    super({ allowHalfOpen: true, readableHighWaterMark: 64 * 1024, writableHighWaterMark: 64 * 1024 })
    this.#link = link
    this.#stream = stream
    this.#onClose = onClose
  }

  // ---- the link's side -------------------------------------------------------------------------------------------

  data(bytes: Uint8Array, end: boolean): void {
    if (bytes.length > 0) {
      this.#owed += bytes.length
      if (this.push(bytes)) this.#returnCredit()
    }
    if (end) this.push(null)
  }

  /** There is room for more bytes, or the stream is closed. */
  resumeWriting(): void {
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
    this.#returnCredit()
  }

  override _write(chunk: Uint8Array, _encoding: string, callback: (error?: Error | null) => void): void {
    this.bytesWritten += chunk.length
    const room = this.#link.connection.data(this.#stream, chunk, false)
    this.#link.schedule()
    if (room) callback()
    else this.#written = callback
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#link.connection.end(this.#stream)
    this.#link.schedule()
    if (this.#stream.closed || !this.#stream.ending) callback()
    else this.#finishing = callback
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.#stream.closed) {
      this.#link.connection.abort(this.#stream, Reset.CANCELLED, 'the upgraded connection was closed')
      this.#link.schedule()
    }
    this.#onClose()
    callback(error)
  }

  #returnCredit(): void {
    if (this.#owed === 0) return
    const owed = this.#owed
    this.#owed = 0
    this.#link.connection.consumed(this.#stream, owed)
    this.#link.schedule()
  }
}
