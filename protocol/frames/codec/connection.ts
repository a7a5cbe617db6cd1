/**
 * One link's rules for both roles, sans-IO: bytes in, events out; calls in, bytes out when the line has room for them.
 *
 * Whatever a peer sends, `receive` does not throw: after a violation `failure` is set, a GOAWAY that says why is among
 * the bytes to send, and nothing more is read. It knows neither sockets nor applications, nor how many requests may run:
 * who serves says so with `slots`, and refuses what is above.
 */

import type { Headers } from '../../contract/application.ts'
import { localError, peerError } from '../../contract/coded-errors.ts'
import { RemoteProtocolError } from '../../contract/errors.ts'
import { Feature, Flag, Goaway, Reset, UPGRADED_MAX } from './constants.ts'
import type { Event } from './events.ts'
import { Handshake } from './handshake.ts'
import type { RequestFields } from './head.ts'
import { type Hello, type HelloOptions, helloOf, type Identity, type Role } from './hello.ts'
import { type Answering, NO_EVENTS, Receiver } from './receiver.ts'
import { Sender } from './sender.ts'
import type { Stream } from './stream.ts'
import { Streams } from './streams.ts'
import { type Token, tokensOf } from './tokens.ts'

export type { Event } from './events.ts'

export interface ConnectionOptions extends HelloOptions {
  /** Shared secrets: both sides have one in common, or neither side has any. */
  token?: Token | undefined
  /** For tests of what happens at the last stream number. */
  firstStream?: number | undefined
}

export interface RequestFlags {
  end: boolean
  hold: boolean
  upgrade: boolean
}

const EMPTY: Uint8Array = new Uint8Array(0)

export class Connection implements Answering {
  readonly role: Role
  /** Why the link has to end, if it has to. */
  failure: RemoteProtocolError | undefined
  readonly #sender: Sender
  readonly #streams: Streams
  readonly #handshake: Handshake
  readonly #receiver: Receiver
  readonly #window: number
  /** The largest number of slots that was granted. */
  #mostSlots = 0

