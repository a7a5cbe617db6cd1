/**
 * The read side of a link, sans-IO: frames become events, or a RemoteProtocolError that says which rule they broke.
 * Does not know what is sent; the calls that answer are `Connection`'s.
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
import type { Event } from './events.ts'
import type { Handshake } from './handshake.ts'
import { HeadReader } from './head.ts'
import type { Hello, Role } from './hello.ts'
import { FrameReader, type FrameSink } from './reader.ts'
import type { FrameStream } from './stream.ts'
import { StreamEvent } from './stream-state.ts'
import type { Streams } from './streams.ts'

/** What a receiver needs of the side that sends. */
export interface Answering {
  /** The peer gave credit. */
  credited(stream: FrameStream): void
  /** A proof is due. */
  prove(proof: Uint8Array): void
  /** The peer's HELLO has come. */
  met(hello: Hello): void
  /** The peer violated the protocol on this stream only: it is reset, and the link continues. */
  violated(stream: FrameStream, message: string): void
  /** The peer reset a stream that is already closed here: a queued RESET for it is no longer needed. */
  peerReset(id: number): void
}

/** Memory of one's own costs more than all else that is done for a body of so few bytes. */
const POOLED = 256

/** Where no event can be: frozen, so that an event outside a read is an error and not a leak. */
export const NO_EVENTS: Event[] = Object.freeze([]) as never[]

export class Receiver implements FrameSink {
  /** The events of the read that runs; its owner sets it for that long. */
  events: Event[] = NO_EVENTS
  /** We sent a GOAWAY: new requests are not taken. The peer did: it takes, or makes, none. */
  goingAway = false
  leaving = false
  readonly #hello: Hello
  readonly #peerRole: Role
  readonly #handshake: Handshake
  readonly #streams: Streams
  readonly #answering: Answering
  readonly #reader: FrameReader = new FrameReader(this)
  readonly #heads: HeadReader = new HeadReader()

  /** @param hello ours: it says what we take */
  constructor(hello: Hello, handshake: Handshake, streams: Streams, answering: Answering) {
    this.#hello = hello
    this.#peerRole = hello.role === 'caller' ? 'server' : 'caller'
    this.#handshake = handshake
    this.#streams = streams
    this.#answering = answering
  }

  /** @throws RemoteProtocolError, after which nothing more is to be read; `events` holds what came before it */
  read(bytes: Uint8Array): void {
    this.#reader.read(bytes)
  }

  // ---- of FrameSink ----------------------------------------------------------------------------------------------

  /** How long a payload may be, or that such a frame cannot come. @param stream -1: not known yet */
  limit(type: number, stream: number): number {
    this.#handshake.check(type)
    const longest = this.#longest(type)
    const onStream = type >= Frame.REQUEST && type !== Frame.HELLO
    if (stream >= 0 && longest >= 0 && onStream !== stream > 0) {
      throw peerError('BAD_STREAM', `a frame of type 0x${type.toString(16)} on stream ${stream}`)
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
        this.#prove(this.#handshake.hello(copy(bytes, start, end)))
        break
      case Frame.AUTH:
        this.#prove(this.#handshake.auth(copy(bytes, start, end)))
    }
  }

  #onRequest(flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.#hello.role !== 'server') throw wrongRole('REQUEST')
    if (id < this.#streams.next) throw peerError('BAD_STREAM', `stream ${id} after ${this.#streams.next - 1}`)
    this.#streams.next = id + 1
    const bodyAt = this.#headEnd(bytes, start, end)
    const fields = this.#heads.request(bytes, start + 4, bodyAt)
    const size = end - bodyAt
    const hold = (flags & Flag.HOLD) !== 0
    const upgrade = (flags & Flag.UPGRADE) !== 0
    const ended = (flags & Flag.END) !== 0
    if ((upgrade || hold) && (size > 0 || (upgrade && ended))) {
      throw peerError('FLOW_CONTROL', `stream ${id} brought body that it has no credit for`)
    }
    const stream = this.#streams.make(id, upgrade, hold)
    this.#pay(stream, size)
    if (ended) stream.on(StreamEvent.END, 'caller')
    // After our GOAWAY it is above what was taken: the caller knows from that, and its body is to be ignored.
    if (this.goingAway) {
      stream.close()
      return
    }
    this.#streams.taken = id
    this.#streams.add(stream)
    const body = size > 0 ? (ended ? keepWhole : keep)(bytes, bodyAt, end) : undefined
    this.events.push({ type: 'request', stream, fields, body, end: ended, hold })
  }

