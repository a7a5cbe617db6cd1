/**
 * The read side of a link, sans-IO: turns frames into events, or throws a RemoteProtocolError that names the violated
 * rule. `FrameConnection` sends the answers.
 */

import { peerError } from '../../contract/coded-errors.ts'
import type { RemoteProtocolError } from '../../contract/errors.ts'
import {
  CREDIT_MAX,
  Flag,
  Frame,
  HELLO_MAX,
  INFORM_COUNT,
  INFORM_MAX,
  PROOF,
  STARTED_MAX,
  TEXT_MAX,
} from './constants.ts'
import type { FrameEvent } from './events.ts'
import type { Handshake } from './handshake.ts'
import { HeadReader } from './head.ts'
import type { Hello, Role } from './hello.ts'
import { copy, keep, keepWhole, textOf, u32 } from './payload.ts'
import { FrameReader, type FrameSink } from './reader.ts'
import type { FrameStream } from './stream.ts'
import { StreamEvent } from './stream-state.ts'
import type { Streams } from './streams.ts'

/** The receiver's calls to the side that sends. */
export interface ReceiverOwner {
  /** The peer has given credit. */
  onCredit(stream: FrameStream): void
  /** Sends our proof. */
  sendProof(proof: Uint8Array): void
  /** The peer's HELLO has arrived. */
  onHello(hello: Hello): void
  /** The peer has violated the protocol on this stream only: aborts the stream; the link continues. */
  onViolation(stream: FrameStream, message: string): void
  /** The peer reset a stream that is already closed here: a queued RESET for it is no longer needed. */
  onPeerReset(id: number): void
}

/** The list outside of a read. It is frozen, so that an event outside of a read is an error and not a leak. */
export const NO_EVENTS: FrameEvent[] = Object.freeze([]) as never[]

export class Receiver implements FrameSink {
  /** The events of the present read. The owner sets the list for each read. */
  events: FrameEvent[] = NO_EVENTS
  /** Whether this side has sent GOAWAY: new requests are ignored. */
  goingAway = false
  /** Whether the peer has sent GOAWAY: it accepts, or makes, no more requests. */
  peerGoingAway = false
  readonly #hello: Hello
  readonly #peerRole: Role
  readonly #handshake: Handshake
  readonly #streams: Streams
  readonly #owner: ReceiverOwner
  readonly #reader: FrameReader = new FrameReader(this)
  readonly #heads: HeadReader = new HeadReader()

  /** @param hello our HELLO: it has our limits */
  constructor(hello: Hello, handshake: Handshake, streams: Streams, owner: ReceiverOwner) {
    this.#hello = hello
    this.#peerRole = hello.role === 'caller' ? 'server' : 'caller'
    this.#handshake = handshake
    this.#streams = streams
    this.#owner = owner
  }

  /** @throws RemoteProtocolError for a violation; then nothing more may be read. `events` has the events before it */
  read(bytes: Uint8Array): void {
    this.#reader.read(bytes)
  }

  // ---- FrameSink ----------------------------------------------------------------------------------------------

  limit(type: number, stream: number): number {
    this.#handshake.check(type)
    const longest = this.#longest(type)
    const onStream = type >= Frame.REQUEST && type !== Frame.HELLO
    if (stream >= 0 && longest >= 0 && onStream !== stream > 0) {
      throw peerError(
        'BAD_STREAM',
        `received a frame of type 0x${type.toString(16)} on stream ${stream}, which cannot have it`,
      )
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

  /** @throws RemoteProtocolError */
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
        this.events.push({ type: 'slots', count: u32(bytes, start, end) })
        break
      case Frame.PING:
        if (end - start !== 8) throw badLength(type)
        this.events.push({ type: 'ping', token: copy(bytes, start, end) })
        break
      case Frame.PONG: {
        if (end - start !== 16) throw badLength(type)
        const running = u32(bytes, start + 8, start + 12)
        const lag = u32(bytes, start + 12, end)
        this.events.push({ type: 'pong', token: copy(bytes, start, start + 8), running, lag })
        break
      }
      case Frame.GOAWAY:
        this.#onGoaway(bytes, start, end)
        break
      case Frame.HELLO:
        this.#onHandshake(this.#handshake.hello(copy(bytes, start, end)))
        break
      case Frame.AUTH:
        this.#onHandshake(this.#handshake.auth(copy(bytes, start, end)))
    }
  }

