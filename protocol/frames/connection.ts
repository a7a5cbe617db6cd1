/**
 * One link's rules for both roles, sans-IO: bytes in, events out; calls in, bytes out when the line has room for them.
 *
 * Whatever a peer sends, `receive` does not throw: after a violation `failure` is set, a GOAWAY that says why is among
 * the bytes to send, and nothing more is read. It knows neither sockets nor applications, nor how many requests may run:
 * who serves says so with `slots`, and refuses what is above.
 */

import type { Headers } from '../application.ts'
import { LocalProtocolError, RemoteProtocolError } from '../errors.ts'
import {
  CREDIT_MAX,
  Flag,
  Frame,
  Goaway,
  HELLO_MAX,
  INFORM_COUNT,
  INFORM_MAX,
  PROOF,
  RETIRE_AT,
  STARTED_MAX,
  TEXT_MAX,
} from './constants.ts'
import { HeadReader, type RequestFields } from './head.ts'
import {
  type Handshake,
  type Hello,
  type HelloOptions,
  helloOf,
  type Identity,
  matchHellos,
  proofOf,
  proves,
  readHello,
} from './hello.ts'
import { FrameReader, type FrameSink } from './reader.ts'
import { Sender } from './sender.ts'
import { Stream } from './stream.ts'
import { StreamTable } from './stream-table.ts'

export type Event =
  /** The handshake is done. */
  | { type: 'ready'; peer: Identity }
  | {
      type: 'request'
      stream: Stream
      fields: RequestFields
      body: Uint8Array | undefined
      end: boolean
      hold: boolean
    }
  | { type: 'started'; stream: Stream }
  | { type: 'inform'; stream: Stream; status: string; headers: Headers }
  | { type: 'response'; stream: Stream; status: string; headers: Headers; body: Uint8Array | undefined; end: boolean }
  | { type: 'data'; stream: Stream; bytes: Uint8Array; end: boolean }
  /** The direction's end, with its trailer fields (flat). */
  | { type: 'trailers'; stream: Stream; fields: string[] }
  | { type: 'reset'; stream: Stream; code: number; text: string }
  /** The peer takes no more requests, and did not take `untaken`. */
  | { type: 'goaway'; code: number; text: string; untaken: Stream[] }
  /** To a caller: what it is granted. To a server: what the peer could use. */
  | { type: 'slots'; count: number }
  | { type: 'ping'; token: Uint8Array }
  | { type: 'pong'; token: Uint8Array; running: number; lag: number }

export interface ConnectionOptions extends HelloOptions {
  token?: string | undefined
  /** For tests of what happens at the last stream number. */
  firstStream?: number | undefined
}

export interface RequestFlags {
  end: boolean
  hold: boolean
  upgrade: boolean
}

const EMPTY: Uint8Array = new Uint8Array(0)

export class Connection implements FrameSink {
  readonly role: 'caller' | 'server'
  /** Why the link has to end, if it has to. */
  failure: RemoteProtocolError | undefined
  state: 'hello' | 'proof' | 'open' | 'failed' = 'hello'
  peer: Identity | undefined
  /** A GOAWAY was sent, was received. */
  goingAway = false
  leaving = false

  readonly #sender: Sender
  readonly #reader: FrameReader = new FrameReader(this)
  readonly #heads: HeadReader = new HeadReader()
  #events: Event[] = []

  readonly #token: string | undefined
  readonly #hello: Hello
  readonly #helloPayload: Uint8Array
  #handshake: Handshake | undefined

  readonly #streams: StreamTable = new StreamTable()
  /** Caller: the next number. Server: one more than the highest that came. */
  #next: number
  /** Server: the highest number whose request was given out. */
  #taken = 0

  /** Credit of a new stream, as the peer's HELLO says. */
  #sendWindow = 0

  constructor(options: ConnectionOptions) {
    this.role = options.role
    // An empty key proves nothing.
    if (options.token === '') throw new LocalProtocolError('EMPTY_TOKEN', 'the token is empty')
    this.#token = options.token
    this.#hello = helloOf(options)
    this.#next = options.firstStream ?? 1
    this.#sender = new Sender((stream) => this.#localEnd(stream))
    this.#helloPayload = this.#sender.hello(this.#hello)
  }

  // ---- bytes -----------------------------------------------------------------------------------------------------

  /** What these bytes say. `bytes` are not copied: events refer to them. */
  receive(bytes: Uint8Array): Event[] {
    this.#events = []
    if (this.failure) return this.#events
    try {
      this.#reader.read(bytes)
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error
      this.fail(error)
    }
    return this.#events
  }

