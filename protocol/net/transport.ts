/**
 * A socket as an HTTP/1.1 connection uses it: bytes in under a limit, gathered bytes out, deadlines for both, and the ways to end: in
 * good order (a FIN, then reading on for a while, RFC 9112 §9.6), cut so that it shows, or handed over.
 *
 * It knows nothing of HTTP; what bytes mean and what is waited for is its owner's matter.
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ExchangeHost } from '../contract/exchange.ts'
import { runIsolated } from '../contract/isolated.ts'
import type { Http1Timeouts } from '../http1/options.ts'
import { type Arriving, type Leaving, Turn } from './batch.ts'
import { countRead } from './large-reads.ts'
import { Output } from './socket-output.ts'
import { readFrom } from './traffic.ts'
import { receiveUnread } from './unread.ts'
import { type Wait, type Waiter, Waits } from './waits.ts'

/** Who is told of what happens. */
export interface TransportOwner {
  /** Bytes came; never after `closeSoon`, `cut` or `handOver`. */
  received(chunk: Uint8Array): void
  /** The client's FIN came, before any end of ours. */
  finReceived(): void
  /** There is room for output again. */
  drained(): void
  waitedTooLong(wait: Wait): void
  /** The client accepted no output for too long, also after `handOver`: the owner should call `cut`. */
  stalled(): void
  /** The socket is closed. Last of all, once. */
  closed(): void
}

/**
 * - `open`
 * - `closing`: the last bytes are being written; from here on what is read is dropped
 * - `lingering`: all is written, and our FIN with it
 * - `upgraded`: speaks another protocol, and is watched for progress
 * - `gone`: destroyed
 */
export type Phase = 'open' | 'closing' | 'lingering' | 'upgraded' | 'gone'

/** Bytes of a read that may wait: many a request fits, and a read that is full, behind which there is more to read at once, is longer. */
const ARRIVING_MAX = 16 * 1024

export class Transport implements Waiter, Arriving, Leaving {
  readonly output: Output
  readonly waits: Waits
  /** The client's FIN came. */
  ended = false
  /** Reading is suspended. */
  paused = false
  readonly #socket: Duplex
  readonly #owner: TransportOwner
  readonly #host: ExchangeHost
  readonly #turn: Turn
  #phase: Phase = 'open'
  /** What was read, until the turn's end. */
  #arriving: Uint8Array | undefined
  /** It leaves at the turn's end. */
  #leaving = false
  /** Cut, and open all the same. */
  #held = false

  constructor(socket: Duplex, owner: TransportOwner, timeouts: Http1Timeouts, host: ExchangeHost) {
    this.#socket = socket
    this.#owner = owner
    this.#host = host
    this.#turn = Turn.of(host.clock)
    this.output = new Output(socket)
    this.waits = new Waits(this, timeouts, host.clock, host.deadlines)
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

  // ---- events ------------------------------------------------------------------------------------------------------

  readonly #onData = (chunk: Uint8Array): void => {
    countRead(chunk.length)
    const before = this.#arriving
    if (before === undefined && chunk.length <= ARRIVING_MAX && this.#turn.arrives(this)) {
      this.#arriving = chunk
      return
    }
    this.#turn.begin()
    // In one piece: what is looked at first may hand the socket over, with all that was read.
    this.#arriving = before === undefined ? chunk : Buffer.concat([before, chunk])
    this.arrive()
  }

