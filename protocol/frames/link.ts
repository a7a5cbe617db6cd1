/**
 * Connects a `FrameConnection` to its socket (any Duplex): reads, writes, handshake timeout, close. All frames of one
 * tick are sent in one write. Body is taken from the connection only while the socket has room, so that other frames
 * can still overtake the body. Reading never waits for writing. In this file a *stream* is always one request.
 */

import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { codedError, peerError } from '../contract/coded-errors.ts'
import type { RemoteProtocolError } from '../contract/errors.ts'
import { runIsolated } from '../contract/isolated.ts'
import type { Clock, Timer } from '../net/clock.ts'
import { countRead } from '../net/large-reads.ts'
import { MAX_DELAY } from '../net/response-batch.ts'
import { afterSilence } from '../net/silence-timer.ts'
import type { FrameConnection, FrameEvent } from './codec/connection.ts'
import { Goaway } from './codec/constants.ts'
import type { FrameStream } from './codec/stream.ts'

/**
 * The owner of a link. If `event` or `resume` throws, only the stream concerned is aborted (`fault`). The other methods
 * must not throw.
 */
export interface LinkOwner {
  /** Bytes have arrived. Called before their events. */
  bytesReceived?(): void
  /** Bytes were written to the socket. */
  bytesSent?(bytes: number): void
  event(event: FrameEvent): void
  /** There is room for more body of `stream`, or the stream is closed. */
  resume(stream: FrameStream): void
  /**
   * `event` or `resume` threw an error for `stream`: the owner logs the error and aborts the stream; the link
   * continues.
   */
  fault(stream: FrameStream, error: unknown): void
  /**
   * The link closed before an event of `stream` was delivered. The stream may be closed already; `abandon` does not
   * return it then.
   */
  undelivered?(stream: FrameStream): void
  /** Called before each write: the owner can add frames that it sends once per tick. */
  flushing(): void
  /** Called after each write: the output queue may be short enough for new requests. */
  flushed?(): void
  /** The link is closed. Called once. @param error the reason, unless both sides had announced the end */
  closed(error: Error | undefined): void
}

/** The most body bytes written at once. A later WINDOW or RESET waits behind them in the socket. */
const WRITE_MAX = 128 * 1024
/** How long a peer may take to read our last frames and close, milliseconds. */
const LINGER = 1_000
/** Idle time before the first TCP keep-alive probe, milliseconds. */
const KEEP_ALIVE = 15_000
/** Timeout of HELLO and proof, milliseconds. A slow machine that has just started needs about a second. */
const HANDSHAKE_TIMEOUT = 5_000

export class Link {
  readonly connection: FrameConnection
  readonly #socket: Duplex
  readonly #owner: LinkOwner
  readonly #clock: Clock
  #scheduled = false
  /** When the last read, or the last flush during a read, began. */
  #readSince = 0
  #closed = false
  #ending = false
  #timer: Timer | undefined

