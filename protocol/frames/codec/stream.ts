/**
 * One stream of a link: the state of its request and of its response (`stream-state.ts`), its credit in both
 * directions, and the body that waits to be sent. It knows no frames; only `FrameConnection` and its parts change it.
 */

import type { Role } from './hello.ts'
import {
  hasHead,
  hasStarted,
  isEnded,
  isEnding,
  nextState,
  RequestState,
  ResponseState,
  StreamEvent,
  type StreamState,
  takesData,
} from './stream-state.ts'

/** A response head: of an ordinary response, or a 101. */
export type HeadEvent = typeof StreamEvent.HEAD | typeof StreamEvent.UPGRADE

export class FrameStream {
  readonly id: number
  /** The side that this process has on the link. */
  readonly role: Role
  request: RequestState
  response: ResponseState = ResponseState.WAITING
  /** The object that the I/O side keeps with the stream: a call, or a served request. */
  owner: unknown = undefined
  /** The next stream in the same bucket of the `StreamTable`. */
  next: FrameStream | undefined = undefined

  /** INFORM frames so far, and their bytes. */
  informs = 0
  informBytes = 0

  /** Body bytes that this side may send. */
  sendCredit: number
  /** Body bytes that the peer may send. */
  receiveCredit: number
  /** Bytes that the reader took and that were not returned as credit. */
  owed = 0

  /**
   * Chunks that wait for credit or for room in the socket, oldest first. `offset` bytes of the first chunk are sent.
   */
  readonly queue: Uint8Array[] = []
  offset = 0
  queued = 0
  /** Trailers that follow the queue, in place of an END flag. */
  trailers: string[] | undefined
  // Membership in the sender's two lists, not states: a stream can be in either list, in both, or in none.
  /** Whether the stream is in the list of streams to write. */
  isListed = false
  /** Whether the producer of the body waits for room. */
  isBlocked = false

  constructor(id: number, role: Role, request: RequestState, sendCredit: number, receiveCredit: number) {
    this.id = id
    this.role = role
    this.request = request
    this.sendCredit = sendCredit
    this.receiveCredit = receiveCredit
  }

  // ---- questions ---------------------------------------------------------------------------------------------------

  /** Whether the stream is closed: then every call for it has no effect. */
  get closed(): boolean {
    return this.request === RequestState.CLOSED
  }

  /** Whether something has shown that the application runs. Also of a closed stream. */
  get started(): boolean {
    return hasStarted(this.response)
  }

  /** Whether the response head was sent or has arrived. Also of a closed stream. */
  get responded(): boolean {
    return hasHead(this.response)
  }

  /** Whether the request asks for an upgrade that was not answered yet. */
  get asksUpgrade(): boolean {
    return this.request === RequestState.UPGRADE_ASKED
  }

  /** The direction that this side sends. */
  get local(): StreamState {
    return this.role === 'caller' ? this.request : this.response
  }

  /** The direction that the peer sends. */
  get remote(): StreamState {
    return this.role === 'caller' ? this.response : this.request
  }

  /** Whether the peer may still send: its direction has not ended, and the stream is open. */
  get isReceiving(): boolean {
    return !isEnded(this.remote)
  }

  /** Whether body may be added to our direction. */
  get takesData(): boolean {
    return takesData(this.local)
  }

  /** Whether the END of our direction is queued. */
  get ending(): boolean {
    return isEnding(this.local)
  }

  /** Whether a frame of body, or the END, can be written now. */
  get sendable(): boolean {
    return this.queued > 0 ? this.sendCredit > 0 : this.ending
  }

  // ---- events ------------------------------------------------------------------------------------------------------

  /**
   * An event in the direction that `by` sends.
   *
   * @throws LocalProtocolError (`by` is this side) or RemoteProtocolError if the event is illegal in the present state
   */
  on(event: StreamEvent, by: Role): void {
    if (by === 'caller') this.request = nextState(this.request, event, by, this)
    else this.response = nextState(this.response, event, by, this)
  }

  /** As `on`, without changing the state. */
  check(event: StreamEvent, by: Role): void {
    nextState(by === 'caller' ? this.request : this.response, event, by, this)
  }

  /** The response head, which concerns the request too: the head accepts or declines an upgrade. @throws as `on` */
  onHead(event: HeadEvent): void {
    const response = nextState(this.response, event, 'server', this)
    this.request = nextState(this.request, event, 'server', this)
    this.response = response
  }

  /** As `onHead`, without changing the states. */
  checkHead(event: HeadEvent): void {
    nextState(this.response, event, 'server', this)
    nextState(this.request, event, 'server', this)
  }

  /** The server gives credit to the request. */
  onCredit(): void {
    this.request = nextState(this.request, StreamEvent.CREDIT, 'server', this)
  }

  /** Whether the end of one direction, or of both, has ended the stream (SPEC.md, section 4). */
  get isOver(): boolean {
    return (
      this.response === ResponseState.CLOSED_RESPONDED ||
      (this.response === ResponseState.UPGRADED_ENDED && this.request === RequestState.ENDED)
    )
  }

  /** RESET, the end of the response, or the end of the link. */
  close(): void {
    this.request = nextState(this.request, StreamEvent.CLOSE, this.role, this)
    this.response = nextState(this.response, StreamEvent.CLOSE, this.role, this)
  }
}