  constructor(options: ConnectionOptions) {
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

  /** Who the other side says it is, once its HELLO has come. */
  get peer(): Identity | undefined {
    return this.#handshake.peer
  }

  /** Whether `feature` may be used on this link (SPEC.md, *Features*): never before it is open. */
  agreed(feature: string): boolean {
    return this.#handshake.agreed(feature)
  }

  /** A GOAWAY was sent. */
  get goingAway(): boolean {
    return this.#receiver.goingAway
  }

  /** A GOAWAY has come. */
  get leaving(): boolean {
    return this.#receiver.leaving
  }

  // ---- bytes -----------------------------------------------------------------------------------------------------

  /** What these bytes say. `bytes` are not copied: events refer to them. */
  receive(bytes: Uint8Array): Event[] {
    const events: Event[] = []
    if (this.failure) return events
    const receiver = this.#receiver
    receiver.events = events
    try {
      receiver.read(bytes)
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error
      this.fail(error)
    } finally {
      // A link that is idle afterwards must not keep the requests and bodies of its last read in memory.
      receiver.events = NO_EVENTS
    }
    return events
  }

  /** Whether there is something to send. */
  get pending(): boolean {
    return this.#sender.pending
  }

  /** Bytes queued for `take`, without the bodies that wait in their streams. */
  get backlog(): number {
    return this.#sender.backlog
  }

  /** What is to be sent now: all that overtakes body, and body until it is some `max` bytes. Streams take turns, a frame each. */
  take(max: number): Uint8Array[] {
    return this.#sender.take(max)
  }

  /**
   * Whether the socket accepts no more bytes now; `take` is not called until it does. Body then stays in its stream, so
   * that control frames can overtake it, and a request that is aborted is removed from the queue instead of being sent
   * and reset.
   */
  set full(full: boolean) {
    this.#sender.full = full
  }

  /**
   * Whether more than `CONTROL_MAX` bytes are queued for a socket that accepts none: no new request should use this
   * link.
   */
  get congested(): boolean {
    return this.#sender.congested
  }

  /** Streams whose `send` had no room and that have now, or that are closed since. Each is given once. */
  relieved(): Stream[] {
    return this.#sender.relieved()
  }

  /** Streams that are open. */
  get size(): number {
    return this.#streams.size
  }

  /** The open streams. */
  get streams(): Stream[] {
    return this.#streams.all()
  }

  /** The link is gone: closes all streams, and gives them. */
  abandon(): Stream[] {
    const streams = this.#streams.all()
    for (const stream of streams) this.#streams.close(stream)
    return streams
  }

  /** Whether stream numbers are used up: the link is to be replaced. */
  get worn(): boolean {
    return this.#streams.worn
  }

  // ---- calls of a caller -------------------------------------------------------------------------------------------

  /**
   * Begins a request. As much of `body` as there is credit for goes in the same frame, the rest waits.
   *
   * @throws LocalProtocolError `NOT_OPEN`, `HEAD_TOO_LARGE`, `NOT_LATIN1`; nothing was written then
   */
  request(fields: RequestFields, flags: RequestFlags, body: Uint8Array | undefined): Stream {
    if (this.role !== 'caller' || this.state !== 'open' || this.goingAway || this.leaving || this.worn) {
      throw localError('NOT_OPEN', 'no request can be sent on this link: it is not open')
    }
    const { upgrade, hold } = flags
    const stream = this.#streams.make(this.#streams.next, upgrade, hold)
    stream.held = hold
    const bits = (hold ? Flag.HOLD : 0) | (upgrade ? Flag.UPGRADE : 0)
    const sent = this.#sender.request(stream, fields, bits, body, flags.end && !upgrade)
    this.#streams.next++
    this.#streams.add(stream)
    if (!upgrade && !stream.localEnded) this.#sender.send(stream, rest(body, sent), flags.end)
    return stream
  }

  // ---- calls of a server -------------------------------------------------------------------------------------------

  /** The application of `stream` is about to run. */
  start(stream: Stream): void {
    if (!stream.closed) this.#sender.control.start(stream)
  }

  /** A 1xx answer. False and without effect once the budget (`INFORM_COUNT`, `INFORM_MAX`) is spent, or after the head. */
  inform(stream: Stream, status: string, headers: Headers): boolean {
    if (stream.closed || stream.responded || !this.#sender.inform(stream, status, headers)) return false
    stream.started = true
    return true
  }

  /**
   * The final head, with what is there of the body. A 101 on an upgrade opens the stream for DATA both ways.
   *
   * @returns whether there is room for more; if not, `relieved` gives the stream later
   * @throws LocalProtocolError `HEAD_TOO_LARGE`, `NOT_LATIN1`, `NOT_UPGRADE`; nothing was written then
   */
  respond(stream: Stream, status: string, headers: Headers, body: Uint8Array | undefined, end: boolean): boolean {
    if (stream.closed) return true
    if (stream.responded) throw localError('RESPONDED', `stream ${stream.id} has a response already`)
    const upgraded = status.startsWith('101')
    if (upgraded && !stream.upgrade) {
      throw localError('NOT_UPGRADE', 'a 101 was sent for a request without an upgrade')
    }
    const sent = this.#sender.response(stream, status, headers, body, end && !upgraded)
    stream.responded = true
    stream.started = true
    if (upgraded) this.#streams.upgraded(stream)
    if (stream.localEnded || stream.closed) return true
    return this.#sender.send(stream, rest(body, sent), end)
  }

  /** The request's reader wants its first bytes: gives credit to a request that was held. */
  wanted(stream: Stream): void {
    if (stream.closed || stream.remoteEnded || !stream.held) return
    stream.held = false
    stream.window = this.#window
    this.#sender.control.window(stream, stream.window)
  }

  // ---- calls of both ---------------------------------------------------------------------------------------------

  /**
   * Sends body. An empty chunk is not sent but for its `end`.
   *
   * @returns whether there is room for more; if not, `relieved` gives the stream later
   */
  send(stream: Stream, chunk: Uint8Array, end: boolean): boolean {
    if (stream.closed) return true
    if (stream.localEnded) throw localError('ENDED', `stream ${stream.id} has ended already`)
    return this.#sender.send(stream, chunk, end)
  }

  /**
   * Ends the direction with trailer fields (flat). For a peer that does not accept trailers here, the fields are
   * dropped.
   *
   * @throws LocalProtocolError `HEAD_TOO_LARGE`, `NOT_LATIN1`; nothing was ended then
   */
  trailers(stream: Stream, fields: string[]): void {
    if (stream.closed) return
    if (stream.localEnded) throw localError('ENDED', `stream ${stream.id} has ended already`)
    if (stream.upgrade && !this.agreed(Feature.UPGRADE_TRAILERS)) this.#sender.send(stream, EMPTY, true)
    else this.#sender.trailers(stream, fields)
  }

  /** Whether `send` would find room. If not, `relieved` gives the stream later. */
  room(stream: Stream): boolean {
    return stream.closed || this.#sender.room(stream)
  }

  /** Gives a stream up. What waits to be sent is dropped, and nothing more of it will be heard. */
  reset(stream: Stream, code: number, text: string): void {
    if (stream.closed) return
    // A REQUEST that was never sent needs no RESET: its stream number becomes a gap.
    const withdrawn = this.#sender.control.queued.has(stream)
    this.#streams.close(stream)
    if (this.failure || withdrawn) return
    this.#sender.control.reset(stream.id, code, text)
    if (this.role === 'server') this.#checkOwed()
  }

  /** The reader took `bytes` bytes of the peer's body: they are given back as credit, half a window at a time. */
  consumed(stream: Stream, bytes: number): void {
    if (stream.closed || stream.remoteEnded) return
    stream.owed += bytes
    if (stream.owed * 2 >= this.#window) this.#giveBack(stream)
  }

  /**
   * The reader has taken all bytes: gives all credit back at once, so that the peer sees that the reader waits for it.
   */
  starved(stream: Stream): void {
    if (!stream.closed && !stream.remoteEnded && stream.owed > 0) this.#giveBack(stream)
  }

  #giveBack(stream: Stream): void {
    const credit = stream.owed
    stream.owed = 0
    stream.window += credit
    this.#sender.control.window(stream, credit)
  }

  /** Whether the peer's reader has taken all of the body that `send` was given, by the credit that it gave back. */
  taken(stream: Stream): boolean {
    return stream.queued === 0 && stream.credit >= this.#streams.sendWindow
  }

  /** Server: what is granted. Caller: what could be used. */
  slots(count: number): void {
    if (this.state !== 'open') return
    if (count > this.#mostSlots) this.#mostSlots = count
    this.#sender.control.slots(count)
  }

  /** Replaces a PING that is still queued. @param token 8 bytes that the PONG repeats */
  ping(token: Uint8Array): void {
    if (this.state === 'open') this.#sender.control.ping(token)
  }

  /**
   * Replaces a PONG that is still queued. @param running applications at work; @param lag how late the loop is, in
   * milliseconds
   */
  pong(token: Uint8Array, running: number, lag: number): void {
    if (this.state === 'open') this.#sender.control.pong(token, running, lag)
  }

  /** Says that this side takes no more requests (server), or makes none (caller). */
  goaway(code: number, text: string): void {
    if (this.goingAway || this.failure) return
    this.#receiver.goingAway = true
    this.#sender.control.goaway(this.#streams.taken, code, text)
  }

  /** Ends the link for a reason found outside: the peer gets a GOAWAY that says it, and nothing more is read. */
  fail(error: RemoteProtocolError): void {
    if (this.failure) return
    this.failure = error
    this.#handshake.state = 'failed'
    this.#receiver.goingAway = true
    this.#sender.dropAll()
    this.#sender.control.goaway(this.#streams.taken, GOAWAY_OF[error.code] ?? Goaway.PROTOCOL, error.message)
  }

  // ---- of Answering ----------------------------------------------------------------------------------------------

  credited(stream: Stream): void {
    this.#sender.credited(stream)
  }

  prove(proof: Uint8Array): void {
    this.#sender.control.auth(proof)
  }

  met(hello: Hello): void {
    this.#streams.sendWindow = hello.window
    this.#sender.dataMax = hello.data
    this.#sender.headMax = hello.head
  }

  violated(stream: Stream, message: string): void {
    this.reset(stream, Reset.PROTOCOL, message)
    this.#receiver.events.push({ type: 'violation', stream, text: message })
  }

  peerReset(id: number): void {
    this.#sender.control.queued.withdrawReset(id)
  }

  /**
   * A caller has at most its slots and its upgrades open. If more RESETs are queued, it sends requests endlessly and
   * does not read.
   */
  #checkOwed(): void {
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
