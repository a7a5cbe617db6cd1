/**
 * What a Node listener sees of a client's connection, whatever carries it: addresses, `encrypted`, `setTimeout` and the calls
 * that on a real socket steer TCP and here do nothing. There is one for each request, since the real one may carry other
 * requests' bytes. It moves no bytes itself: `connection.ts` and `upgrade-socket.ts` do.
 */

import type { Server } from 'node:http'
import type { Environ } from '../../protocol/contract/application.ts'
import { Context } from '../../protocol/contract/context.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import { shown } from '../../protocol/contract/response-head.ts'
import type { Clock, Timer } from '../../protocol/net/clock.ts'
import { LazyDuplex } from './lazy-duplex.ts'

/** The server of a request's socket. */
export interface SocketOwner {
  readonly server: Server
  /** Sockets whose exchanges are not over. */
  readonly sockets: Set<ClientSocket>
  readonly clock: Clock
}

/**
 * When a listener destroys its socket, this many bytes of its buffer are still delivered: a system's send buffer for a
 * connection takes at least that. A larger buffer means a slow client, and a socket is destroyed to stop waiting for
 * it.
 */
const SEND_BUFFER = 64 * 1024

export abstract class ClientSocket extends LazyDuplex {
  /** Set as on node's sockets: code that has only a request finds its server here. */
  server: Server
  readonly remoteAddress: string | undefined
  readonly remotePort: number | undefined
  readonly remoteFamily: string | undefined
  readonly localAddress: string
  readonly localPort: number
  /** As on a TLSSocket. */
  readonly encrypted: boolean
  /** Of this request alone: engine.io closes upgrades on which nobody has written. */
  bytesRead = 0
  bytesWritten = 0
  readonly connecting = false
  /** Bytes that were offered to the exchange and not taken yet. */
  protected offered = 0
  /** The last value passed to `setTimeout`, ms. */
  declare timeout: number | undefined
  readonly #owner: SocketOwner
  readonly #environ: Environ
  /** No `timer`: 'timeout' was emitted, and nothing has moved since. */
  #idle: { milliseconds: number; timer: Timer | undefined; since: number } | undefined

  constructor(environ: Environ, owner: SocketOwner) {
    super()
    this.server = owner.server
    this.#owner = owner
    this.#environ = environ
    owner.sockets.add(this)
    this.remoteAddress = environ.REMOTE_ADDR || undefined
    this.remotePort = environ.REMOTE_PORT ? Number(environ.REMOTE_PORT) : undefined
    this.remoteFamily = this.remoteAddress && family(this.remoteAddress)
    this.localAddress = environ.SERVER_NAME
    this.localPort = Number(environ.SERVER_PORT)
    this.encrypted = environ['wsgi.url_scheme'] === 'https'
  }

  /**
   * Aborts the exchange with `error` unchanged: an error of the listener, or the reason why the client gets no
   * response.
   */
  abstract fail(error: unknown): void

  /**
   * The listener threw or rejected. Returns true if the exchange gets `error`; false if the response was already
   * complete or aborted: then `error` is logged.
   */
  abstract failed(error: unknown): boolean

  /** `closeAllConnections()` of its server. Upgraded sockets do not belong to the server any more. */
  abstract closedByServer(): void

  /** The exchange is over: the server no longer counts this socket. */
  release(): void {
    this.#stopIdling()
    this.#owner.sockets.delete(this)
  }

  /** The listener destroyed its response: the exchange no longer waits for the client. */
  gaveUp(error: unknown): void {
    const { gantry } = this.#environ
    if (gantry instanceof Context) gantry.giveUp(error instanceof Error ? error : new Error(shown(error)))
  }

  /** Flushes what the stream still holds before the listener's destroy; on node the system would have it by now. */
  protected delivers(queue: { accept(): void }): void {
    const { writableLength } = this
    if (writableLength > 0 && writableLength - this.offered <= SEND_BUFFER) queue.accept()
  }