  /** Whether there is something to send. */
  get pending(): boolean {
    return this.#sender.pending
  }

  /** Bytes that are written and not taken. */
  get backlog(): number {
    return this.#sender.backlog
  }

  /** What is to be sent now: all that overtakes body, and body until it is some `max` bytes. Streams take turns, a frame each. */
  take(max: number): Uint8Array[] {
    return this.#sender.take(max)
  }

  /** Whether the line takes nothing now: body is then left where what overtakes it still can. */
  set full(full: boolean) {
    this.#sender.full = full
  }

  /** Streams whose `send` had no room and that have now, or that are closed since. Each is given once. */
  relieved(): Stream[] {
    return this.#sender.relieved()
  }

  /** Streams that are open. */
  get size(): number {
    return this.#streams.size
  }

  /** The link is gone: closes all streams, and gives them. */
  abandon(): Stream[] {
    const streams = [...this.#streams.values()]
    for (const stream of streams) this.#close(stream)
    return streams
  }

  /** Whether stream numbers are used up: the link is to be replaced. */
  get worn(): boolean {
    return this.#next > RETIRE_AT
  }

  // ---- calls of a caller -------------------------------------------------------------------------------------------

  /**
   * Begins a request. As much of `body` as there is credit for goes in the same frame, the rest waits.
   *
   * @throws LocalProtocolError `NOT_OPEN`, `HEAD_TOO_LARGE`, `NOT_LATIN1`; nothing was written then
   */
  request(fields: RequestFields, flags: RequestFlags, body: Uint8Array | undefined): Stream {
    if (this.role !== 'caller' || this.state !== 'open' || this.goingAway || this.leaving || this.worn) {
      throw new LocalProtocolError('NOT_OPEN', 'no request can be made on this link now')
    }
    const { upgrade, hold } = flags
    const stream = new Stream(this.#next, upgrade, hold || upgrade ? 0 : this.#sendWindow, this.#hello.window)
    stream.held = hold
    const bits = (hold ? Flag.HOLD : 0) | (upgrade ? Flag.UPGRADE : 0)
    const sent = this.#sender.request(stream, fields, bits, body, flags.end && !upgrade)
    this.#next++
    this.#streams.add(stream)
    if (!upgrade && !stream.localEnded) this.#sender.send(stream, rest(body, sent), flags.end)
    return stream
  }

  // ---- calls of a server -------------------------------------------------------------------------------------------

  /** The application of `stream` is about to run. */
  start(stream: Stream): void {
    if (!stream.closed) this.#sender.start(stream)
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
   * @throws LocalProtocolError `HEAD_TOO_LARGE`, `NOT_LATIN1`; nothing was written then
   */
  respond(stream: Stream, status: string, headers: Headers, body: Uint8Array | undefined, end: boolean): boolean {
    if (stream.closed) return true
    if (stream.responded) throw new LocalProtocolError('RESPONDED', `stream ${stream.id} has its response`)
    const upgraded = stream.upgrade && status.startsWith('101')
    const sent = this.#sender.response(stream, status, headers, body, end && !upgraded)
    stream.responded = true
    stream.started = true
    if (upgraded) this.#upgraded(stream)
    if (stream.localEnded || stream.closed) return true
    return this.#sender.send(stream, rest(body, sent), end)
  }

  /** The request's reader wants its first bytes: gives credit to a request that was held. */
  wanted(stream: Stream): void {
    if (stream.closed || stream.remoteEnded || !stream.held) return
    stream.held = false
    stream.window = this.#hello.window
    this.#sender.window(stream, stream.window)
    this.#checkLoad()
  }

  // ---- calls of both ---------------------------------------------------------------------------------------------

  /**
   * Sends body. An empty chunk is not sent but for its `end`.
   *
   * @returns whether there is room for more; if not, `relieved` gives the stream later
   */
  send(stream: Stream, chunk: Uint8Array, end: boolean): boolean {
    if (stream.closed) return true
    if (stream.localEnded) throw new LocalProtocolError('ENDED', `stream ${stream.id} has been ended`)
    return this.#sender.send(stream, chunk, end)
  }

  /**
   * Ends the direction with trailer fields (flat).
   *
   * @throws LocalProtocolError `HEAD_TOO_LARGE`, `NOT_LATIN1`; nothing was ended then
   */
  trailers(stream: Stream, fields: string[]): void {
    if (stream.closed) return
    if (stream.localEnded) throw new LocalProtocolError('ENDED', `stream ${stream.id} has been ended`)
    this.#sender.trailers(stream, fields)
  }

  /** Whether `send` would find room. If not, `relieved` gives the stream later. */
  room(stream: Stream): boolean {
    return stream.closed || this.#sender.room(stream)
  }

  /** Gives a stream up. What waits to be sent is dropped, and nothing more of it will be heard. */
  reset(stream: Stream, code: number, text: string): void {
    if (stream.closed) return
    this.#close(stream)
    if (this.failure) return
    this.#sender.reset(stream.id, code, text)
    this.#checkLoad()
  }

  /** The reader took `bytes` bytes of the peer's body: they are given back as credit, half a window at a time. */
  consumed(stream: Stream, bytes: number): void {
    if (stream.closed || stream.remoteEnded) return
    stream.owed += bytes
    if (stream.owed * 2 < this.#hello.window) return
    const credit = stream.owed
    stream.owed = 0
    stream.window += credit
    this.#sender.window(stream, credit)
    this.#checkLoad()
  }

  /** Server: what is granted. Caller: what could be used. */
  slots(count: number): void {
    if (this.state !== 'open') return
    this.#sender.slots(count)
    this.#checkLoad()
  }

  /** @param token 8 bytes that come back */
  ping(token: Uint8Array): void {
    if (this.state !== 'open') return
    this.#sender.ping(token)
    this.#checkLoad()
  }

  /** @param running applications at work; @param lag how late the loop is, in milliseconds */
  pong(token: Uint8Array, running: number, lag: number): void {
    if (this.state !== 'open') return
    this.#sender.pong(token, running, lag)
    this.#checkLoad()
  }

  /** Says that this side takes no more requests (server), or makes none (caller). */
  goaway(code: number, text: string): void {
    if (this.goingAway || this.failure) return
    this.goingAway = true
    this.#sender.goaway(this.#taken, code, text)
  }

  /** Ends the link for a reason found outside: the peer gets a GOAWAY that says it, and nothing more is read. */
  fail(error: RemoteProtocolError): void {
    if (this.failure) return
    this.failure = error
    this.state = 'failed'
    this.goingAway = true
    this.#sender.dropAll()
    this.#sender.goaway(this.#taken, GOAWAY_OF[error.code] ?? Goaway.PROTOCOL, error.message)
  }

  // ---- frames in -------------------------------------------------------------------------------------------------

  /** Of FrameSink: how long a payload may be, or that such a frame cannot come. @param stream -1: not known yet */
  limit(type: number, stream: number): number {
    if (this.state !== 'open') {
      const expected = this.state === 'hello' ? Frame.HELLO : Frame.AUTH
      if (type !== expected && type !== Frame.GOAWAY) {
        throw new RemoteProtocolError(
          'HANDSHAKE',
          `a frame of type 0x${type.toString(16)} before the handshake was done`,
        )
      }
    }
    const longest = this.#longest(type)
    const onStream = type >= Frame.REQUEST && type !== Frame.HELLO
    if (stream >= 0 && longest >= 0 && onStream !== stream > 0) {
      throw new RemoteProtocolError('BAD_STREAM', `a frame of type 0x${type.toString(16)} on stream ${stream}`)
    }
    return longest
  }

  #longest(type: number): number {
    const { head, data } = this.#hello
    switch (type) {
      case Frame.DATA:
        return data
      case Frame.REQUEST:
      case Frame.RESPONSE:
        return 4 + head + data
      case Frame.TRAILERS:
        return head
      case Frame.INFORM:
        return INFORM_MAX
      case Frame.WINDOW:
      case Frame.SLOTS:
        return 4
      case Frame.STARTED:
        return 4 * STARTED_MAX
      case Frame.PING:
        return 8
      case Frame.PONG:
        return 16
      case Frame.RESET:
        return 1 + TEXT_MAX
      case Frame.GOAWAY:
        return 5 + TEXT_MAX
      case Frame.AUTH:
        return PROOF
      case Frame.HELLO:
        return HELLO_MAX
      default:
        return -1
    }
  }

  /** Of FrameSink. @throws RemoteProtocolError */
  frame(type: number, flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    switch (type) {
      case Frame.DATA:
        this.#onData(flags, id, bytes, start, end)
        break
      case Frame.REQUEST:
        this.#onRequest(flags, id, bytes, start, end)
        break
      case Frame.RESPONSE:
        this.#onResponse(flags, id, bytes, start, end)
        break
      case Frame.WINDOW:
        this.#onWindow(id, u32(bytes, start, end))
        break
      case Frame.STARTED:
        this.#onStarted(bytes, start, end)
        break
      case Frame.INFORM:
        this.#onInform(id, bytes, start, end)
        break
      case Frame.TRAILERS:
        this.#onTrailers(id, bytes, start, end)
        break
      case Frame.RESET:
        this.#onReset(id, bytes, start, end)
        break
      case Frame.SLOTS:
        this.#events.push({ type: 'slots', count: u32(bytes, start, end) })
        break
      case Frame.PING:
        if (end - start !== 8) throw badLength(type)
        this.#events.push({ type: 'ping', token: copy(bytes, start, end) })
        break
      case Frame.PONG: {
        if (end - start !== 16) throw badLength(type)
        const running = u32(bytes, start + 8, start + 12)
        const lag = u32(bytes, start + 12, end)
        this.#events.push({ type: 'pong', token: copy(bytes, start, start + 8), running, lag })
        break
      }
      case Frame.GOAWAY:
        this.#onGoaway(bytes, start, end)
        break
      case Frame.HELLO:
        this.#onHello(copy(bytes, start, end))
        break
      case Frame.AUTH:
        this.#onAuth(copy(bytes, start, end))
    }
  }

  #onHello(payload: Uint8Array): void {
    if (this.state !== 'hello') throw new RemoteProtocolError('HELLO_TWICE', 'a second HELLO')
    const theirs = readHello(payload)
    matchHellos(this.#hello, theirs)
    this.#sendWindow = theirs.window
    this.#sender.dataMax = theirs.data
    this.#sender.headMax = theirs.head
    this.peer = theirs.identity
    if (this.#token === undefined) {
      this.#open()
      return
    }
    const ours = { nonce: this.#hello.nonce, payload: this.#helloPayload }
    const other = { nonce: theirs.nonce, payload }
    this.#handshake = this.role === 'caller' ? { caller: ours, server: other } : { caller: other, server: ours }
    this.state = 'proof'
    if (this.#hello.dialled) this.#writeProof(this.#token, this.#handshake)
  }

  #onAuth(proof: Uint8Array): void {
    const handshake = this.#handshake
    if (this.state !== 'proof' || !handshake || this.#token === undefined) {
      throw new RemoteProtocolError('HANDSHAKE', 'a proof that was not asked for')
    }
    const expected = proofOf(this.#token, this.role === 'caller' ? 'server' : 'caller', handshake)
    if (!proves(proof, expected)) {
      throw new RemoteProtocolError('UNAUTHENTICATED', 'the peer does not hold the same token')
    }
    if (!this.#hello.dialled) this.#writeProof(this.#token, handshake)
    this.#open()
  }

  #writeProof(token: string, handshake: Handshake): void {
    this.#sender.auth(proofOf(token, this.role, handshake))
  }

  #open(): void {
    this.#handshake = undefined
    this.state = 'open'
    this.#events.push({ type: 'ready', peer: this.peer! })
  }

  #onRequest(flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.role !== 'server') throw wrongRole('REQUEST')
    if (id < this.#next) throw new RemoteProtocolError('BAD_STREAM', `stream ${id} after ${this.#next - 1}`)
    this.#next = id + 1
    const bodyAt = this.#headEnd(bytes, start, end)
    const fields = this.#heads.request(bytes, start + 4, bodyAt)
    const size = end - bodyAt
    const hold = (flags & Flag.HOLD) !== 0
    const upgrade = (flags & Flag.UPGRADE) !== 0
    const ended = (flags & Flag.END) !== 0
    if ((upgrade || hold) && (size > 0 || (upgrade && ended))) {
      throw new RemoteProtocolError('FLOW_CONTROL', `stream ${id} brought body that it has no credit for`)
    }
    const stream = new Stream(id, upgrade, this.#sendWindow, hold || upgrade ? 0 : this.#hello.window)
    stream.held = hold && !upgrade && !ended
    this.#pay(stream, size)
    stream.remoteEnded = ended
    // After our GOAWAY it is above what was taken: the caller knows from that, and its body is to be ignored.
    if (this.goingAway) {
      stream.closed = true
      return
    }
    this.#taken = id
    this.#streams.add(stream)
    const body = size > 0 ? keep(bytes, bodyAt, end) : undefined
    this.#events.push({ type: 'request', stream, fields, body, end: ended, hold })
  }

  #onResponse(flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.role !== 'caller') throw wrongRole('RESPONSE')
    const bodyAt = this.#headEnd(bytes, start, end)
    const { status, headers } = this.#heads.response(bytes, start + 4, bodyAt)
    const stream = this.#known(id)
    if (!stream) return
    if (stream.responded) throw new RemoteProtocolError('RESPONDED', `a second response on stream ${id}`)
    stream.responded = true
    stream.started = true
    if (status.startsWith('101')) {
      if (!stream.upgrade)
        throw new RemoteProtocolError('NOT_UPGRADE', `a 101 on stream ${id}, which asked for no upgrade`)
      this.#upgraded(stream)
    }
    const size = end - bodyAt
    this.#pay(stream, size)
    const ended = (flags & Flag.END) !== 0
    this.#events.push({
      type: 'response',
      stream,
      status,
      headers,
      body: size > 0 ? keep(bytes, bodyAt, end) : undefined,
      end: ended,
    })
    if (ended) this.#remoteEnd(stream)
  }

  #onInform(id: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.role !== 'caller') throw wrongRole('INFORM')
    const stream = this.#known(id)
    const { status, headers } = this.#heads.response(bytes, start, end)
    if (!stream) return
    if (stream.responded) throw new RemoteProtocolError('RESPONDED', `a 1xx after the response on stream ${id}`)
    stream.informs++
    stream.informBytes += end - start
    if (stream.informs > INFORM_COUNT || stream.informBytes > INFORM_MAX) {
      throw new RemoteProtocolError(
        'INFORM_FLOOD',
        `more 1xx answers on stream ${id} than ${INFORM_COUNT}, or too long`,
      )
    }
    stream.started = true
    this.#events.push({ type: 'inform', stream, status, headers })
  }

  #onData(flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    const stream = this.#known(id)
    const ended = (flags & Flag.END) !== 0
    if (!ended && start === end)
      throw new RemoteProtocolError('EMPTY_DATA', `DATA without bytes or END on stream ${id}`)
    if (!stream) return
    if (stream.remoteEnded) throw new RemoteProtocolError('ENDED', `DATA after the END of stream ${id}`)
    if (this.role === 'caller' ? !stream.responded : stream.upgrade && !stream.upgraded) {
      throw new RemoteProtocolError('TOO_EARLY', `DATA before the response on stream ${id}`)
    }
    this.#pay(stream, end - start)
    this.#events.push({ type: 'data', stream, bytes: keep(bytes, start, end), end: ended })
    if (ended) this.#remoteEnd(stream)
  }

