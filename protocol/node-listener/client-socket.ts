/**
 * What a Node listener sees of a client's connection, whatever carries it: addresses, `encrypted`, `setTimeout` and the calls
 * that on a real socket steer TCP and here do nothing. There is one for each request, since the real one may carry other
 * requests' bytes. It moves no bytes itself: `connection.ts` and `upgrade-socket.ts` do.
 */

import type { Environ } from '../application.ts'
import { type Clock, systemClock, type Timer } from '../clock.ts'
import { LazyDuplex } from './lazy-duplex.ts'

export abstract class ClientSocket extends LazyDuplex {
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
  readonly pending = false
  #clock: Clock
  #idle: { milliseconds: number; timer: Timer; since: number } | undefined

  constructor(environ: Environ, clock: Clock = systemClock) {
    super()
    this.remoteAddress = environ.REMOTE_ADDR || undefined
    this.remotePort = environ.REMOTE_PORT ? Number(environ.REMOTE_PORT) : undefined
    this.remoteFamily = this.remoteAddress && family(this.remoteAddress)
    this.localAddress = environ.SERVER_NAME
    this.localPort = Number(environ.SERVER_PORT)
    this.encrypted = environ['wsgi.url_scheme'] === 'https'
    this.#clock = clock
  }

  /**
   * Emits 'timeout' when for so long neither a chunk of the request was read nor one of the response was taken; if nobody
   * handles that, the connection is destroyed (as node's server does).
   *
   * @param milliseconds 0: never
   */
  setTimeout(milliseconds: number, callback?: () => void): this {
    this.#idle?.timer.cancel()
    this.#idle = undefined
    if (milliseconds > 0 && !this.destroyed) {
      if (callback) this.once('timeout', callback)
      this.#idle = { milliseconds, since: this.#clock.now(), timer: this.#arm(milliseconds) }
    } else if (callback) this.removeListener('timeout', callback)
    return this
  }

  get timeout(): number {
    return this.#idle?.milliseconds ?? 0
  }

  /** Something moved: the time that `setTimeout` said begins anew. */
  moved(read: number = 0, written: number = 0): void {
    this.bytesRead += read
    this.bytesWritten += written
    if (this.#idle) this.#idle.since = this.#clock.now()
  }

  /** Asked when nothing moved for as long as `setTimeout` said: whether anybody handled it. */
  timedOut(): boolean {
    return false
  }

  #arm(milliseconds: number): Timer {
    return this.#clock.after(milliseconds, () => {
      const idle = this.#idle
      if (!idle) return
      const left = idle.since + idle.milliseconds - this.#clock.now()
      idle.timer = this.#arm(left > 0 ? left : idle.milliseconds)
      if (left > 0) return
      idle.since = this.#clock.now()
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

  /** As net.Socket's, 'close' says whether it was by an error of the connection: those are 'aborted' here. */
  override emit(event: string | symbol, ...given: unknown[]): boolean {
    return event === 'close' && given.length === 0 ? super.emit(event, false) : super.emit(event, ...given)
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

function family(address: string): string {
  return address.includes(':') ? 'IPv6' : 'IPv4'
}
