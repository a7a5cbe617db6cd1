/**
 * The `http.Server` of a listener's requests: it chooses the event for each request (as node's parserOnIncoming), has
 * the classes for requests and responses, and counts and closes their sockets. It does not listen, and does not know
 * who calls `listen()` or adopts it.
 */

import type { AsyncResource } from 'node:async_hooks'
import { IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import type { ClientSocket, SocketOwner } from './client-socket.ts'
import type { Connection } from './connection.ts'
import type { RequestSettings } from './request.ts'
import type { ResponseSettings } from './response.ts'

export interface ListenerServerOptions {
  readonly keepFraming?: boolean | undefined
  readonly clock?: Clock | undefined
  /** The async context in which its listeners are called: that of `listen()`, where it was called. Asked for each request. */
  readonly scope?: (() => AsyncResource | undefined) | undefined
}

/** Since Node 24.9; types lag behind. */
interface Choosing {
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
    // Options of `createServer` are stored under node's own symbols.
    this.IncomingMessage = hidden(server, 'IncomingMessage') ?? IncomingMessage
    this.ServerResponse = hidden(server, 'ServerResponse') ?? (ServerResponse as ResponseSettings['ServerResponse'])
    this.uniqueHeaders = hidden(server, 'kUniqueHeaders')
    this.#count()
  }

  /**
   * Calls `act` in the async context of the server's `listen()`, where Node's server calls its listeners. A store that
   * `act` enters ends with the call.
   */
  within<G extends unknown[], R>(act: (...given: G) => R, ...given: G): R {
    const scope = this.#scope?.()
    return scope ? scope.runInAsyncScope(act, undefined, ...given) : act(...given)
  }

  /** Calls the server's listeners and rethrows their errors. */
  request(req: IncomingMessage, res: ServerResponse): void {
    const { server } = this
    if (server.timeout > 0) limitIdling(server, req)
    if (server.emit(eventFor(req, server), req, res)) return
    throw httpError(
      'NO_LISTENER',
      "the http.Server of the application has no 'request' listener; give createServer() one",
    )
  }

  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    // As node's server does without an 'upgrade' listener.
    if (!this.server.emit('upgrade', req, socket, head)) socket.destroy()
  }

  /** Whether an upgrade request goes to 'upgrade' listeners. */
  shouldUpgrade(req: IncomingMessage): boolean {
    const { shouldUpgradeCallback } = this.server as Server & Choosing
    if (shouldUpgradeCallback) return Boolean(shouldUpgradeCallback.call(this.server, req))
    return this.server.listenerCount('upgrade') > 0
  }

  /** Adds these sockets to those that the server knows of. */
  #count(): void {
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
      // An application may hide a method to steer a library that looks for it: such a method stays hidden.
      if (typeof own === 'function') Object.defineProperty(server, name, { value, writable: true, configurable: true })
    }
  }
}

/** The value that node stores in a server under the symbol with this description, if set. */
function hidden<T>(server: Server, description: string): T | undefined {
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

/** `server.setTimeout()`: a 'timeout' listener handles the timeout; without one the connection is destroyed. */
function limitIdling(server: Server, req: IncomingMessage): void {
  const socket = req.socket as unknown as Connection
  socket.setTimeout(server.timeout)
  const timedOut = socket.timedOut.bind(socket)
  const asked = (): boolean => {
    const handled = timedOut()
    return server.emit('timeout', req.socket) || handled
  }
  // Not assigned as a literal: see `lazy-duplex.ts`.
  socket.timedOut = asked
}
