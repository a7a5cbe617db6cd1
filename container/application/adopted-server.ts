/**
 * An application's own `http.Server`, for which the container listens: replaces its `close()`, `listening` and
 * `address()`. The 'close' event follows the container's drain, so that a framework's shutdown code waits for running
 * requests as on plain Node. `fromServer` sends requests to the server's listeners.
 */

import type { AsyncResource } from 'node:async_hooks'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isIP } from 'node:net'
import type { Address } from '../../protocol/net/address.ts'

/** The arguments of a call of `listen()`. */
export interface RequestedAddress {
  readonly port: number
  readonly host: string | undefined
  /** The path of a Unix socket; if set, port and host are ignored. */
  readonly path: string | undefined
}

/**
 * - `new`: `listen()` was not called.
 * - `requested`: `listen()` was called; the container is not reachable yet.
 * - `listening`: the server has emitted 'listening'.
 * - `closing`: `close()` was called; requests may still run, and the server has not emitted 'close' yet.
 * - `reopening`: `listen()` was called again before the server emitted 'close'.
 * - `closed`: the server has emitted 'close', and the process continues.
 */
type State = 'new' | 'requested' | 'listening' | 'closing' | 'reopening' | 'closed'

export class AdoptedServer {
  readonly server: Server
  /** Called if the application closes the server while no drain runs: the application wants to end. */
  closed: (() => void) | undefined
  /** Whether `close()` was called with a callback. */
  isAwaited = false
  /** The async context in which `listen()` was called. Node calls a server's listeners in that context. */
  scope: AsyncResource | undefined
  #requested: RequestedAddress | undefined
  #state: State = 'new'
  /** Whether the container's drain is over. */
  #isDrained = false
  /** Whether the server has already emitted 'listening' to the application. */
  #isAnnounced = false

  constructor(server: Server) {
    this.server = server
    const address = server.address.bind(server)
    const close = (callback?: (error?: Error) => void): Server => this.#close(callback)
    Object.defineProperties(server, {
      close: { value: close, writable: true, configurable: true },
      listening: { get: () => this.isOpen, configurable: true },
    })
    this.#address = address
    server.address = () => this.#addressNow()
  }

  /**
   * Records that the application called `listen()`; the container listens instead.
   *
   * @param scope the async context of that call
   * @param isAnnounced whether the server has listened by itself and has emitted 'listening'
   */
  listenCalled(address: RequestedAddress, scope?: AsyncResource, isAnnounced: boolean = false): void {
    this.#requested = address
    this.#state = this.#state === 'closing' || this.#state === 'reopening' ? 'reopening' : 'requested'
    this.#isAnnounced = isAnnounced
    // A later `listen()` replaces the scope, as it replaces Node's handle.
    this.scope = scope
  }

  /** Gives the server back to the application, with Node's own methods. */
  release(): void {
    for (const name of ['close', 'listening', 'address']) Reflect.deleteProperty(this.server, name)
  }

  /** Whether `listen()` was called, and `close()` was not called after it. */
  get isOpen(): boolean {
    return this.#requested !== undefined && this.#state !== 'closing'
  }

  /** The container is reachable: emits 'listening' if `listen()` was called. */
  listening(addresses: readonly Address[]): void {
    if (this.#state !== 'requested' || !this.#requested) return
    this.#state = 'listening'
    const tcp = addresses.find((one) => one.kind === 'tcp')
    const shown = tcp
      ? infoOf(tcp.host, tcp.port)
      : (this.#requested.path ?? infoOf(this.#requested.host, this.#requested.port))
    this.#address = () => shown
    if (!this.#isAnnounced) this.server.emit('listening')
  }

  /** All requests have ended and the process continues: emits 'close'. The application may listen again. */
  paused(): void {
    if (this.#state !== 'closing' && this.#state !== 'reopening') return
    this.isAwaited = false
    if (this.#state === 'reopening') this.#state = 'requested'
    else {
      this.#state = 'closed'
      this.#requested = undefined
      this.#address = () => null
    }
    this.server.emit('close')
  }

  /** The drain is over: emits 'close' if `close()` was called, and again for each later call. */
  drained(): void {
    if (this.#isDrained) return
    this.#isDrained = true
    if (this.#state === 'closing') this.server.emit('close')
  }

  // ---- the server's own methods ------------------------------------------------------------------------------------

  #address: () => ReturnType<Server['address']>

  #addressNow(): ReturnType<Server['address']> {
    return this.#state === 'closing' && this.#requested ? null : this.#address()
  }

  #close(callback: ((error?: Error) => void) | undefined): Server {
    const { server } = this
    if (this.#state === 'closing' || this.#state === 'closed') {
      // The error that Node gives for a second close().
      const error = Object.assign(new Error('Server is not running.'), { code: 'ERR_SERVER_NOT_RUNNING' })
      if (callback) server.once('close', () => callback(error))
      if (this.#isDrained && callback) process.nextTick(callback, error)
      // As on Node, each further close() of a closed server emits 'close' again.
      else if (this.#state === 'closed') process.nextTick(() => server.emit('close'))
      return server
    }
    this.#state = 'closing'
    if (callback) {
      this.isAwaited = true
      server.once('close', () => callback())
    }
    if (this.#isDrained) process.nextTick(() => server.emit('close'))
    else this.closed?.()
    return server
  }
}

function infoOf(host: string | undefined, port: number): AddressInfo {
  const address = host === undefined || host === '' ? '::' : isIP(host) === 0 ? '127.0.0.1' : host
  return { address, family: isIP(address) === 6 ? 'IPv6' : 'IPv4', port }
}