  /** Looks at what was read, if that has waited for the turn's end: nothing overtakes it. */
  arrive(): void {
    const chunk = this.#arriving
    if (chunk === undefined) return
    this.#arriving = undefined
    if (this.#phase === 'open') runIsolated(this.#owner.received, this.#owner, chunk)
  }

  readonly #onEnd = (): void => {
    this.arrive()
    this.ended = true
    if (this.#phase === 'open') this.#owner.finReceived()
    // Held open after a cut that could not be shown otherwise: the client has given up.
    else if (this.#phase === 'gone') this.#socket.destroy()
  }

  readonly #onDrain = (): void => {
    this.output.drained()
    this.waits.written(this.#socket.writableLength)
    // Whoever wrote last may have been another request of this connection.
    if (this.output.room && this.#phase === 'open') runIsolated(this.#owner.drained, this.#owner)
  }

  readonly #onClose = (): void => {
    this.#phase = 'gone'
    this.waits.stop()
    this.#owner.closed()
  }

  get taken(): number {
    return this.output.taken
  }

  get backlog(): number {
    return this.output.backlog
  }

  get received(): number {
    return readFrom(this.#socket)
  }

  stalled(): void {
    this.#owner.stalled()
  }

  waitedTooLong(wait: Wait): void {
    if (wait === 'linger') this.destroy()
    else this.#owner.waitedTooLong(wait)
  }

  /** Whether the client has sent bytes that the event loop has not read yet. If so, they are received next. */
  receiveUnread(): boolean {
    return receiveUnread(this.#socket)
  }

  // ---- reading -----------------------------------------------------------------------------------------------------

  /** Reads on while less than `most` is held. */
  readOn(held: number, most: number): void {
    if (held < most) this.#resume()
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

  /** Hands to the operating system what was gathered: for what cannot wait, and may be followed by long work. */
  flush(): void {
    this.output.flush()
    this.waits.written(this.#socket.writableLength)
  }

  /** For all else: by the end of the turn it is on its way. */
  flushSoon(): void {
    if (this.#leaving) return
    this.#leaving = true
    this.#turn.leave(this)
  }

  leave(): void {
    this.#leaving = false
    if (this.#phase === 'open') this.flush()
    else if (this.#phase === 'closing' && !this.#socket.writableEnded) this.#end()
  }

  // ---- ends --------------------------------------------------------------------------------------------------------

  /** Ends in good order: what is written goes out, what still comes is dropped for a while. */
  closeSoon(): void {
    if (this.#phase !== 'open') return
    this.#phase = 'closing'
    this.waits.for('nothing')
    this.#resume()
    this.flushSoon()
  }

  #end(): void {
    this.output.end(() => {
      if (this.#phase !== 'closing') return
      this.#phase = 'lingering'
      this.waits.for('linger')
    })
    this.waits.written(this.#socket.writableLength)
  }

  /**
   * Ends so that the client sees that what it has is not whole.
   *
   * @param endsBody whether the connection's end is the body's: a FIN would make it look whole then
   * @param stalled whether the client accepts no bytes: a reset discards what the kernel still holds for it
   */
  cut(endsBody: boolean, stalled: boolean = false): void {
    const phase = this.#phase
    if (phase === 'gone') {
      // The owner must end now: no more can be done for the client.
      if (this.#held) this.#socket.destroy()
      return
    }
    this.#phase = 'gone'
    if (phase !== 'upgraded') this.output.flush()
    this.waits.stop()
    // After an upgrade only the application's protocol knows whether a message is complete.
    const shown = endsBody && phase !== 'upgraded'
    if (shown || stalled) this.#reset(shown)
    else this.#socket.destroy()
  }

  /** @param shown whether the client must see that the response is truncated */
  #reset(shown: boolean): void {
    const socket = this.#socket
    if (!(socket instanceof Socket)) socket.destroy(shown ? new Error('the response was truncated') : undefined)
    else if (socket.remotePort === undefined && !shown) socket.destroy()
    else if (socket.remotePort === undefined && !this.ended && !socket.destroyed) {
      // A Unix socket has no reset (and nginx speaks HTTP/1.0 on them unless told): only silence is left.
      this.#host.log.warn(
        {},
        'a response without a length was cut on a Unix socket: it is held open until its client goes',
      )
      this.#held = true
      this.#resume()
    } else {
      try {
        socket.resetAndDestroy()
      } catch {
        // TLS: a missing close_notify says the same.
        socket.destroy()
      }
    }
  }

  destroy(): void {
    this.#phase = 'gone'
    this.waits.stop()
    this.#socket.destroy()
  }

  /**
   * Hands the socket over, with bytes that were read and not used. From now on the owner is called only when the
   * client accepts no bytes, when both directions were silent for too long, and when the socket is closed.
   */
  handOver(rest: Buffer): Duplex {
    const socket = this.#socket
    this.flush()
    const waited = this.#arriving
    this.#arriving = undefined
    this.#phase = 'upgraded'
    socket.off('data', this.#onData)
    socket.off('end', this.#onEnd)
    socket.off('drain', this.#onDrain)
    // As node:http does: it flows again with its next reader.
    ;(socket as { readableFlowing: boolean | null }).readableFlowing = null
    const unread = waited ? Buffer.concat([rest, waited]) : rest
    if (unread.length > 0 && !this.ended) socket.unshift(unread)
    // A stream that is not a socket has no network on which a client can be lost.
    if (socket instanceof Socket) this.waits.upgraded()
    else this.waits.stop()
    return socket
  }
}

function ignore(): void {}
