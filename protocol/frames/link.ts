/**
 * Where a frames connection meets a stream of bytes (a socket, mostly): reading, writing, the handshake's deadline, the end.
 *
 * Reading never waits for writing. What is ready in one tick leaves in one write, and body is taken from the connection
 * only while the stream has room, so that what overtakes it still can. Does not know what the frames are about.
 */

import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { codedError, peerError } from '../contract/coded-errors.ts'
import type { RemoteProtocolError } from '../contract/errors.ts'
import { runIsolated } from '../contract/isolated.ts'
import { type Leaving, Turn } from '../net/batch.ts'
import type { Clock, Timer } from '../net/clock.ts'
import { relieve } from '../net/large-reads.ts'
import { afterSilence } from '../net/silence-timer.ts'
import type { Connection, Event } from './codec/connection.ts'
import { Goaway } from './codec/constants.ts'
import type { Stream } from './codec/stream.ts'

/**
 * What a link reports. If `event` or `relieved` throws, only the stream concerned is aborted (`fault`); the others must
 * not throw.
 */
export interface LinkOwner {
  /** Bytes arrived, whatever they are; called before their events. */
  heard?(): void
  /** Bytes were written to the stream. */
  sent?(bytes: number): void
  event(event: Event): void
  /** There is room for more of `stream` again, or it is closed. */
  relieved(stream: Stream): void
  /**
   * `event` or `relieved` threw an error for `stream`: the owner logs it and aborts that stream; the link continues.
   */
  fault(stream: Stream, error: unknown): void
  /** Closed before what was read of `stream` could be told. It can be over already, and is then not among the abandoned. */
  missed?(stream: Stream): void
  /** About to write: the moment for what is worth saying once a tick. */
  flushing(): void
  /** Called after each write: the output queue may be short enough for new requests. */
  flushed?(): void
  /** Once. `error`: why, unless both sides meant it. */
  closed(error: Error | undefined): void
}

/** Body bytes handed to the stream at once: as much as waits there in front of a WINDOW or RESET. */
const BATCH = 128 * 1024
/** How long a peer may take to read our last words and close, ms. */
const LINGER = 1_000
/** Before the system asks whether an idle peer is still there, ms. */
const KEEP_ALIVE = 15_000
/** HELLO and proof, ms: a second on a slow machine that just started, with room. */
const HANDSHAKE_TIMEOUT = 5_000

export class Link implements Leaving {
  readonly connection: Connection
  readonly #stream: Duplex
  readonly #owner: LinkOwner
  readonly #clock: Clock
  readonly #turn: Turn
  #scheduled = false
  #closed = false
  #ending = false
  #timer: Timer | undefined

