/**
 * The streams of one link: their numbers, how they open, and when they are over. Nothing is kept of a stream that is
 * over, since its number says so. Does not know frames.
 */

import { peerError } from '../../contract/coded-errors.ts'
import { RETIRE_AT } from './constants.ts'
import type { Role } from './hello.ts'
import { Stream } from './stream.ts'
import { StreamTable } from './stream-table.ts'

export class Streams {
  readonly #role: Role
  /** Called when a stream is over. */
  readonly #onClose: (stream: Stream) => void
  readonly #open: StreamTable = new StreamTable()
  /** Credit of a new stream: what we gave, and what the peer's HELLO gave us. */
  readonly receiveWindow: number
  sendWindow = 0
  /** Caller: the next number. Server: one more than the highest that came. */
  next: number
  /** Server: the highest number whose request was given out. */
  taken = 0

  constructor(role: Role, receiveWindow: number, first: number, onClose: (stream: Stream) => void) {
    this.#role = role
    this.receiveWindow = receiveWindow
    this.next = first
    this.#onClose = onClose
  }

  get size(): number {
    return this.#open.size
  }

  all(): Stream[] {
    return this.#open.values()
  }

  /** Whether the numbers are used up. */
  get worn(): boolean {
    return this.next > RETIRE_AT
  }

  /** A stream with its request's body held back or not; it is not in the table yet. */
  make(id: number, upgrade: boolean, hold: boolean): Stream {
    // Only the request's direction is held back.
    const held = upgrade || hold
    return this.#role === 'caller'
      ? new Stream(id, upgrade, held ? 0 : this.sendWindow, this.receiveWindow)
      : new Stream(id, upgrade, this.sendWindow, held ? 0 : this.receiveWindow)
  }

  add(stream: Stream): void {
    this.#open.add(stream)
  }

  /** The stream of that number; undefined if it is over. @throws RemoteProtocolError if it was never opened */
  known(id: number): Stream | undefined {
    const stream = this.#open.get(id)
    if (!stream && id >= this.next)
      throw peerError('BAD_STREAM', `received a frame on stream ${id}, which was never opened`)
    return stream
  }

  /** The 101: both directions have their window from here on. */
  upgraded(stream: Stream): void {
    stream.upgraded = true
    if (this.#role === 'caller') stream.credit = this.sendWindow
    else stream.window = this.receiveWindow
  }

  /** The end of the peer's direction has come. */
  remoteEnd(stream: Stream): void {
    stream.remoteEnded = true
    // A response's end ends the stream, whatever the request still had to say; an upgraded one ends when both have.
    if (stream.upgraded ? stream.localEnded && !stream.ending : this.#role === 'caller') this.close(stream)
  }

  /** The end of our direction is on its way. */
  localEnd(stream: Stream): void {
    if (stream.upgraded ? stream.remoteEnded : this.#role === 'server') this.close(stream)
  }

  close(stream: Stream): void {
    stream.closed = true
    this.#open.delete(stream)
    this.#onClose(stream)
  }
}
