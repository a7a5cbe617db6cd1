/**
 * The `http.Server` of a listener's requests: chooses the event for each request (as Node's parserOnIncoming), provides
 * the classes of requests and responses, and counts and closes their sockets. It does not listen.
 */

import type { AsyncResource } from 'node:async_hooks'
import { IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import type { ClientSocket, SocketOwner } from './client-socket.ts'
import type { NodeConnection } from './connection.ts'
import type { RequestSettings } from './request.ts'
import type { ResponseSettings } from './response.ts'

export interface ListenerServerOptions {
  readonly keepFraming?: boolean | undefined
  readonly clock?: Clock | undefined
  /**
   * Returns the async context in which its listeners are called: the one in which `listen()` was called. Called for
   * each request.
   */
  readonly scope?: (() => AsyncResource | undefined) | undefined
}

/** In Node since 24.9; the types lack it. */
interface ServerWithUpgradeCallback {
  shouldUpgradeCallback?: (req: IncomingMessage) => boolean
}

export class ListenerServer implements SocketOwner, RequestSettings, ResponseSettings {
  readonly server: Server
  readonly sockets: Set<ClientSocket> = new Set()
  readonly clock: Clock
  readonly IncomingMessage: RequestSettings['IncomingMessage']
  readonly ServerResponse: ResponseSettings['ServerResponse']
  readonly uniqueHeaders: ReadonlySet<string> | undefined
  readonly keepFraming: boolean
  readonly #scope: ListenerServerOptions['scope']

  constructor(server: Server, options: ListenerServerOptions = {}) {
    const { clock = systemClock, keepFraming = false } = options
    this.server = server
    this.clock = clock
    this.keepFraming = keepFraming
    this.#scope = options.scope
    // Node stores the options of `createServer` under its own symbols.
    this.IncomingMessage = optionOf(server, 'IncomingMessage') ?? IncomingMessage
    this.ServerResponse = optionOf(server, 'ServerResponse') ?? (ServerResponse as ResponseSettings['ServerResponse'])
    this.uniqueHeaders = optionOf(server, 'kUniqueHeaders')
    this.#countSockets()
  }

  /**
   * Calls `act` in the async context of the server's `listen()`, where Node's server calls its listeners. A store that
   * `act` enters ends with the call.
   */
  runInListenScope<A extends unknown[], R>(act: (...args: A) => R, ...args: A): R {
    const scope = this.#scope?.()
    return scope ? scope.runInAsyncScope(act, undefined, ...args) : act(...args)
  }

  /** Calls the server's listeners and rethrows their errors. */
  request(req: IncomingMessage, res: ServerResponse): void {
    const { server } = this
    if (server.timeout > 0) setIdleTimeout(server, req)
    if (server.emit(eventFor(req, server), req, res)) return
    throw httpError(
      'NO_LISTENER',
      "the http.Server of the application has no 'request' listener; give createServer() one",
    )
  }

  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Node's server does the same without an 'upgrade' listener.
    if (!this.server.emit('upgrade', req, socket, head)) socket.destroy()
  }

  /** Whether an upgrade request goes to 'upgrade' listeners. */
  shouldUpgrade(req: IncomingMessage): boolean {
    const { shouldUpgradeCallback } = this.server as Server & ServerWithUpgradeCallback
    if (shouldUpgradeCallback) return Boolean(shouldUpgradeCallback.call(this.server, req))
    return this.server.listenerCount('upgrade') > 0
  }

  /** Adds these sockets to those that the server counts and closes. */
  #countSockets(): void {
    const { server, sockets } = this
    const { getConnections, closeAllConnections } = server
    const count = (callback: (error: Error | null, count: number) => void): Server =>
      getConnections.call(server, (error, open) => callback(error, error ? open : open + sockets.size))
    const closeAll = (): void => {
      closeAllConnections.call(server)
      for (const socket of [...sockets]) socket.closedByServer()
    }
    for (const [name, own, value] of [
      ['getConnections', getConnections, count],
      ['closeAllConnections', closeAllConnections, closeAll],
    ] as const) {
      // An application may hide a method so that a library does not find it: such a method stays hidden.
      if (typeof own === 'function') Object.defineProperty(server, name, { value, writable: true, configurable: true })
    }
  }
}

/** The value that Node stores in a server under the symbol with this description, if set. */
function optionOf<T>(server: Server, description: string): T | undefined {
  const key = Object.getOwnPropertySymbols(server).find((symbol) => symbol.description === description)
  return key === undefined ? undefined : ((server as unknown as Record<symbol, T | null>)[key] ?? undefined)
}

/** The event for a request with an Expect field (node's parserOnIncoming). */
function eventFor(req: IncomingMessage, server: Server): 'request' | 'checkContinue' | 'checkExpectation' {
  const { expect } = req.headers
  if (expect === undefined || req.httpVersionMinor === 0) return 'request'
  const event = /(?:^|\W)100-continue(?:$|\W)/i.test(expect) ? 'checkContinue' : 'checkExpectation'
  return server.listenerCount(event) > 0 ? event : 'request'
}

/**
 * Implements `server.setTimeout()`: a 'timeout' listener handles the timeout; without one the connection is destroyed.
 */
function setIdleTimeout(server: Server, req: IncomingMessage): void {
  const socket = req.socket as unknown as NodeConnection
  socket.setTimeout(server.timeout)
  const timedOut = socket.timedOut.bind(socket)
  const timedOutOrHandled = (): boolean => {
    const handled = timedOut()
    return server.emit('timeout', req.socket) || handled
  }
  // Not assigned as a function literal: `../README.md` explains why.
  socket.timedOut = timedOutOrHandled
}