  /** @param first bytes that were read from `stream` already */
  constructor(
    stream: Duplex,
    connection: Connection,
    owner: LinkOwner,
    options: { clock: Clock; handshakeTimeout?: number | undefined },
    first?: Uint8Array,
  ) {
    this.connection = connection
    this.#stream = stream
    this.#owner = owner
    this.#clock = options.clock
    this.#turn = Turn.of(options.clock)
    const timeout = options.handshakeTimeout ?? HANDSHAKE_TIMEOUT
    this.#timer = afterSilence(options.clock, timeout, () => {
      if (connection.state !== 'open') {
        this.#fail(peerError('TIMEOUT', `the peer did not complete the handshake within ${timeout} ms`))
      }
    })
    const socket = stream as Partial<Pick<Socket, 'setNoDelay' | 'setKeepAlive'>>
    socket.setNoDelay?.(true)
    // A proxy's host that is gone says nothing: without this a container would wait for it for ever.
    socket.setKeepAlive?.(true, KEEP_ALIVE)
    stream.on('error', (error) => this.destroy(error))
    stream.on('close', () => this.#streamClosed())
    stream.on('end', () => this.#peerEnded())
    stream.on('drain', () => this.schedule())
    if (stream.destroyed) {
      setImmediate(() => this.destroy(lost()))
      return
    }
    this.schedule()
    const listen = (): void => {
      if (this.#closed) return
      if (first !== undefined) this.#read(first)
      stream.on('data', (chunk: Uint8Array) => this.#read(chunk))
      // Who looked at the first bytes may have paused it.
      stream.resume()
    }
    if (first === undefined) listen()
    else {
      // The owner's constructor has to end before it is told of anything.
      stream.pause()
      setImmediate(listen)
    }
  }

  get closed(): boolean {
    return this.#closed
  }

  /** There may be something to send: it leaves at the end of this tick. */
  schedule(): void {
    if (this.#scheduled || this.#closed) return
    this.#scheduled = true
    if (!this.#turn.leaveAfter(this)) setImmediate(this.#tick)
  }

  /** Sends what there is now, as far as there is room. */
  flush(): void {
    const stream = this.#stream
    const { connection } = this
    if (stream.destroyed || stream.writableEnded || stream.writableNeedDrain) return
    if (!this.#closed) this.#owner.flushing()
    const parts = connection.pending ? connection.take(BATCH) : []
    let bytes = 0
    if (parts.length > 1) stream.cork()
    for (const part of parts) {
      bytes += part.length
      stream.write(part)
    }
    if (parts.length > 1) stream.uncork()
    this.#owner.sent?.(bytes)
    connection.full = stream.writableNeedDrain
    if (!this.#closed) {
      this.#owner.flushed?.()
      this.#relieve()
    }
    if (connection.pending && !stream.writableNeedDrain) this.schedule()
  }

  /** Sends what there is, then ends the stream. For a link on which nothing runs any more; `closed` follows when it has left. */
  end(): void {
    if (this.#ending || this.#closed) return
    this.#ending = true
    this.schedule()
  }

  /** Closes now. */
  destroy(error?: Error): void {
    this.#close(error)
    this.#stream.destroy()
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  /** Of Leaving. */
  leave(): void {
    this.#scheduled = false
    this.flush()
    if (this.#ending && !this.#closed && !this.connection.pending) this.#endStream()
  }

  readonly #tick = (): void => this.leave()

  #read(chunk: Uint8Array): void {
    relieve(chunk.length)
    if (this.#closed) return
    this.#turn.begin()
    this.#owner.heard?.()
    const { connection } = this
    try {
      for (const event of connection.receive(chunk)) {
        if (this.#closed) {
          if ('stream' in event) this.#owner.missed?.(event.stream)
          continue
        }
        try {
          runIsolated(this.#hear, this, event)
        } catch (error) {
          // A bug of ours, or an application's listener on an upgraded connection threw: other streams must not pay for
          // it.
          if ('stream' in event) this.#owner.fault(event.stream, error)
          else this.destroy(error as Error)
        }
        // What was answered does not wait for applications that compute for long. (Only here: elsewhere a call of ours may be under way.)
        if (this.#scheduled && this.#turn.hurry()) this.flush()
      }
      if (this.#closed) return
    } catch (error) {
      this.destroy(error as Error)
      return
    }
    this.#relieve()
    if (connection.failure) this.#fail(connection.failure)
    else if (connection.pending) this.schedule()
  }

  #hear(event: Event): void {
    if (event.type === 'ready') {
      this.#timer?.cancel()
      this.#timer = undefined
    }
    this.#owner.event(event)
    if (event.type === 'goaway' && (this.connection.state !== 'open' || isFault(event.code))) {
      this.#finish(peerError(nameOf(event.code), `the peer ended the link: ${event.text}`))
    }
  }

  #relieve(): void {
    for (const stream of this.connection.relieved()) {
      try {
        runIsolated(this.#owner.relieved, this.#owner, stream)
      } catch (error) {
        this.#owner.fault(stream, error)
      }
    }
    if (this.connection.failure) this.#fail(this.connection.failure)
  }

  /** The peer gets a word on why, and then the end. */
  #fail(error: RemoteProtocolError): void {
    if (this.#closed) return
    this.connection.fail(error)
    this.#finish(error)
  }

  /** The link is over at once; the stream ends with our last words. */
  #finish(error: Error): void {
    if (this.#closed) return
    this.#close(error)
    for (const part of this.connection.take(0)) if (!this.#stream.destroyed) this.#stream.write(part)
    this.#endStream()
  }

  /**
   * Our side of the stream ends; the peer's is read until it ends too, for a while: a socket that is closed with bytes unread
   * sends a reset, which can overtake our last ones.
   */
  #endStream(): void {
    const stream = this.#stream
    if (stream.destroyed || stream.writableEnded) return
    stream.end()
    stream.resume()
    const linger = (): void => {
      const timer = this.#clock.after(LINGER, () => stream.destroy())
      stream.once('close', () => timer.cancel())
    }
    // A peer at fault has no longer than that; one that takes its time to read gets what it is owed.
    if (this.#closed || stream.writableFinished) linger()
    else stream.once('finish', linger)
  }

  #streamClosed(): void {
    const { connection } = this
    // A caller without streams loses nothing if a draining server closes first; a server's last response may still be
    // unsent.
    const said = connection.role === 'caller' ? connection.leaving : this.#ending && this.#stream.writableFinished
    this.destroy(said && connection.size === 0 ? undefined : lost())
  }

  #peerEnded(): void {
    const { connection } = this
    const meant = this.#ending || connection.goingAway || connection.leaving
    if (!meant || connection.size > 0) {
      this.destroy(lost())
      return
    }
    this.end()
    if (this.#stream.writableFinished) this.#close(undefined)
    else this.#stream.once('finish', () => this.#close(undefined))
  }

  #close(error: Error | undefined): void {
    if (this.#closed) return
    this.#closed = true
    this.#timer?.cancel()
    this.#owner.closed(error)
  }
}

/** The stream ended or broke under the link. */
export function lost(): Error {
  return codedError('LOST', 'the connection was closed')
}

function isFault(code: number): boolean {
  return code !== Goaway.DRAINING && code !== Goaway.RETIRING
}

function nameOf(code: number): keyof typeof Goaway {
  for (const [name, value] of Object.entries(Goaway)) if (value === code) return name as keyof typeof Goaway
  return 'PROTOCOL'
}