  #onResponse(flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.#hello.role !== 'caller') throw wrongRole('RESPONSE')
    const bodyAt = this.#headEnd(bytes, start, end)
    const { status, headers } = this.#heads.response(bytes, start + 4, bodyAt)
    const stream = this.#streams.known(id)
    if (!stream) return
    if (status.startsWith('101') && !stream.responded) {
      if (!stream.asksUpgrade) {
        // An application behind an older server can cause this, so it must not end the link.
        stream.onHead(StreamEvent.HEAD)
        this.#answering.violated(stream, `a 101 on stream ${id}, which asked for no upgrade`)
        return
      }
      stream.onHead(StreamEvent.UPGRADE)
      this.#streams.openUpgraded(stream)
    } else stream.onHead(StreamEvent.HEAD)
    const size = end - bodyAt
    this.#pay(stream, size)
    const ended = (flags & Flag.END) !== 0
    this.events.push({
      type: 'response',
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
    const stream = this.#streams.known(id)
    const { status, headers } = this.#heads.response(bytes, start, end)
    if (!stream) return
    stream.on(StreamEvent.INFORM, 'server')
    stream.informs++
    stream.informBytes += end - start
    if (stream.informs > INFORM_COUNT || stream.informBytes > INFORM_MAX) {
      throw peerError('INFORM_FLOOD', `more 1xx answers on stream ${id} than ${INFORM_COUNT}, or too long`)
    }
    this.events.push({ type: 'inform', stream, status, headers })
  }

  #onData(flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    const stream = this.#streams.known(id)
    const ended = (flags & Flag.END) !== 0
    if (!ended && start === end) throw peerError('EMPTY_DATA', `DATA without bytes or END on stream ${id}`)
    if (!stream) return
    stream.on(StreamEvent.DATA, this.#peerRole)
    this.#pay(stream, end - start)
    this.events.push({ type: 'data', stream, bytes: keep(bytes, start, end), end: ended })
    if (ended) this.#streams.remoteEnd(stream)
  }

  #onTrailers(id: number, bytes: Uint8Array, start: number, end: number): void {
    const stream = this.#streams.known(id)
    const fields = this.#heads.fields(bytes, start, end)
    if (!stream) return
    stream.on(StreamEvent.TRAILERS, this.#peerRole)
    this.events.push({ type: 'trailers', stream, fields })
    if (stream.isOver) this.#streams.close(stream)
  }

  #onReset(id: number, bytes: Uint8Array, start: number, end: number): void {
    if (end - start < 1) throw badLength(Frame.RESET)
    const stream = this.#streams.known(id)
    if (!stream) {
      this.#answering.peerReset(id)
      return
    }
    this.#streams.close(stream)
    this.events.push({ type: 'reset', stream, code: bytes[start]!, text: textOf(bytes, start + 1, end) })
  }

  #onWindow(id: number, credit: number): void {
    if (credit === 0) throw peerError('FLOW_CONTROL', `a WINDOW of nothing on stream ${id}`)
    const stream = this.#streams.known(id)
    if (!stream) return
    if (this.#hello.role === 'caller') stream.onCredit()
    stream.credit += credit
    if (stream.credit > CREDIT_MAX) {
      throw peerError('FLOW_CONTROL', `more credit on stream ${id} than ${CREDIT_MAX}`)
    }
    this.#answering.credited(stream)
  }

  #onStarted(bytes: Uint8Array, start: number, end: number): void {
    if (this.#hello.role !== 'caller') throw wrongRole('STARTED')
    if ((end - start) % 4 !== 0 || end === start) throw badLength(Frame.STARTED)
    for (let at = start; at < end; at += 4) {
      const stream = this.#streams.known(u32(bytes, at, at + 4))
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
    this.leaving = true
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

  // ---- inside ----------------------------------------------------------------------------------------------------

  #headEnd(bytes: Uint8Array, start: number, end: number): number {
    if (end - start < 4) throw badLength(Frame.REQUEST)
    const length = u32(bytes, start, start + 4)
    const at = start + 4 + length
    if (length > this.#hello.head || at > end) {
      throw peerError('BAD_HEAD', `a head of ${length} bytes in a frame of ${end - start}`)
    }
    if (end - at > this.#hello.data) throw peerError('FRAME_TOO_LARGE', `${end - at} bytes of body in a frame`)
    return at
  }

  #pay(stream: FrameStream, bytes: number): void {
    if (bytes > stream.window) {
      throw peerError('FLOW_CONTROL', `${bytes} bytes on stream ${stream.id}, which has credit for ${stream.window}`)
    }
    stream.window -= bytes
  }

  /** One step of the handshake is done. */
  #prove(proof: Uint8Array | undefined): void {
    const { theirs, state } = this.#handshake
    if (theirs) this.#answering.met(theirs)
    if (proof) this.#answering.prove(proof)
    if (state === 'open' && theirs) this.events.push({ type: 'ready', peer: theirs.identity })
  }
}

/** A part of a read, kept by reference unless it would hold much more than itself in memory. */
function keep(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return (end - start) * 4 < bytes.buffer.byteLength ? copy(bytes, start, end) : bytes.subarray(start, end)
}

/** As `keep`, of a body that is whole: no more comes on its stream, so that one of the pieces of Node's pool is all it can hold. */
function keepWhole(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return end - start > POOLED ? keep(bytes, start, end) : copy(bytes, start, end, Buffer.allocUnsafe(end - start))
}

/** In memory of its own, unless other is given. (`slice` of a Buffer is no copy.) */
function copy(
  bytes: Uint8Array,
  start: number,
  end: number,
  into: Buffer = Buffer.allocUnsafeSlow(end - start),
): Uint8Array {
  into.set(bytes.subarray(start, end))
  return into
}

function u32(bytes: Uint8Array, start: number, end: number): number {
  if (end - start !== 4) throw peerError('BAD_FRAME', `a number of ${end - start} bytes, where it has 4`)
  return ((bytes[start]! << 24) | (bytes[start + 1]! << 16) | (bytes[start + 2]! << 8) | bytes[start + 3]!) >>> 0
}

function badLength(type: number): RemoteProtocolError {
  return peerError('BAD_FRAME', `a frame of type 0x${type.toString(16)} whose length is not that type's`)
}

function wrongRole(name: string): RemoteProtocolError {
  return peerError('WRONG_ROLE', `${name} from a side that may not send it`)
}

/** For people. Decoded leniently, without control characters: it goes to logs and error messages. */
function textOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
    .toString()
    .replace(/[\x00-\x1f\x7f-\x9f]/g, ' ')
}
