/**
 * The rules of one link for both roles, sans-IO: bytes in, events out; calls in, bytes out. `receive` never throws
 * because of a peer's bytes: after a violation `failure` is set, and GOAWAY with the reason is queued. The server
 * decides how many requests may run.
 */

import type { Headers } from '../../contract/application.ts'
import { localError, peerError } from '../../contract/coded-errors.ts'
import { RemoteProtocolError } from '../../contract/errors.ts'
import { Feature, Flag, Goaway, Reset, UPGRADED_MAX } from './constants.ts'
import type { FrameEvent } from './events.ts'
import { Handshake } from './handshake.ts'
import type { RequestFields } from './head.ts'
import { type Hello, type HelloOptions, helloOf, type Identity, type Role } from './hello.ts'
import { NO_EVENTS, Receiver, type ReceiverOwner } from './receiver.ts'
import { Sender } from './sender.ts'
import type { FrameStream } from './stream.ts'
import { RequestState, StreamEvent } from './stream-state.ts'
import { Streams } from './streams.ts'
import { type Token, tokensOf } from './tokens.ts'

export type { FrameEvent } from './events.ts'

export interface FrameConnectionOptions extends HelloOptions {
  /** The shared secrets. Either both sides have a secret in common, or neither side has any. */
  token?: Token | undefined
  /** The first stream number. For tests of the last numbers. */
  firstStream?: number | undefined
}

interface RequestFlags {
  /** The request has no more body after the REQUEST frame. */
  end: boolean
  /** The body waits until the application reads it (`Expect: 100-continue`). */
  hold: boolean
  /** The request asks for an upgrade. */
  upgrade: boolean
}

const EMPTY: Uint8Array = new Uint8Array(0)

export class FrameConnection implements ReceiverOwner {
  readonly role: Role
  /** Why the link must end; undefined while the link is healthy. */
  failure: RemoteProtocolError | undefined
  readonly #sender: Sender
  readonly #streams: Streams
  readonly #handshake: Handshake
  readonly #receiver: Receiver
  readonly #window: number
  /** The largest number of slots that was granted so far. */
  #mostSlots = 0