  #onRequest(flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.#hello.role !== 'server') throw wrongRole('REQUEST')
    if (id < this.#streams.next)
      throw peerError(
        'BAD_STREAM',
        `received stream ${id} after stream ${this.#streams.next - 1}; expected a higher number`,
      )
    this.#streams.next = id + 1
    const bodyAt = this.#headEnd(bytes, start, end)
    const fields = this.#heads.request(bytes, start + 4, bodyAt)
    const size = end - bodyAt
    const hold = (flags & Flag.HOLD) !== 0
    const upgrade = (flags & Flag.UPGRADE) !== 0
    const ended = (flags & Flag.END) !== 0
    if ((upgrade || hold) && (size > 0 || (upgrade && ended))) {
      throw peerError('FLOW_CONTROL', `received body on stream ${id} without credit`)
    }
    const stream = this.#streams.create(id, upgrade, hold)
    this.#useCredit(stream, size)
    if (ended) stream.on(StreamEvent.END, 'caller')
    // After our GOAWAY this number is above the last taken: so the caller knows, and its body is ignored.
    if (this.goingAway) {
      stream.close()
      return
    }
    this.#streams.lastTaken = id
    this.#streams.add(stream)
    const body = size > 0 ? (ended ? keepWhole : keep)(bytes, bodyAt, end) : undefined
    this.events.push({ type: 'request', stream, fields, body, end: ended, hold })
  }