  /**
   * @param socket connected or connecting; the link owns the socket from now on
   * @param first bytes that were already read from `socket`
   */
  constructor(
    socket: Duplex,
    connection: FrameConnection,
    owner: LinkOwner,
    options: { clock: Clock; handshakeTimeout?: number | undefined },
    first?: Uint8Array,
  ) {
    this.connection = connection
    this.#socket = socket
    this.#owner = owner
    this.#clock = options.clock
    const timeout = options.handshakeTimeout ?? HANDSHAKE_TIMEOUT
    this.#timer = afterSilence(options.clock, timeout, () => {
      if (connection.state !== 'open') {
        this.#fail(peerError('TIMEOUT', `the peer did not complete the handshake within ${timeout} ms`))
      }
    })
    const tcp = socket as Partial<Pick<Socket, 'setNoDelay' | 'setKeepAlive'>>
    tcp.setNoDelay?.(true)
    // A host that has crashed sends no FIN. Without keep-alive a container would wait for its proxy forever.
    tcp.setKeepAlive?.(true, KEEP_ALIVE)
    socket.on('error', (error) => this.destroy(error))
    socket.on('close', () => this.#socketClosed())
    socket.on('end', () => this.#peerEnded())
    socket.on('drain', () => this.schedule())
    if (socket.destroyed) {
      setImmediate(() => this.destroy(linkLost()))
      return
    }
    this.schedule()
    const listen = (): void => {
      if (this.#closed) return
      if (first !== undefined) this.#read(first)
      socket.on('data', (chunk: Uint8Array) => this.#read(chunk))
      // The reader of the first bytes may have paused the socket.
      socket.resume()
    }
    if (first === undefined) listen()
    else {
      // The owner's constructor must return before the first event.
      socket.pause()
      setImmediate(listen)
    }
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Sends what is queued at the end of this tick. */
  schedule(): void {
    if (this.#scheduled || this.#closed) return
    this.#scheduled = true
    setImmediate(this.#flushScheduled)
  }

  /** Sends what is queued now, as far as the socket has room. */
  flush(): void {
    const socket = this.#socket
    const { connection } = this
    if (socket.destroyed || socket.writableEnded || socket.writableNeedDrain) return
    if (!this.#closed) this.#owner.flushing()
    const parts = connection.pending ? connection.take(WRITE_MAX) : []
    let bytes = 0
    if (parts.length > 1) socket.cork()
    for (const part of parts) {
      bytes += part.length
      socket.write(part)
    }
    if (parts.length > 1) socket.uncork()
    this.#owner.bytesSent?.(bytes)
    connection.full = socket.writableNeedDrain
    if (!this.#closed) {
      this.#owner.flushed?.()
      this.#resumeStreams()
    }
    if (connection.pending && !socket.writableNeedDrain) this.schedule()
  }

  /** Sends what is queued, then ends the socket. Call it when no stream is open; `closed` follows when all is sent. */
  end(): void {
    if (this.#ending || this.#closed) return
    this.#ending = true
    this.schedule()
  }

  /** Closes now. */
  destroy(error?: Error): void {
    this.#close(error)
    this.#socket.destroy()
  }

  // ---- internals ----------------------------------------------------------------------------------------------------

  readonly #flushScheduled = (): void => {
    this.#scheduled = false
    this.flush()
    if (this.#ending && !this.#closed && !this.connection.pending) this.#endSocket()
  }

  #read(chunk: Uint8Array): void {
    countRead(chunk.length)
    if (this.#closed) return
    this.#readSince = this.#clock.now()
    this.#owner.bytesReceived?.()
    const { connection } = this
    try {
      for (const event of connection.receive(chunk)) {
        if (this.#closed) {
          if ('stream' in event) this.#owner.undelivered?.(event.stream)
          continue
        }
        try {
          runIsolated(this.#deliver, this, event)
        } catch (error) {
          // A bug of ours, or a listener of the application on an upgraded connection threw. Other streams must
          // continue.
          if ('stream' in event) this.#owner.fault(event.stream, error)
          else this.destroy(error as Error)
        }
        this.#flushIfLate()
      }
      if (this.#closed) return
    } catch (error) {
      this.destroy(error as Error)
      return
    }
    this.#resumeStreams()
    if (connection.failure) this.#fail(connection.failure)
    else if (connection.pending) this.schedule()
  }

  /**
   * Responses that are ready do not wait until applications have computed the others. Called between two events only:
   * elsewhere a call into the connection may be in progress.
   */
  #flushIfLate(): void {
    if (!this.#scheduled) return
    const now = this.#clock.now()
    if (now - this.#readSince <= MAX_DELAY) return
    this.#readSince = now
    this.flush()
  }

  #deliver(event: FrameEvent): void {
    if (event.type === 'ready') {
      this.#timer?.cancel()
      this.#timer = undefined
    }
    this.#owner.event(event)
    if (event.type === 'goaway' && (this.connection.state !== 'open' || isFault(event.code))) {
      this.#finish(peerError(nameOf(event.code), `the peer ended the link: ${event.text}`))
    }
  }

  #resumeStreams(): void {
    for (const stream of this.connection.unblocked()) {
      try {
        runIsolated(this.#owner.resume, this.#owner, stream)
      } catch (error) {
        this.#owner.fault(stream, error)
      }
    }
    if (this.connection.failure) this.#fail(this.connection.failure)
  }

  /** Sends GOAWAY with the reason, then closes. */
  #fail(error: RemoteProtocolError): void {
    if (this.#closed) return
    this.connection.fail(error)
    this.#finish(error)
  }

  /** Closes the link at once; the socket ends after our last frames. */
  #finish(error: Error): void {
    if (this.#closed) return
    this.#close(error)
    for (const part of this.connection.take(0)) if (!this.#socket.destroyed) this.#socket.write(part)
    this.#endSocket()
  }

  /**
   * Ends our side of the socket, and reads the peer's side until it ends too, for a limited time. A socket that is
   * closed with unread bytes sends RST, which can overtake our last bytes.
   */
  #endSocket(): void {
    const socket = this.#socket
    if (socket.destroyed || socket.writableEnded) return
    socket.end()
    socket.resume()
    const linger = (): void => {
      const timer = this.#clock.after(LINGER, () => socket.destroy())
      socket.once('close', () => timer.cancel())
    }
    // A peer at fault gets only the linger time. A peer that reads slowly first gets all bytes.
    if (this.#closed || socket.writableFinished) linger()
    else socket.once('finish', linger)
  }

  #socketClosed(): void {
    const { connection } = this
    // A caller without streams loses nothing if a draining server closes first. The last response of a server may still
    // be unsent.
    const isAnnounced =
      connection.role === 'caller' ? connection.peerGoingAway : this.#ending && this.#socket.writableFinished
    this.destroy(isAnnounced && connection.size === 0 ? undefined : linkLost())
  }

  #peerEnded(): void {
    const { connection } = this
    const isAnnounced = this.#ending || connection.goingAway || connection.peerGoingAway
    if (!isAnnounced || connection.size > 0) {
      this.destroy(linkLost())
      return
    }
    this.end()
    if (this.#socket.writableFinished) this.#close(undefined)
    else this.#socket.once('finish', () => this.#close(undefined))
  }

  #close(error: Error | undefined): void {
    if (this.#closed) return
    this.#closed = true
    this.#timer?.cancel()
    this.#owner.closed(error)
  }
}

/** The error of a link whose socket has closed without an announcement. */
export function linkLost(): Error {
  return codedError('LOST', 'the connection was closed')
}

function isFault(code: number): boolean {
  return code !== Goaway.DRAINING && code !== Goaway.RETIRING
}

function nameOf(code: number): keyof typeof Goaway {
  for (const [name, value] of Object.entries(Goaway)) if (value === code) return name as keyof typeof Goaway
  return 'PROTOCOL'
}
