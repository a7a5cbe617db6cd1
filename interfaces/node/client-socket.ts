/**
 * A client's connection as a Node listener sees it, over any protocol: addresses, `encrypted`, `setTimeout`, and calls
 * that control TCP on a real socket and do nothing here. One for each request, since a real connection may carry bytes
 * of other requests. `connection.ts` and `upgrade-socket.ts` move the bytes.
 */

import type { Server } from 'node:http'
import type { Environ } from '../../protocol/contract/application.ts'
import { Context } from '../../protocol/contract/context.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import { shown } from '../../protocol/contract/response-head.ts'
import type { Clock, Timer } from '../../protocol/net/clock.ts'
import { LazyDuplex } from './lazy-duplex.ts'

/** What a request's socket needs from its server. */
export interface SocketOwner {
  readonly server: Server
  /** Sockets whose exchanges are not over. */
  readonly sockets: Set<ClientSocket>
  readonly clock: Clock
}

/**
 * When a listener destroys its socket, up to this many buffered bytes are still delivered, as a system would: its send
 * buffer holds at least that. A larger buffer means a slow client, and destroying the socket ends the wait for it.
 */
const SEND_BUFFER = 64 * 1024

// A lazy duplex, which is a performance trick: docs/performance-tricks.md has its gain, and the command that shows it.
export abstract class ClientSocket extends LazyDuplex {
  /** As on Node's sockets: code that has only a request finds its server here. */
  server: Server
  readonly remoteAddress: string | undefined
  readonly remotePort: number | undefined
  readonly remoteFamily: string | undefined
  readonly localAddress: string
  readonly localPort: number
  /** As on a TLSSocket. */
  readonly encrypted: boolean
  /** Bytes of this request only: engine.io closes upgrades on which nothing was written. */
  bytesRead = 0
  bytesWritten = 0
  readonly connecting = false
  /** Bytes that were offered to the exchange and not taken yet. */
  protected offered = 0
  /** The last value passed to `setTimeout`, ms. */
  declare timeout: number | undefined
  readonly #owner: SocketOwner
  readonly #environ: Environ
  /** Without `timer`, 'timeout' was emitted and there was no activity since. */
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

  /**
   * `closeAllConnections()` of its server was called. It does not affect upgraded sockets, which do not belong to the
   * server any more.
   */
  abstract closedByServer(): void

  /** The exchange is over: the server no longer counts this socket. */
  release(): void {
    this.#stopIdling()
    this.#owner.sockets.delete(this)
  }

  /** The listener destroyed its response: the exchange no longer waits for the client. */
  failedEarly(error: unknown): void {
    const { gantry } = this.#environ
    if (gantry instanceof Context) gantry.giveUp(error instanceof Error ? error : new Error(shown(error)))
  }

  /** Flushes buffered bytes before the listener's destroy; on Node the system would already have them. */
  protected flushTo(queue: { accept(): void }): void {
    const { writableLength } = this
    if (writableLength > 0 && writableLength - this.offered <= SEND_BUFFER) queue.accept()
  }

  /**
   * Emits 'timeout' if no chunk of the request was read and no chunk of the response was taken for this long. Without a
   * listener the connection is destroyed, as in Node's server. Emitted once, until there is activity again.
   *
   * @param milliseconds 0 disables the timeout
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

  /** Records activity: the timeout of `setTimeout` starts again. */
  recordActivity(read: number = 0, written: number = 0): void {
    this.bytesRead += read
    this.bytesWritten += written
    if (!this.#idle) return
    this.#idle.since = this.#owner.clock.now()
    this.#idle.timer ??= this.#arm(this.#idle.milliseconds)
  }

  /** Called when the timeout of `setTimeout` has passed. Returns whether a listener handles it. */
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

  /** As after a reset, bytes that were written are not delivered. */
  resetAndDestroy(): this {
    if (!this.destroyed) this.fail(new AbortError('APPLICATION', 'the listener reset the socket of the request'))
    return this
  }

  /**
   * The socket is connected already: as on a connected net.Socket, connecting again is an error that destroys the
   * socket.
   */
  connect(): this {
    const error = new Error("a request's socket is already connected: use net.connect() for another connection")
    return this.destroy(Object.assign(error, { code: 'EISCONN' }))
  }

  /** Duplex never calls back on a stream that was destroyed without an error. */
  override end(...args: unknown[]): this {
    if (!this.destroyed) return super.end(...args)
    const callback = args.findLast((one) => typeof one === 'function') as ((error: Error) => void) | undefined
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

  /**
   * As with net.Socket, 'close' reports whether an error closed the socket. Errors of the client's connection are
   * 'aborted' here.
   */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    return event === 'close' && args.length === 0
      ? super.emit(event, this.errored !== null)
      : super.emit(event, ...args)
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

/**
 * Validates a duration as Node's timers do.
 *
 * @throws the same errors as Node's timers
 */
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
