/**
 * A Node `(req, res)` listener as an Application: what Express, Koa, `http.createServer`'s callback and http-proxy are. Both ways stream, under
 * backpressure, and a client's abort reaches the listener as 'aborted' and 'close', in node's order.
 *
 * This file calls the listener; how `req`, `res` and their socket come from an environ is in the files beside it. It does not know
 * frameworks.
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

/** What `http.createServer` takes. A promise it returns is watched: its rejection is a failure of the request. */
export type NodeListener = (req: IncomingMessage, res: ServerResponse) => unknown

export interface FromNodeOptions {
  /**
   * As a server's 'upgrade' event (`ws`, socket.io, http-proxy's `ws`). What is written to `socket` first is read as a
   * response. `head` is always empty. Without it an upgrade request goes to the listener, as in node.
   */
  onUpgrade?: ((req: IncomingMessage, socket: Duplex, head: Buffer) => unknown) | undefined
  /** Which upgrade requests go to `onUpgrade`; all, unless told. The others go to the listener. */
  shouldUpgrade?: ((environ: Environ) => boolean) | undefined
  /**
   * A body without Content-Length stays one, as in node, also when it is whole at once. By default its length is then said,
   * which is cheaper for everybody.
   */
  keepFraming?: boolean | undefined
  /** For `setTimeout` of requests, responses and sockets. */
  clock?: Clock | undefined
}

/**
 * The application that `listener` is.
 *
 * `req.socket.server` is an `http.Server` that never listens: listeners added to it later, for 'upgrade' too, get
 * requests. Hop-by-hop fields that the listener sets are dropped, not refused. An error that it throws before its
 * response is complete becomes the exchange's 500 (an `HttpError`: its status) or, once the head was sent, a visibly
 * truncated response; so does `res.destroy()`. `writeContinue` does nothing: the gateway sends 100 when the request is
 * first read.
 */
export function fromNode(listener: NodeListener, options: FromNodeOptions = {}): Application {
  const { onUpgrade, shouldUpgrade } = options
  const server = createServer(watching<ServerResponse>(listener))
  if (onUpgrade) server.on('upgrade', watching<Duplex>(onUpgrade))
  return serve(new ListenerServer(server, options), shouldUpgrade)
}

/** The application that passes requests to the listeners of `server`, including those added later. */
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
    return watched(connection, connection.body.body(), environ)
  }
  return (environ, startResponse) => server.within(answer, environ, startResponse)
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
  return watched(socket, socket.body(), environ)
}

/** Calls `listener` and watches its promise: a rejection is a failure of the request. */
function watching<S extends IncomingMessage | ServerResponse | Duplex>(
  listener: (req: IncomingMessage, second: S, head: never) => unknown,
): (req: IncomingMessage, second: S, head?: Buffer) => void {
  return function watched(this: Server, req, second, head) {
    const socket = req.socket as unknown as ClientSocket
    const returned = listener.call(this, req, second, head as never) as PromiseLike<unknown> | undefined
    if (typeof returned?.then === 'function') returned.then(undefined, (error: unknown) => void socket.failed(error))
  }
}

/** A body that is not there yet: its exchange may be aborted meanwhile. */
function watched(socket: ClientSocket, body: Body | Promise<Body>, environ: Environ): Body | Promise<Body> {
  if (Array.isArray(body)) return body
  const { gantry } = environ
  const gone = (reason: unknown): void => {
    socket.fail(reason instanceof Error ? reason : new AbortError('CLIENT_GONE', 'the request was aborted'))
  }
  if (gantry instanceof Context) gantry.onAbort(gone)
  else {
    // Of a middleware's own making.
    const { signal } = gantry
    if (signal.aborted) gone(signal.reason)
    else signal.addEventListener('abort', () => gone(signal.reason), { once: true })
  }
  return body
}
