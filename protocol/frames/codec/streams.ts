/**
 * The streams of one link: their numbers, how they open, and when they close. Nothing is kept of a closed stream: its
 * number shows that it was used. This file knows no frames.
 */

import { peerError } from '../../contract/coded-errors.ts'
import { RETIRE_AT } from './constants.ts'
import type { Role } from './hello.ts'
import { FrameStream } from './stream.ts'
import { RequestState, StreamEvent } from './stream-state.ts'
import { StreamTable } from './stream-table.ts'

export class Streams {
  readonly #role: Role
  /** Called when a stream is closed. */
  readonly #onClose: (stream: FrameStream) => void
  readonly #open: StreamTable = new StreamTable()
  /** The first `receiveCredit` of a stream (ours, in our HELLO), and its first `sendCredit` (from the peer's HELLO). */
  readonly receiveWindow: number
  sendWindow = 0
  /** At a caller: the next number. At a server: one more than the highest number that has arrived. */
  next: number
  /** At a server: the highest number whose request was accepted. */
  lastTaken = 0

  constructor(role: Role, receiveWindow: number, first: number, onClose: (stream: FrameStream) => void) {
    this.#role = role
    this.receiveWindow = receiveWindow
    this.next = first
    this.#onClose = onClose
  }

  get size(): number {
    return this.#open.size
  }

  all(): FrameStream[] {
    return this.#open.values()
  }

  /** Whether the stream numbers are exhausted. */
  get exhausted(): boolean {
    return this.next > RETIRE_AT
  }

  /** Creates a stream, without adding it to the open streams. @param hold whether its body starts without credit */
  create(id: number, upgrade: boolean, hold: boolean): FrameStream {
    const state = upgrade ? RequestState.UPGRADE_ASKED : hold ? RequestState.HELD : RequestState.OPEN
    // Only the request starts without credit.
    const isHeld = state !== RequestState.OPEN
    return this.#role === 'caller'
      ? new FrameStream(id, 'caller', state, isHeld ? 0 : this.sendWindow, this.receiveWindow)
      : new FrameStream(id, 'server', state, this.sendWindow, isHeld ? 0 : this.receiveWindow)
  }

  add(stream: FrameStream): void {
    this.#open.add(stream)
  }

  /** The stream with this number; undefined if it is closed. @throws RemoteProtocolError if it was never opened */
  find(id: number): FrameStream | undefined {
    const stream = this.#open.get(id)
    if (!stream && id >= this.next)
      throw peerError('BAD_STREAM', `received a frame on stream ${id}, which was never opened`)
    return stream
  }

  /** After a 101 the request direction gets its window too. */
  openUpgraded(stream: FrameStream): void {
    if (this.#role === 'caller') stream.sendCredit = this.sendWindow
    else stream.receiveCredit = this.receiveWindow
  }

  /** The END of the peer's direction has arrived. @throws RemoteProtocolError if this direction may not end now */
  remoteEnd(stream: FrameStream): void {
    stream.on(StreamEvent.END, this.#role === 'caller' ? 'server' : 'caller')
    if (stream.isOver) this.close(stream)
  }

  /** The END of our direction was written. */
  localEnd(stream: FrameStream): void {
    stream.on(StreamEvent.END, this.#role)
    if (stream.isOver) this.close(stream)
  }

  close(stream: FrameStream): void {
    stream.close()
    this.#open.delete(stream)
    this.#onClose(stream)
  }
}
