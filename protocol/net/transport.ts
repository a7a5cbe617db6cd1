/**
 * A client's socket as HTTP/1.1 and uwsgi use it: bounded reading, gathered writing, timeouts, and the ways to end it:
 * gracefully (a FIN, then reading on for a while, RFC 9112 §9.6), aborted so that the client sees it, or upgraded.
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ExchangeHost } from '../contract/exchange.ts'
import { runIsolated } from '../contract/isolated.ts'
import type { Http1Timeouts } from '../http1/options.ts'
import { type AwaitedRead, ConnectionTimeouts, type TimeoutOwner } from './connection-timeouts.ts'
import { countRead } from './large-reads.ts'
import { type Flushable, ResponseBatch } from './response-batch.ts'
import { readFrom } from './socket-counters.ts'
import { SocketOutput } from './socket-output.ts'
import { receiveUnread } from './unread.ts'

/** The connection that uses a transport, and is called when something happens on the socket. */
export interface TransportOwner {
  /** Bytes arrived. Not called after `closeSoon`, `abort` or `upgrade`. */
  received(chunk: Uint8Array): void
  /** The client has ended its sending side (FIN) while the connection was open. */
  finReceived(): void
  /** There is room for output again. */
  drained(): void
  /** What the connection waits to read has not arrived in time. */
  timedOut(awaited: AwaitedRead): void
  /** The client accepted no output for too long, also after `upgrade`: the owner should call `abort`. */
  stalled(): void
  /** The socket is closed. Called last, and once. */
  closed(): void
}

/**
 * - `open`
 * - `closing`: the last bytes are being written; what is read from now on is dropped
 * - `lingering`: all bytes and our FIN are written
 * - `upgraded`: the socket speaks another protocol; only its progress is watched
 * - `destroyed`
 */
type Phase = 'open' | 'closing' | 'lingering' | 'upgraded' | 'destroyed'

export class Transport implements TimeoutOwner, Flushable {
  readonly output: SocketOutput
  readonly timeouts: ConnectionTimeouts
  /** The client has sent its FIN. */
  ended = false
  /** Reading is suspended. */
  paused = false
  readonly #socket: Duplex
  readonly #owner: TransportOwner
  readonly #host: ExchangeHost
  readonly #batch: ResponseBatch
  #phase: Phase = 'open'
  /** Aborted, but the socket is held open: see `#reset`. */
  #heldOpen = false