  constructor(options: FrameConnectionOptions) {
    const hello = helloOf(options)
    this.role = options.role
    this.#window = hello.window
    this.#sender = new Sender((stream) => this.#streams.localEnd(stream))
    this.#streams = new Streams(this.role, hello.window, options.firstStream ?? 1, (stream) =>
      this.#sender.drop(stream),
    )
    this.#handshake = new Handshake(hello, this.#sender.control.hello(hello), tokensOf(options.token))
    this.#receiver = new Receiver(hello, this.#handshake, this.#streams, this)
  }

  get state(): 'hello' | 'proof' | 'open' | 'failed' {
    return this.#handshake.state
  }

  /** The identity in the peer's HELLO; undefined before the HELLO has arrived. */
  get peer(): Identity | undefined {
    return this.#handshake.peer
  }

  /** Whether `feature` may be used on this link (SPEC.md, *Features*). Always false before the link is open. */
  agreed(feature: string): boolean {
    return this.#handshake.agreed(feature)
  }

  /** Whether this side has sent GOAWAY. */
  get goingAway(): boolean {
    return this.#receiver.goingAway
  }

  /** Whether the peer has sent GOAWAY. */
  get peerGoingAway(): boolean {
    return this.#receiver.peerGoingAway
  }

  // ---- bytes -----------------------------------------------------------------------------------------------------

  /** Parses bytes of the peer. Events may refer to `bytes`, which are not copied. */
  receive(bytes: Uint8Array): FrameEvent[] {
    const events: FrameEvent[] = []
    if (this.failure) return events
    const receiver = this.#receiver
    receiver.events = events
    try {
      receiver.read(bytes)
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error
      this.fail(error)
    } finally {
      // An idle link must not keep the requests and bodies of its last read in memory.
      receiver.events = NO_EVENTS
    }
    return events
  }

  /** Whether `take` has something to send. */
  get pending(): boolean {
    return this.#sender.pending
  }

  /** Bytes that are queued for `take`. Bodies that wait in their streams do not count. */
  get backlog(): number {
    return this.#sender.backlog
  }

  /**
   * The bytes to send now: all frames that overtake body, then body until about `max` bytes are taken. Streams
   * alternate, one frame each.
   */
  take(max: number): Uint8Array[] {
    return this.#sender.take(max)
  }

  /**
   * Whether the socket accepts no more bytes now. The owner calls `take` again only when the socket accepts bytes.
   * Until then body stays in its stream, so that control frames can overtake it, and an aborted request is removed from
   * the queue instead of being sent and reset.
   */
  set full(full: boolean) {
    this.#sender.full = full
  }

  /**
   * Whether more than `CONTROL_MAX` bytes are queued for a socket that accepts none. Then no new request should use
   * this link.
   */
  get congested(): boolean {
    return this.#sender.congested
  }

  /** Streams for which `data` returned false, and which have room again or are closed. Each is returned once. */
  unblocked(): FrameStream[] {
    return this.#sender.unblocked()
  }

  /** The number of open streams. */
  get size(): number {
    return this.#streams.size
  }

  /** The open streams. */
  get streams(): FrameStream[] {
    return this.#streams.all()
  }

  /** The link is closed: closes all streams and returns them. */
  abandon(): FrameStream[] {
    const streams = this.#streams.all()
    for (const stream of streams) this.#streams.close(stream)
    return streams
  }

  /** Whether the stream numbers are exhausted: the caller must open another link. */
  get exhausted(): boolean {
    return this.#streams.exhausted
  }

  // ---- the caller's calls -------------------------------------------------------------------------------------------

  /**
   * Begins a request. The REQUEST frame carries as much of `body` as there is credit for; the rest is queued.
   *
   * @throws LocalProtocolError `NOT_OPEN`, `HEAD_TOO_LARGE` or `NOT_LATIN1`; then nothing was written
   */
  request(fields: RequestFields, flags: RequestFlags, body: Uint8Array | undefined): FrameStream {
    if (this.role !== 'caller' || this.state !== 'open' || this.goingAway || this.peerGoingAway || this.exhausted) {
      throw localError('NOT_OPEN', 'the link is not open, or it takes no more requests')
    }
    const { upgrade, hold } = flags
    const stream = this.#streams.create(this.#streams.next, upgrade, hold)
    const bits = (hold ? Flag.HOLD : 0) | (upgrade ? Flag.UPGRADE : 0)
    const sent = this.#sender.request(stream, fields, bits, body, flags.end && !upgrade)
    this.#streams.next++
    this.#streams.add(stream)
    if (stream.takesData) this.#sender.data(stream, rest(body, sent), flags.end)
    return stream
  }

  // ---- the server's calls -------------------------------------------------------------------------------------------

  /** The application of the request is about to run: queues STARTED. */
  start(stream: FrameStream): void {
    if (!stream.closed) this.#sender.control.start(stream)
  }

  /**
   * An informational response (1xx).
   *
   * @returns false, without effect, after the head and when the budget (`INFORM_COUNT`, `INFORM_MAX`) is spent
   */
  inform(stream: FrameStream, status: string, headers: Headers): boolean {
    if (stream.closed || stream.responded || !this.#sender.inform(stream, status, headers)) return false
    stream.on(StreamEvent.INFORM, 'server')
    return true
  }

  /**
   * The final head, with the first bytes of the body. A 101 opens the stream for raw bytes in both directions.
   *
   * @returns whether there is room for more; if not, `unblocked` returns the stream later
   * @throws LocalProtocolError `RESPONDED`, `NOT_UPGRADE`, `HEAD_TOO_LARGE` or `NOT_LATIN1`; then nothing was written
   */
  head(stream: FrameStream, status: string, headers: Headers, body: Uint8Array | undefined, end: boolean): boolean {
    if (stream.closed) return true
    const upgraded = status.startsWith('101')
    const event = upgraded ? StreamEvent.UPGRADE : StreamEvent.HEAD
    const sent = this.#sender.head(stream, event, status, headers, body, end && !upgraded)
    if (upgraded) this.#streams.openUpgraded(stream)
    if (!stream.takesData) return true
    return this.#sender.data(stream, rest(body, sent), end)
  }

  /** The application reads a held request body for the first time: gives it credit. */
  releaseHold(stream: FrameStream): void {
    if (stream.request !== RequestState.HELD) return
    stream.onCredit()
    stream.receiveCredit = this.#window
    this.#sender.control.window(stream, stream.receiveCredit)
  }

  // ---- calls of both roles ------------------------------------------------------------------------------------------

  /**
   * Sends body. An empty chunk is sent only with `end`.
   *
   * @returns whether there is room for more; if not, `unblocked` returns the stream later
   * @throws LocalProtocolError `ENDED` or `TOO_EARLY` if this direction takes no body now
   */
  data(stream: FrameStream, chunk: Uint8Array, end: boolean): boolean {
    if (stream.closed) return true
    stream.check(StreamEvent.DATA, this.role)
    return this.#sender.data(stream, chunk, end)
  }

  /**
   * Ends our direction.
   *
   * @param trailers flat; dropped if the peer does not accept trailers on this stream
   * @throws LocalProtocolError `ENDED`, `TOO_EARLY`, `HEAD_TOO_LARGE` or `NOT_LATIN1`; then the direction has not ended
   */
  end(stream: FrameStream, trailers?: string[]): void {
    if (stream.closed) return
    if (trailers === undefined) {
      this.data(stream, EMPTY, true)
      return
    }
    stream.check(StreamEvent.TRAILERS, this.role)
    if (stream.request === RequestState.UPGRADE_DECLINED && !this.agreed(Feature.UPGRADE_TRAILERS))
      this.#sender.data(stream, EMPTY, true)
    else this.#sender.endWithTrailers(stream, trailers)
  }

  /** Whether there is room for more body. If not, `unblocked` returns the stream later. */
  hasRoom(stream: FrameStream): boolean {
    return stream.closed || this.#sender.hasRoom(stream)
  }

  /** Aborts a stream: its queued bytes are dropped, and no event follows for it. */
  abort(stream: FrameStream, code: number, text: string): void {
    if (stream.closed) return
    // A REQUEST that was never sent needs no RESET: its stream number becomes a gap.
    const withdrawn = this.#sender.control.queued.has(stream)
    this.#streams.close(stream)
    if (this.failure || withdrawn) return
    this.#sender.control.reset(stream.id, code, text)
    if (this.role === 'server') this.#checkQueuedResets()
  }

  /** The reader took `bytes` bytes of the peer's body: they are returned as credit, half a window at a time. */
  consumed(stream: FrameStream, bytes: number): void {
    if (!stream.isReceiving) return
    stream.owed += bytes
    if (stream.owed * 2 >= this.#window) this.#sendCredit(stream)
  }

  /**
   * The reader has taken all bytes and waits for more: returns all credit at once, so that the peer can see that the
   * reader waits.
   */
  returnCredit(stream: FrameStream): void {
    if (stream.isReceiving && stream.owed > 0) this.#sendCredit(stream)
  }

  #sendCredit(stream: FrameStream): void {
    const credit = stream.owed
    stream.owed = 0
    stream.receiveCredit += credit
    this.#sender.control.window(stream, credit)
  }

  /** Whether the peer's reader has taken all body that this side has sent. The returned credit tells. */
  isAllRead(stream: FrameStream): boolean {
    return stream.queued === 0 && stream.sendCredit >= this.#streams.sendWindow
  }

  /** Sends SLOTS. @param count server: the granted slots; caller: the slots that it could use */
  slots(count: number): void {
    if (this.state !== 'open') return
    if (count > this.#mostSlots) this.#mostSlots = count
    this.#sender.control.slots(count)
  }

  /** Sends PING, and replaces a PING that is still queued. @param token 8 bytes that the PONG repeats */
  ping(token: Uint8Array): void {
    if (this.state === 'open') this.#sender.control.ping(token)
  }

  /**
   * Sends PONG, and replaces a PONG that is still queued.
   *
   * @param running applications that run now
   * @param lag delay of the event loop, milliseconds
   */
  pong(token: Uint8Array, running: number, lag: number): void {
    if (this.state === 'open') this.#sender.control.pong(token, running, lag)
  }

  /** Sends GOAWAY: a server accepts no more requests, or a caller makes no more. */
  goaway(code: number, text: string): void {
    if (this.goingAway || this.failure) return
    this.#receiver.goingAway = true
    this.#sender.control.goaway(this.#streams.lastTaken, code, text)
  }

  /** Ends the link: the peer gets a GOAWAY with the reason, and nothing more is read. */
  fail(error: RemoteProtocolError): void {
    if (this.failure) return
    this.failure = error
    this.#handshake.state = 'failed'
    this.#receiver.goingAway = true
    this.#sender.dropAll()
    this.#sender.control.goaway(this.#streams.lastTaken, GOAWAY_OF[error.code] ?? Goaway.PROTOCOL, error.message)
  }

  // ---- ReceiverOwner ----------------------------------------------------------------------------------------------

  onCredit(stream: FrameStream): void {
    this.#sender.onCredit(stream)
  }

  sendProof(proof: Uint8Array): void {
    this.#sender.control.auth(proof)
  }

  onHello(hello: Hello): void {
    this.#streams.sendWindow = hello.window
    this.#sender.dataMax = hello.data
    this.#sender.headMax = hello.head
  }

  onViolation(stream: FrameStream, message: string): void {
    this.abort(stream, Reset.PROTOCOL, message)
    this.#receiver.events.push({ type: 'violation', stream, text: message })
  }

  onPeerReset(id: number): void {
    this.#sender.control.queued.removeReset(id)
  }

  /**
   * A caller has at most its slots and its upgrades open. If more RESETs are queued, the caller sends requests without
   * end and does not read.
   */
  #checkQueuedResets(): void {
    if (this.#sender.control.queued.resetCount > this.#mostSlots + UPGRADED_MAX) {
      this.fail(peerError('OVERLOADED', 'the peer sends requests above its slots, and does not read the refusals'))
    }
  }
}

const GOAWAY_OF: Readonly<Record<string, number>> = {
  UNAUTHENTICATED: Goaway.UNAUTHENTICATED,
  VERSION: Goaway.VERSION,
  OVERLOADED: Goaway.OVERLOADED,
  TIMEOUT: Goaway.TIMEOUT,
}

function rest(body: Uint8Array | undefined, sent: number): Uint8Array {
  return body === undefined || sent === body.length ? EMPTY : body.subarray(sent)
}
