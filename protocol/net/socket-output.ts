/**
 * The output of a socket, gathered so that a head and a small body, or the responses to pipelined requests, are one
 * write. Large chunks are written in pieces. Knows neither the protocol nor time.
 */

import type { Duplex } from 'node:stream'
import { asBuffer } from '../contract/as-buffer.ts'
import { acceptedBySystem } from './socket-counters.ts'

/**
 * Chunks up to this size, bytes, are appended to the text as latin1: a string write is Node's cheapest write. Larger
 * chunks up to `JOIN_MAX` are copied into one Buffer with the text. Still larger chunks are not copied: the system
 * gathers them (writev). CPU µs of a head and a body on loopback, for a string, a joined and a corked write: 13 bytes
 * 3.5, 5.5, 6.1; 4 KiB 6.8, 9.1, 10.6; 8 KiB 13, 10, 12; 32 KiB 41, 33, 24.
 */
const COPY_MAX = 4 * 1024
const JOIN_MAX = 16 * 1024
/**
 * Large chunks are written in pieces of this size, bytes: without Node's handle, only a completed write shows progress.
 */
const PIECE = 128 * 1024
/** Text longer than this, bytes, is flushed at once. */
const TEXT_MAX = 64 * 1024

export class SocketOutput {
  readonly #socket: Duplex
  #text = ''
  /** Chunks that wait for the socket's `drain`, in order. `#text` follows them. */
  #queue: Uint8Array[] = []
  #ending: (() => void) | undefined
  /** Bytes given to this output in total. */
  #given = 0

  constructor(socket: Duplex) {
    this.#socket = socket
  }

  /** Whether more output may be given. If not, the socket will emit `drain`. */
  get room(): boolean {
    return this.#queue.length === 0 && !this.#socket.writableNeedDrain
  }

  /** Whether text waits to be flushed. */
  get gathered(): boolean {
    return this.#text !== ''
  }

  /** Bytes that the operating system has not accepted. */
  get backlog(): number {
    let size = this.#socket.writableLength + this.#text.length
    for (const chunk of this.#queue) size += chunk.length
    return size
  }

  /** Bytes that the operating system has accepted in total: this number grows while the client reads. */
  get accepted(): number {
    return acceptedBySystem(this.#socket) ?? this.#given - this.backlog
  }

  text(text: string): void {
    this.#given += text.length
    this.#text += text
    if (this.#text.length > TEXT_MAX) this.flush()
  }

  /** Chunks above 16 KiB are not copied: the caller must not change them any more. */
  bytes(chunk: Uint8Array): void {
    if (chunk.length <= COPY_MAX) {
      this.text(latin1(chunk))
      return
    }
    this.#given += chunk.length
    const text = this.#text
    if (this.#queue.length > 0) {
      this.#queueText()
      this.#queue.push(chunk)
    } else if (chunk.length <= JOIN_MAX) {
      this.#text = ''
      const joined = Buffer.allocUnsafe(text.length + chunk.length)
      joined.write(text, 0, 'latin1')
      joined.set(chunk, text.length)
      this.#socket.write(joined)
    } else {
      this.#text = ''
      this.#socket.cork()
      if (text !== '') this.#socket.write(text, 'latin1')
      this.#queue.push(chunk)
      this.#pump()
      this.#socket.uncork()
    }
  }

  /** Writes the gathered text to the socket. */
  flush(): void {
    if (this.#text === '') return
    if (this.#queue.length > 0) {
      this.#queueText()
      return
    }
    const text = this.#text
    this.#text = ''
    this.#socket.write(text, 'latin1')
  }

  /** To be called when the socket emits `drain`: writes the chunks that wait. */
  drained(): void {
    this.#pump()
    if (this.#queue.length > 0) return
    this.flush()
    if (this.#ending) this.#end()
  }

  /** Ends the socket's writing side once all output is written, and then calls back. */
  end(callback: () => void): void {
    if (this.#ending) return
    this.flush()
    this.#ending = callback
    if (this.#queue.length === 0) this.#end()
  }

  #end(): void {
    const callback = this.#ending!
    this.#ending = undefined
    this.#socket.end(callback)
  }

  #pump(): void {
    while (this.#queue.length > 0 && !this.#socket.writableNeedDrain) {
      const chunk = this.#queue[0]!
      if (chunk.length > PIECE) this.#queue[0] = chunk.subarray(PIECE)
      else this.#queue.shift()
      this.#socket.write(chunk.length > PIECE ? chunk.subarray(0, PIECE) : chunk)
    }
  }

  #queueText(): void {
    if (this.#text === '') return
    this.#queue.push(Buffer.from(this.#text, 'latin1'))
    this.#text = ''
  }
}

function latin1(chunk: Uint8Array): string {
  return asBuffer(chunk).toString('latin1')
}
