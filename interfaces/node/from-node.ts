/**
 * Runs a Node `(req, res)` listener as an Application: Express, Koa, `http.createServer`'s callback, http-proxy. Both
 * bodies stream under backpressure, and a client's disconnect reaches the listener as 'aborted' and 'close', in Node's
 * order. The other files here make `req`, `res` and their socket.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Application, Body, Environ, StartResponse } from '../../protocol/contract/application.ts'
import { Context } from '../../protocol/contract/context.ts'
import { AbortError } from '../../protocol/contract/errors.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import type { ClientSocket } from './client-socket.ts'
import { NodeConnection } from './connection.ts'
import { ListenerServer, type ListenerServerOptions } from './listener-server.ts'
import { type FedRequest, makeRequest } from './request.ts'
import { makeResponse } from './response.ts'
import { UpgradeSocket } from './upgrade-socket.ts'

/** The argument of `http.createServer`. If it returns a promise that rejects, the request has failed. */
export type NodeListener = (req: IncomingMessage, res: ServerResponse) => unknown

/** Options of `fromNode`. */
export interface FromNodeOptions {
  /**
   * Handles upgrades like a server's 'upgrade' event (`ws`, socket.io, http-proxy's `ws`). The first bytes written to
   * `socket` are parsed as a response. `head` is always empty. Without this option upgrade requests go to the listener,
   * as in Node.
   */
  onUpgrade?: ((req: IncomingMessage, socket: Duplex, head: Buffer) => unknown) | undefined
  /** Returns whether an upgrade request goes to `onUpgrade`; others go to the listener. Default: all do. */
  shouldUpgrade?: ((environ: Environ) => boolean) | undefined
  /**
   * Whether a body without Content-Length stays without one, as in Node. By default a body that is complete at once
   * gets a Content-Length, which costs less.
   */
  keepFraming?: boolean | undefined
  /** For `setTimeout` of requests, responses and sockets. */
  clock?: Clock | undefined
}

/**
 * Returns the application that calls a Node listener.
 *
 * - `req.socket.server` is an `http.Server` that never listens: listeners added to it later, for 'upgrade' too, get
 *   requests.
 * - Hop-by-hop fields that the listener sets are dropped, not refused.
 * - If the listener throws before its response is complete, the response is 500 (or the status of the `HttpError`), or
 *   visibly truncated if its head was sent. `res.destroy()` has the same effect.
 * - `writeContinue` does nothing: the gateway sends 100 when the request is first read.
 *
 * @param listener the function that `http.createServer` would get
 * @param options upgrades, framing and the clock
 * @example
 * ```ts
 * import { fromNode } from 'gantry'
 *
 * export const application = fromNode((req, res) => {
 *   res.writeHead(200, { 'Content-Type': 'text/plain' })
 *   res.end(`You asked for ${req.url}\n`)
 * })
 * ```
 */
export function fromNode(listener: NodeListener, options: FromNodeOptions = {}): Application {
  const { onUpgrade, shouldUpgrade } = options
  const server = createServer(watchRejections<ServerResponse>(listener))
  if (onUpgrade) server.on('upgrade', watchRejections<Duplex>(onUpgrade))
  return serve(new ListenerServer(server, options), shouldUpgrade)
}

/** Returns the application that passes requests to the listeners of `server`, including those added later. */
export function fromServer(server: Server, options: ListenerServerOptions = {}): Application {
  return serve(new ListenerServer(server, options), undefined)
}

function serve(server: ListenerServer, shouldUpgrade: FromNodeOptions['shouldUpgrade']): Application {
  const answer: Application = (environ, startResponse) => {
    const connection = new NodeConnection(environ, server, startResponse)
    try {
      const fed = makeRequest(environ, connection, server)
      const { req, feed } = fed
      if (environ['HTTP_UPGRADE'] !== undefined && (shouldUpgrade?.(environ) ?? true) && server.shouldUpgrade(req)) {
        connection.release()
        return upgrade(server, fed, environ, startResponse)
      }
      connection.request = feed
      server.request(req, makeResponse(req, connection, environ, startResponse, server))
    } catch (error) {
      if (connection.failed(error)) throw error
    }
    connection.request?.began()
    return watchAbort(connection, connection.body.body(), environ)
  }
  return (environ, startResponse) => server.runInListenScope(answer, environ, startResponse)
}

function upgrade(
  server: ListenerServer,
  { req, feed }: FedRequest,
  environ: Environ,
  startResponse: StartResponse,
): Body | Promise<Body> {
  const socket = new UpgradeSocket(environ, server, startResponse)
  feed.move(socket)
  try {
    server.upgrade(req, socket, Buffer.alloc(0))
  } catch (error) {
    if (socket.failed(error)) throw error
  }
  feed.began()
  return watchAbort(socket, socket.body(), environ)
}

/** Calls `listener` and watches its promise: a rejection is a failure of the request. */
function watchRejections<S extends IncomingMessage | ServerResponse | Duplex>(
  listener: (req: IncomingMessage, second: S, head: never) => unknown,
): (req: IncomingMessage, second: S, head?: Buffer) => void {
  return function watchAbort(this: Server, req, second, head) {
    const socket = req.socket as unknown as ClientSocket
    const returned = listener.call(this, req, second, head as never) as PromiseLike<unknown> | undefined
    if (typeof returned?.then === 'function') returned.then(undefined, (error: unknown) => void socket.failed(error))
  }
}

/** Watches a body that is not complete: its exchange may be aborted meanwhile. */
function watchAbort(socket: ClientSocket, body: Body | Promise<Body>, environ: Environ): Body | Promise<Body> {
  if (Array.isArray(body)) return body
  const { gantry } = environ
  const abort = (reason: unknown): void => {
    socket.fail(reason instanceof Error ? reason : new AbortError('CLIENT_GONE', 'the request was aborted'))
  }
  if (gantry instanceof Context) gantry.onAbort(abort)
  else {
    // The context was made by a middleware.
    const { signal } = gantry
    if (signal.aborted) abort(signal.reason)
    else signal.addEventListener('abort', () => abort(signal.reason), { once: true })
  }
  return body
}