  #onResponse(flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.#hello.role !== 'caller') throw wrongRole('RESPONSE')
    const bodyAt = this.#headEnd(bytes, start, end)
    const { status, headers } = this.#heads.response(bytes, start + 4, bodyAt)
    const stream = this.#streams.find(id)
    if (!stream) return
    if (status.startsWith('101') && !stream.responded) {
      if (!stream.asksUpgrade) {
        // An application behind an older server can cause this, so the link must continue.
        stream.onHead(StreamEvent.HEAD)
        this.#owner.onViolation(stream, `a 101 on stream ${id}, which asked for no upgrade`)
        return
      }
      stream.onHead(StreamEvent.UPGRADE)
      this.#streams.openUpgraded(stream)
    } else stream.onHead(StreamEvent.HEAD)
    const size = end - bodyAt
    this.#useCredit(stream, size)
    const ended = (flags & Flag.END) !== 0
    this.events.push({
      type: 'head',
      stream,
      status,
      headers,
      body: size > 0 ? (ended ? keepWhole : keep)(bytes, bodyAt, end) : undefined,
      end: ended,
    })
    if (ended) this.#streams.remoteEnd(stream)
  }

  #onInform(id: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.#hello.role !== 'caller') throw wrongRole('INFORM')
    const stream = this.#streams.find(id)
    const { status, headers } = this.#heads.response(bytes, start, end)
    if (!stream) return
    stream.on(StreamEvent.INFORM, 'server')
    stream.informs++
    stream.informBytes += end - start
    if (stream.informs > INFORM_COUNT || stream.informBytes > INFORM_MAX) {
      throw peerError(
        'INFORM_FLOOD',
        `received more 1xx responses on stream ${id} than ${INFORM_COUNT}, or longer ones than ${INFORM_MAX} bytes`,
      )
    }
    this.events.push({ type: 'inform', stream, status, headers })
  }

  #onData(flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    const stream = this.#streams.find(id)
    const ended = (flags & Flag.END) !== 0
    if (!ended && start === end)
      throw peerError('EMPTY_DATA', `received DATA without bytes and without END on stream ${id}`)
    if (!stream) return
    stream.on(StreamEvent.DATA, this.#peerRole)
    this.#useCredit(stream, end - start)
    this.events.push({ type: 'data', stream, bytes: keep(bytes, start, end), end: ended })
    if (ended) this.#streams.remoteEnd(stream)
  }

  #onTrailers(id: number, bytes: Uint8Array, start: number, end: number): void {
    const stream = this.#streams.find(id)
    const fields = this.#heads.fields(bytes, start, end)
    if (!stream) return
    stream.on(StreamEvent.TRAILERS, this.#peerRole)
    this.events.push({ type: 'end', stream, fields })
    if (stream.isOver) this.#streams.close(stream)
  }

  #onReset(id: number, bytes: Uint8Array, start: number, end: number): void {
    if (end - start < 1) throw badLength(Frame.RESET)
    const stream = this.#streams.find(id)
    if (!stream) {
      this.#owner.onPeerReset(id)
      return
    }
    this.#streams.close(stream)
    this.events.push({ type: 'abort', stream, code: bytes[start]!, text: textOf(bytes, start + 1, end) })
  }

  #onWindow(id: number, credit: number): void {
    if (credit === 0) throw peerError('FLOW_CONTROL', `received a WINDOW of 0 bytes on stream ${id}`)
    const stream = this.#streams.find(id)
    if (!stream) return
    if (this.#hello.role === 'caller') stream.onCredit()
    stream.sendCredit += credit
    if (stream.sendCredit > CREDIT_MAX) {
      throw peerError('FLOW_CONTROL', `received more credit on stream ${id} than ${CREDIT_MAX} bytes`)
    }
    this.#owner.onCredit(stream)
  }

  #onStarted(bytes: Uint8Array, start: number, end: number): void {
    if (this.#hello.role !== 'caller') throw wrongRole('STARTED')
    if ((end - start) % 4 !== 0 || end === start) throw badLength(Frame.STARTED)
    for (let at = start; at < end; at += 4) {
      const stream = this.#streams.find(u32(bytes, at, at + 4))
      if (!stream) continue
      const wasStarted = stream.started
      stream.on(StreamEvent.START, 'server')
      if (wasStarted) continue
      this.events.push({ type: 'started', stream })
    }
  }

  #onGoaway(bytes: Uint8Array, start: number, end: number): void {
    if (end - start < 5) throw badLength(Frame.GOAWAY)
    const last = u32(bytes, start, start + 4)
    this.peerGoingAway = true
    const untaken: FrameStream[] = []
    if (this.#hello.role === 'caller') {
      for (const stream of this.#streams.all()) {
        if (stream.id <= last) continue
        stream.check(StreamEvent.UNTAKEN, 'server')
        untaken.push(stream)
      }
    }
    for (const stream of untaken) this.#streams.close(stream)
    this.events.push({ type: 'goaway', code: bytes[start + 4]!, text: textOf(bytes, start + 5, end), untaken })
  }

  // ---- internals ----------------------------------------------------------------------------------------------------

  #headEnd(bytes: Uint8Array, start: number, end: number): number {
    if (end - start < 4) throw badLength(Frame.REQUEST)
    const length = u32(bytes, start, start + 4)
    const at = start + 4 + length
    if (length > this.#hello.head || at > end) {
      throw peerError('BAD_HEAD', `received a head of ${length} bytes in a frame of ${end - start}`)
    }
    if (end - at > this.#hello.data)
      throw peerError(
        'FRAME_TOO_LARGE',
        `received ${end - at} bytes of body in one frame; the limit is ${this.#hello.data}`,
      )
    return at
  }

  #useCredit(stream: FrameStream, bytes: number): void {
    if (bytes > stream.receiveCredit) {
      throw peerError(
        'FLOW_CONTROL',
        `received ${bytes} bytes on stream ${stream.id}, which has credit for ${stream.receiveCredit}`,
      )
    }
    stream.receiveCredit -= bytes
  }

  /** One step of the handshake is complete. */
  #onHandshake(proof: Uint8Array | undefined): void {
    const { peerHello, state } = this.#handshake
    if (peerHello) this.#owner.onHello(peerHello)
    if (proof) this.#owner.sendProof(proof)
    if (state === 'open' && peerHello) this.events.push({ type: 'ready', peer: peerHello.identity })
  }
}

function badLength(type: number): RemoteProtocolError {
  return peerError('BAD_FRAME', `received a frame of type 0x${type.toString(16)} with the wrong length`)
}

function wrongRole(name: string): RemoteProtocolError {
  return peerError('WRONG_ROLE', `received ${name}, which only the other side may send`)
}
