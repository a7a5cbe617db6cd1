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
import type { Hello } from './hello.ts'
import { FrameReader, type FrameSink } from './reader.ts'
import type { Stream } from './stream.ts'
import type { Streams } from './streams.ts'

/** What a receiver needs of the side that sends. */
export interface Answering {
  /** The peer gave credit. */
  credited(stream: Stream): void
  /** A proof is due. */
  prove(proof: Uint8Array): void
  /** The peer's HELLO has come. */
  met(hello: Hello): void
  /** The peer violated the protocol on this stream only: it is reset, and the link continues. */
  violated(stream: Stream, message: string): void
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
  readonly #handshake: Handshake
  readonly #streams: Streams
  readonly #answering: Answering
  readonly #reader: FrameReader = new FrameReader(this)
  readonly #heads: HeadReader = new HeadReader()

  /** @param hello ours: it says what we take */
  constructor(hello: Hello, handshake: Handshake, streams: Streams, answering: Answering) {
    this.#hello = hello
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
        this.#prove(this.#handshake.hello(copy(bytes, start, end)))
        break
      case Frame.AUTH:
        this.#prove(this.#handshake.auth(copy(bytes, start, end)))
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
    const stream = this.#streams.make(id, upgrade, hold)
    stream.held = hold && !upgrade && !ended
    this.#pay(stream, size)
    stream.remoteEnded = ended
    // After our GOAWAY it is above what was taken: the caller knows from that, and its body is to be ignored.
    if (this.goingAway) {
      stream.closed = true
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
    if (stream.responded) throw peerError('RESPONDED', `received a second response on stream ${id}`)
    stream.responded = true
    stream.started = true
    if (status.startsWith('101')) {
      if (!stream.upgrade) {
        // An application behind an older server can cause this, so it must not end the link.
        this.#answering.violated(stream, `a 101 on stream ${id}, which asked for no upgrade`)
        return
      }
      this.#streams.upgraded(stream)
    }
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
    if (stream.responded) throw peerError('RESPONDED', `received a 1xx after the response on stream ${id}`)
    stream.informs++
    stream.informBytes += end - start
    if (stream.informs > INFORM_COUNT || stream.informBytes > INFORM_MAX) {
      throw peerError(
        'INFORM_FLOOD',
        `received more 1xx responses on stream ${id} than ${INFORM_COUNT}, or longer ones than ${INFORM_MAX} bytes`,
      )
    }
    stream.started = true
    this.events.push({ type: 'inform', stream, status, headers })
  }

  #onData(flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    const stream = this.#streams.known(id)
    const ended = (flags & Flag.END) !== 0
    if (!ended && start === end)
      throw peerError('EMPTY_DATA', `received DATA without bytes and without END on stream ${id}`)
    if (!stream) return
    if (stream.remoteEnded) throw peerError('ENDED', `received DATA after the END of stream ${id}`)
    if (this.#hello.role === 'caller' ? !stream.responded : stream.upgrade && !stream.upgraded) {
      throw peerError('TOO_EARLY', `received DATA before the response on stream ${id}`)
    }
    this.#pay(stream, end - start)
    this.events.push({ type: 'data', stream, bytes: keep(bytes, start, end), end: ended })
    if (ended) this.#streams.remoteEnd(stream)
  }

  #onTrailers(id: number, bytes: Uint8Array, start: number, end: number): void {
    const stream = this.#streams.known(id)
    const fields = this.#heads.fields(bytes, start, end)
    if (!stream) return
    if (stream.remoteEnded) throw peerError('ENDED', `received TRAILERS after the END of stream ${id}`)
    // An upgrade request has no body, a 101 has raw bytes instead, and a declined upgrade has an ordinary response.
    if (this.#hello.role === 'caller' ? !stream.responded || stream.upgraded : stream.upgrade) {
      throw peerError('TOO_EARLY', `received TRAILERS on stream ${id}, which cannot have them yet`)
    }
    this.events.push({ type: 'trailers', stream, fields })
    this.#streams.remoteEnd(stream)
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
    if (credit === 0) throw peerError('FLOW_CONTROL', `received a WINDOW of 0 bytes on stream ${id}`)
    const stream = this.#streams.known(id)
    if (!stream) return
    stream.credit += credit
    if (stream.credit > CREDIT_MAX) {
      throw peerError('FLOW_CONTROL', `received more credit on stream ${id} than ${CREDIT_MAX} bytes`)
    }
    this.#answering.credited(stream)
  }

  #onStarted(bytes: Uint8Array, start: number, end: number): void {
    if (this.#hello.role !== 'caller') throw wrongRole('STARTED')
    if ((end - start) % 4 !== 0 || end === start) throw badLength(Frame.STARTED)
    for (let at = start; at < end; at += 4) {
      const stream = this.#streams.known(u32(bytes, at, at + 4))
      if (!stream || stream.started) continue
      stream.started = true
      this.events.push({ type: 'started', stream })
    }
  }

  #onGoaway(bytes: Uint8Array, start: number, end: number): void {
    if (end - start < 5) throw badLength(Frame.GOAWAY)
    const last = u32(bytes, start, start + 4)
    this.leaving = true
    const untaken: Stream[] = []
    if (this.#hello.role === 'caller') {
      for (const stream of this.#streams.all()) {
        if (stream.id <= last) continue
        if (stream.started) {
          throw peerError('GOAWAY', `GOAWAY says that stream ${stream.id} was not taken, but the peer had started it`)
        }
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
      throw peerError('BAD_HEAD', `received a head of ${length} bytes in a frame of ${end - start}`)
    }
    if (end - at > this.#hello.data)
      throw peerError(
        'FRAME_TOO_LARGE',
        `received ${end - at} bytes of body in one frame; the limit is ${this.#hello.data}`,
      )
    return at
  }

  #pay(stream: Stream, bytes: number): void {
    if (bytes > stream.window) {
      throw peerError(
        'FLOW_CONTROL',
        `received ${bytes} bytes on stream ${stream.id}, which has credit for ${stream.window}`,
      )
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
  if (end - start !== 4) throw peerError('BAD_FRAME', `received a number of ${end - start} bytes; expected 4`)
  return ((bytes[start]! << 24) | (bytes[start + 1]! << 16) | (bytes[start + 2]! << 8) | bytes[start + 3]!) >>> 0
}

function badLength(type: number): RemoteProtocolError {
  return peerError('BAD_FRAME', `received a frame of type 0x${type.toString(16)} with the wrong length`)
}

function wrongRole(name: string): RemoteProtocolError {
  return peerError('WRONG_ROLE', `received ${name}, which only the other side may send`)
}

/** For people. Decoded leniently, without control characters: it goes to logs and error messages. */
function textOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
    .toString()
    .replace(/[\x00-\x1f\x7f-\x9f]/g, ' ')
}