  /**
   * Emits 'timeout' when for so long neither a chunk of the request was read nor one of the response was taken; if nobody
   * handles that, the connection is destroyed (as node's server does). Once, until something moves again.
   *
   * @param milliseconds 0: never
   */
  setTimeout(milliseconds: number, callback?: () => void): this {
    if (this.destroyed) return this
    this.timeout = milliseconds
    const duration = timerDuration(milliseconds)
    this.#stopIdling()
    if (callback !== undefined && typeof callback !== 'function') {
      throw argumentError('callback', 'of type function', callback)
    }
    if (duration > 0) {
      if (callback) this.once('timeout', callback)
      this.#idle = { milliseconds: duration, since: this.#owner.clock.now(), timer: this.#arm(duration) }
    } else if (callback) this.removeListener('timeout', callback)
    return this
  }

  #stopIdling(): void {
    this.#idle?.timer?.cancel()
    this.#idle = undefined
  }

  /** Something moved: the time that `setTimeout` said begins anew. */
  moved(read: number = 0, written: number = 0): void {
    this.bytesRead += read
    this.bytesWritten += written
    if (!this.#idle) return
    this.#idle.since = this.#owner.clock.now()
    this.#idle.timer ??= this.#arm(this.#idle.milliseconds)
  }

  /** Asked when nothing moved for as long as `setTimeout` said: whether anybody handled it. */
  timedOut(): boolean {
    return false
  }

  #arm(milliseconds: number): Timer {
    return this.#owner.clock.after(milliseconds, () => {
      const idle = this.#idle
      if (!idle) return
      const left = idle.since + idle.milliseconds - this.#owner.clock.now()
      idle.timer = left > 0 ? this.#arm(left) : undefined
      if (left > 0) return
      this.emit('timeout')
      if (!this.timedOut()) this.destroy()
    })
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  get readyState(): string {
    if (this.readable && this.writable) return 'open'
    if (this.readable) return 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }

  get pending(): boolean {
    return this.destroyed
  }

  get localFamily(): string {
    return family(this.localAddress)
  }

  get bufferSize(): number | undefined {
    return this.destroyed ? undefined : this.writableLength
  }

  /** As for a reset, what was written is not delivered. */
  resetAndDestroy(): this {
    if (!this.destroyed) this.fail(new AbortError('APPLICATION', 'the listener reset the socket of the request'))
    return this
  }

  /**
   * The socket is connected already: as on a connected net.Socket, connecting again is an error that destroys the
   * socket.
   */
  connect(): this {
    const error = new Error("a request's socket cannot connect anywhere else: make one with net.connect()")
    return this.destroy(Object.assign(error, { code: 'EISCONN' }))
  }

  /** On a stream that was destroyed without an error, Duplex would never call back. */
  override end(...given: unknown[]): this {
    if (!this.destroyed) return super.end(...given)
    const callback = given.findLast((one) => typeof one === 'function') as ((error: Error) => void) | undefined
    const error = Object.assign(new Error('Cannot call end after a stream was destroyed'), {
      code: 'ERR_STREAM_DESTROYED',
    })
    if (callback) process.nextTick(callback, error)
    return this
  }

  getTypeOfService(): number {
    return 0
  }

  setTypeOfService(): this {
    return this
  }

  /** As net.Socket's, 'close' says whether it was by an error. Errors of the client's connection are 'aborted' here. */
  override emit(event: string | symbol, ...given: unknown[]): boolean {
    return event === 'close' && given.length === 0
      ? super.emit(event, this.errored !== null)
      : super.emit(event, ...given)
  }

  address(): { address: string; port: number; family: string } {
    return { address: this.localAddress, port: this.localPort, family: family(this.localAddress) }
  }

  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }
}

/** Validates as node's timers do. @throws the same errors */
function timerDuration(milliseconds: unknown): number {
  if (typeof milliseconds !== 'number') throw argumentError('msecs', 'of type number', milliseconds)
  if (milliseconds >= 0 && Number.isFinite(milliseconds)) return milliseconds
  throw Object.assign(
    new RangeError(
      `The value of "msecs" is out of range. It must be a non-negative finite number. Received ${milliseconds}`,
    ),
    { code: 'ERR_OUT_OF_RANGE' },
  )
}

function argumentError(name: string, expected: string, got: unknown): TypeError {
  return Object.assign(new TypeError(`The "${name}" argument must be ${expected}. Received ${shown(got)}`), {
    code: 'ERR_INVALID_ARG_TYPE',
  })
}

function family(address: string): string {
  return address.includes(':') ? 'IPv6' : 'IPv4'
}
