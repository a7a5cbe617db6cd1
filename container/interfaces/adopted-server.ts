/**
 * An application's own `http.Server` for which the container listens: what `close()`, `listening` and `address()` of it mean then. Its
 * `close()` is over when the container's drain is, so that a framework's shutdown code waits for running requests as it would before
 * sockets of its own. How requests come to it is `server-application.ts`.
 */

import type { AsyncResource } from 'node:async_hooks'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isIP } from 'node:net'
import type { Address } from '../../protocol/address.ts'

/** What `listen()` was asked for. */
export interface AskedAddress {
  readonly port: number
  readonly host: string | undefined
  /** A Unix socket; nothing else counts then. */
  readonly path: string | undefined
}

export class AdoptedServer {
  readonly server: Server
  /** Called when it is closed though nothing drains: the application wants to end. */
  closed: (() => void) | undefined
  /** Whether `close()` was given a callback. */
  isAwaited = false
  /** The async context of its `listen()`, in which Node calls a server's listeners. */
  scope: AsyncResource | undefined
  #asked: AskedAddress | undefined
  #listening = false
  #closing = false
  #over = false
  /** 'close' is due: `close()` was called, and requests may still run. */
  #owesClose = false
  /** 'close' was emitted, and `listen()` was not called since. */
  #isClosed = false
  /** The server has already emitted 'listening' to the application. */
  #isAnnounced = false

  constructor(server: Server) {
    this.server = server
    const address = server.address.bind(server)
    const close = (callback?: (error?: Error) => void): Server => this.#close(callback)
    Object.defineProperties(server, {
      close: { value: close, writable: true, configurable: true },
      listening: { get: () => this.#asked !== undefined && !this.#closing, configurable: true },
    })
    this.#address = address
    server.address = () => this.#addressNow()
  }

  /**
   * The application called `listen()` of the server; the container listens in its place.
   *
   * @param scope the async context of that call
   * @param isAnnounced the server has listened by itself and emitted 'listening' then
   */
  asked(address: AskedAddress, scope?: AsyncResource, isAnnounced: boolean = false): void {
    this.#asked = address
    this.#closing = false
    this.#isClosed = false
    this.#listening = false
    this.#isAnnounced = isAnnounced
    // A later `listen()` replaces it, as it replaces Node's handle.
    this.scope = scope
  }

  /** Gives the server back to the application, with Node's own methods. */
  release(): void {
    for (const name of ['close', 'listening', 'address']) Reflect.deleteProperty(this.server, name)
  }

  /** Whether `listen()` was called, and `close()` not since. */
  get isAsked(): boolean {
    return this.#asked !== undefined && !this.#closing
  }

  /** The container is reachable: emits 'listening' if it was asked for. */
  listening(addresses: readonly Address[]): void {
    if (this.#listening || !this.#asked || this.#owesClose) return
    this.#listening = true
    const tcp = addresses.find((one) => one.kind === 'tcp')
    const shown = tcp ? infoOf(tcp.host, tcp.port) : (this.#asked.path ?? infoOf(this.#asked.host, this.#asked.port))
    this.#address = () => shown
    if (!this.#isAnnounced) this.server.emit('listening')
  }

  /** No request runs any more, and the process goes on: emits 'close', after which the application may listen again. */
  paused(): void {
    if (!this.#owesClose) return
    this.#owesClose = false
    this.isAwaited = false
    if (this.#closing) {
      this.#closing = false
      this.#asked = undefined
      this.#isClosed = true
      this.#address = () => null
    }
    this.server.emit('close')
  }

  /** The drain is over: whoever called `close()`, or will, is called back. */
  drained(): void {
    if (this.#over) return
    this.#over = true
    if (this.#closing) this.server.emit('close')
  }

  // ---- the server's own methods ------------------------------------------------------------------------------------

  #address: () => ReturnType<Server['address']>

  #addressNow(): ReturnType<Server['address']> {
    return this.#closing && this.#asked ? null : this.#address()
  }

  #close(callback: ((error?: Error) => void) | undefined): Server {
    const { server } = this
    if (this.#closing || this.#isClosed) {
      // Node's own error, for who closes twice.
      const error = Object.assign(new Error('Server is not running.'), { code: 'ERR_SERVER_NOT_RUNNING' })
      if (callback) server.once('close', () => callback(error))
      if (this.#over && callback) process.nextTick(callback, error)
      // As on Node, a server that is closed emits 'close' again.
      else if (this.#isClosed) process.nextTick(() => server.emit('close'))
      return server
    }
    this.#closing = true
    this.#owesClose = true
    if (callback) {
      this.isAwaited = true
      server.once('close', () => callback())
    }
    if (this.#over) process.nextTick(() => server.emit('close'))
    else this.closed?.()
    return server
  }
}

function infoOf(host: string | undefined, port: number): AddressInfo {
  const address = host === undefined || host === '' ? '::' : isIP(host) === 0 ? '127.0.0.1' : host
  return { address, family: isIP(address) === 6 ? 'IPv6' : 'IPv4', port }
}