  #onTrailers(id: number, bytes: Uint8Array, start: number, end: number): void {
    const stream = this.#known(id)
    const fields = this.#heads.fields(bytes, start, end)
    if (!stream) return
    if (stream.remoteEnded) throw new RemoteProtocolError('ENDED', `TRAILERS after the END of stream ${id}`)
    if (stream.upgrade || (this.role === 'caller' && !stream.responded)) {
      throw new RemoteProtocolError('TOO_EARLY', `TRAILERS on stream ${id}, where none can be`)
    }
    this.#events.push({ type: 'trailers', stream, fields })
    this.#remoteEnd(stream)
  }

  #onReset(id: number, bytes: Uint8Array, start: number, end: number): void {
    if (end - start < 1) throw badLength(Frame.RESET)
    const stream = this.#known(id)
    if (!stream) return
    this.#close(stream)
    this.#events.push({ type: 'reset', stream, code: bytes[start]!, text: textOf(bytes, start + 1, end) })
  }

  #onWindow(id: number, credit: number): void {
    if (credit === 0) throw new RemoteProtocolError('FLOW_CONTROL', `a WINDOW of nothing on stream ${id}`)
    const stream = this.#known(id)
    if (!stream) return
    stream.credit += credit
    if (stream.credit > CREDIT_MAX) {
      throw new RemoteProtocolError('FLOW_CONTROL', `more credit on stream ${id} than ${CREDIT_MAX}`)
    }
    this.#sender.credited(stream)
  }

  #onStarted(bytes: Uint8Array, start: number, end: number): void {
    if (this.role !== 'caller') throw wrongRole('STARTED')
    if ((end - start) % 4 !== 0 || end === start) throw badLength(Frame.STARTED)
    for (let at = start; at < end; at += 4) {
      const stream = this.#known(u32(bytes, at, at + 4))
      if (!stream || stream.started) continue
      stream.started = true
      this.#events.push({ type: 'started', stream })
    }
  }

  #onGoaway(bytes: Uint8Array, start: number, end: number): void {
    if (end - start < 5) throw badLength(Frame.GOAWAY)
    const last = u32(bytes, start, start + 4)
    this.leaving = true
    const untaken: Stream[] = []
    if (this.role === 'caller') {
      for (const stream of this.#streams.values()) {
        if (stream.id <= last) continue
        if (stream.started) {
          throw new RemoteProtocolError(
            'GOAWAY',
            `stream ${stream.id} was started, and is now said not to have been taken`,
          )
        }
        untaken.push(stream)
      }
    }
    for (const stream of untaken) this.#close(stream)
    this.#events.push({ type: 'goaway', code: bytes[start + 4]!, text: textOf(bytes, start + 5, end), untaken })
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  /** The stream of that number; undefined if it was closed. @throws RemoteProtocolError if it was never opened */
  #known(id: number): Stream | undefined {
    const stream = this.#streams.get(id)
    if (!stream && id >= this.#next) {
      throw new RemoteProtocolError('BAD_STREAM', `stream ${id} was never opened`)
    }
    return stream
  }

  #headEnd(bytes: Uint8Array, start: number, end: number): number {
    if (end - start < 4) throw badLength(Frame.REQUEST)
    const length = u32(bytes, start, start + 4)
    const at = start + 4 + length
    if (length > this.#hello.head || at > end) {
      throw new RemoteProtocolError('BAD_HEAD', `a head of ${length} bytes in a frame of ${end - start}`)
    }
    if (end - at > this.#hello.data)
      throw new RemoteProtocolError('FRAME_TOO_LARGE', `${end - at} bytes of body in a frame`)
    return at
  }

  #pay(stream: Stream, bytes: number): void {
    if (bytes > stream.window) {
      throw new RemoteProtocolError(
        'FLOW_CONTROL',
        `${bytes} bytes on stream ${stream.id}, which has credit for ${stream.window}`,
      )
    }
    stream.window -= bytes
  }

  #upgraded(stream: Stream): void {
    stream.upgraded = true
    if (this.role === 'caller') stream.credit = this.#sendWindow
    else stream.window = this.#hello.window
  }

  #remoteEnd(stream: Stream): void {
    stream.remoteEnded = true
    // A response's end ends the stream, whatever the request still had to say; an upgraded one ends when both have.
    if (this.role === 'caller' && !stream.upgraded) this.#close(stream)
    else if (stream.upgraded && stream.localEnded && !stream.ending) this.#close(stream)
  }

  /** The end of our direction is on its way. */
  #localEnd(stream: Stream): void {
    if (stream.upgraded ? stream.remoteEnded : this.role === 'server') this.#close(stream)
  }

  #close(stream: Stream): void {
    stream.closed = true
    this.#streams.delete(stream)
    this.#sender.drop(stream)
  }

  #checkLoad(): void {
    if (this.#sender.overloaded)
      this.fail(new RemoteProtocolError('OVERLOADED', 'the peer does not read what it is owed'))
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

/** A part of a read, kept by reference unless it would hold much more than itself in memory. */
function keep(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return (end - start) * 4 < bytes.buffer.byteLength ? copy(bytes, start, end) : bytes.subarray(start, end)
}

/** In memory of its own. (`slice` of a Buffer is no copy.) */
function copy(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const own = Buffer.allocUnsafeSlow(end - start)
  own.set(bytes.subarray(start, end))
  return own
}

function u32(bytes: Uint8Array, start: number, end: number): number {
  if (end - start !== 4) throw new RemoteProtocolError('BAD_FRAME', `a number of ${end - start} bytes, where it has 4`)
  return ((bytes[start]! << 24) | (bytes[start + 1]! << 16) | (bytes[start + 2]! << 8) | bytes[start + 3]!) >>> 0
}

function badLength(type: number): RemoteProtocolError {
  return new RemoteProtocolError('BAD_FRAME', `a frame of type 0x${type.toString(16)} whose length is not that type's`)
}

function wrongRole(name: string): RemoteProtocolError {
  return new RemoteProtocolError('WRONG_ROLE', `${name} from a side that may not send it`)
}

/** For people. Decoded leniently, without control characters: it goes to logs and error messages. */
function textOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
    .toString()
    .replace(/[\x00-\x1f\x7f-\x9f]/g, ' ')
}