  constructor(socket: Duplex, owner: TransportOwner, timeouts: Http1Timeouts, host: ExchangeHost) {
    this.#socket = socket
    this.#owner = owner
    this.#host = host
    this.#batch = ResponseBatch.of(host.clock)
    this.output = new SocketOutput(socket)
    this.timeouts = new ConnectionTimeouts(this, timeouts, host.clock, host.deadlines)
    if (socket instanceof Socket) socket.setNoDelay(true)
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('drain', this.#onDrain)
    socket.on('error', ignore)
    socket.on('close', this.#onClose)
  }

  get phase(): Phase {
    return this.#phase
  }

  get open(): boolean {
    return this.#phase === 'open'
  }

  /** Bytes that the operating system has accepted for the client. */
  get bytesAccepted(): number {
    return this.output.accepted
  }

  /** Bytes of output that the operating system has not accepted. */
  get backlog(): number {
    return this.output.backlog
  }

  /** Bytes read from the client. */
  get bytesReceived(): number {
    return readFrom(this.#socket)
  }

  // ---- events ------------------------------------------------------------------------------------------------------

  readonly #onData = (chunk: Uint8Array): void => {
    countRead(chunk.length)
    if (this.#phase === 'open') runIsolated(this.#owner.received, this.#owner, chunk)
  }

  readonly #onEnd = (): void => {
    this.ended = true
    if (this.#phase === 'open') this.#owner.finReceived()
    // The socket was held open after an abort: now the client has closed it.
    else if (this.#phase === 'destroyed') this.#socket.destroy()
  }

  readonly #onDrain = (): void => {
    this.output.drained()
    this.timeouts.written(this.#socket.writableLength)
    // Isolated: the last write may have been for another request of this connection.
    if (this.output.room && this.#phase === 'open') runIsolated(this.#owner.drained, this.#owner)
  }

  readonly #onClose = (): void => {
    this.#phase = 'destroyed'
    this.timeouts.stop()
    this.#owner.closed()
  }

  stalled(): void {
    this.#owner.stalled()
  }

  timedOut(awaited: AwaitedRead): void {
    if (awaited === 'linger') this.destroy()
    else this.#owner.timedOut(awaited)
  }

  /** Whether the client has sent bytes that the event loop has not read yet. If so, they are received next. */
  receiveUnread(): boolean {
    return receiveUnread(this.#socket)
  }

  // ---- reading -----------------------------------------------------------------------------------------------------

  /** Reads while fewer than `limit` bytes are `buffered`; else suspends reading. */
  readWhileBelow(limit: number, buffered: number): void {
    if (buffered < limit) this.#resume()
    else if (!this.paused) {
      this.paused = true
      this.#socket.pause()
    }
  }

  #resume(): void {
    if (!this.paused) return
    this.paused = false
    this.#socket.resume()
  }

  // ---- writing -----------------------------------------------------------------------------------------------------

  /** Gives gathered output to the operating system now: for what must not wait, and before long work. */
  flush(): void {
    this.output.flush()
    this.timeouts.written(this.#socket.writableLength)
  }

  /** Flushes with the other responses of this event-loop iteration. */
  flushSoon(): void {
    this.#batch.add(this)
  }

  /** Called by the batch. */
  flushBatched(): void {
    if (this.#phase === 'open') this.flush()
    else if (this.#phase === 'closing' && !this.#socket.writableEnded) this.#end()
  }

  // ---- ends --------------------------------------------------------------------------------------------------------

  /** Closes gracefully: sends what was written, then a FIN, and drops what arrives until the client closes. */
  closeSoon(): void {
    if (this.#phase !== 'open') return
    this.#phase = 'closing'
    this.timeouts.waitFor('nothing')
    this.#resume()
    this.flushSoon()
  }

  #end(): void {
    this.output.end(() => {
      if (this.#phase !== 'closing') return
      this.#phase = 'lingering'
      this.timeouts.waitFor('linger')
    })
    this.timeouts.written(this.#socket.writableLength)
  }

  /**
   * Closes the connection so that the client sees that the response is truncated.
   *
   * @param endsBody whether the end of the connection is the end of the body: then a FIN would make the response look
   *   complete
   * @param stalled whether the client accepts no bytes: then a reset discards what the kernel holds for it
   */
  abort(endsBody: boolean, stalled: boolean = false): void {
    const phase = this.#phase
    if (phase === 'destroyed') {
      // The owner must end now: no more can be done for the client.
      if (this.#heldOpen) this.#socket.destroy()
      return
    }
    this.#phase = 'destroyed'
    if (phase !== 'upgraded') this.output.flush()
    this.timeouts.stop()
    // After an upgrade only the application's protocol knows whether a message is complete.
    const mustShow = endsBody && phase !== 'upgraded'
    if (mustShow || stalled) this.#reset(mustShow)
    else this.#socket.destroy()
  }

  /** @param mustShow whether the client must see that the response is truncated */
  #reset(mustShow: boolean): void {
    const socket = this.#socket
    if (!(socket instanceof Socket)) socket.destroy(mustShow ? new Error('the response was truncated') : undefined)
    else if (socket.remotePort === undefined && !mustShow) socket.destroy()
    else if (socket.remotePort === undefined && !this.ended && !socket.destroyed) {
      // A Unix socket has no reset (and nginx speaks HTTP/1.0 on Unix sockets by default). Without a FIN the response
      // at least never looks complete.
      this.#host.log.warn(
        {},
        'truncated response on a Unix socket: without a Content-Length the client could take the end of the connection for the end of the response; the connection stays open until the client closes it',
      )
      this.#heldOpen = true
      this.#resume()
    } else {
      try {
        socket.resetAndDestroy()
      } catch {
        // TLS: a missing close_notify shows the same.
        socket.destroy()
      }
    }
  }

  destroy(): void {
    this.#phase = 'destroyed'
    this.timeouts.stop()
    this.#socket.destroy()
  }

  /**
   * Gives the socket away. From now on the owner is called only when the client accepts no bytes, when both directions
   * were silent for too long, and when the socket is closed.
   *
   * @param rest bytes that were read and not used: the new reader gets them first
   */
  upgrade(rest: Buffer): Duplex {
    const socket = this.#socket
    this.flush()
    this.#phase = 'upgraded'
    socket.off('data', this.#onData)
    socket.off('end', this.#onEnd)
    socket.off('drain', this.#onDrain)
    // As node:http does: the stream flows again when it gets its next reader.
    ;(socket as { readableFlowing: boolean | null }).readableFlowing = null
    if (rest.length > 0 && !this.ended) socket.unshift(rest)
    // A stream that is not a socket has no network on which a client can be lost.
    if (socket instanceof Socket) this.timeouts.upgraded()
    else this.timeouts.stop()
    return socket
  }
}

function ignore(): void {}
