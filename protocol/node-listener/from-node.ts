/**
 * A Node `(req, res)` listener as an Application: what Express, Koa, `http.createServer`'s callback and http-proxy are. Both ways stream, under
 * backpressure, and a client's abort reaches the listener as 'aborted' and 'close', in node's order.
 *
 * This file calls the listener; how `req`, `res` and their socket come from an environ is in the files beside it. It does not know
 * frameworks.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Application, Body, Environ, StartResponse } from '../application.ts'
import type { Clock } from '../clock.ts'
import { Context } from '../context.ts'
import { AbortError } from '../errors.ts'
import { Connection } from './connection.ts'
import { makeRequest } from './request.ts'
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
 * Hop-by-hop fields that it sets are left out, not refused. What it throws before the head was sent is the exchange's 500 (an
 * `HttpError`: its status), later a visibly cut response; so is `res.destroy()`. `writeContinue` does nothing: the
 * gateway sends 100 when the request is first read.
 */
export function fromNode(listener: NodeListener, options: FromNodeOptions = {}): Application {
  const { onUpgrade, shouldUpgrade, clock, keepFraming = false } = options
  return (environ, startResponse) => {
    if (onUpgrade && environ['HTTP_UPGRADE'] !== undefined && (shouldUpgrade?.(environ) ?? true)) {
      return upgrade(onUpgrade, environ, startResponse, clock)
    }
    const connection = new Connection(environ, clock)
    const { req, feed } = makeRequest(environ, connection, (error) => connection.fail(error))
    connection.request = feed
    const res = makeResponse(req, connection, environ, startResponse, keepFraming)
    run(connection, () => listener(req, res))
    feed.began()
    return watched(connection, connection.body.body(), environ)
  }
}

function upgrade(
  onUpgrade: NonNullable<FromNodeOptions['onUpgrade']>,
  environ: Environ,
  startResponse: StartResponse,
  clock: Clock | undefined,
): Body | Promise<Body> {
  const socket = new UpgradeSocket(environ, startResponse, clock)
  const { req, feed } = makeRequest(environ, socket, (error) => socket.fail(error))
  run(socket, () => onUpgrade(req, socket, Buffer.alloc(0)))
  feed.began()
  return watched(socket, socket.body(), environ)
}

interface Failing {
  fail(error: unknown): void
}

/** Calls user code. What it throws, or its promise rejects with, cuts the exchange; a throw is thrown on. */
function run(socket: Failing, code: () => unknown): void {
  let returned: unknown
  try {
    returned = code()
  } catch (error) {
    socket.fail(error)
    throw error
  }
  if (typeof (returned as PromiseLike<unknown> | undefined)?.then === 'function') {
    ;(returned as PromiseLike<unknown>).then(undefined, (error: unknown) => socket.fail(error))
  }
}

/** A body that is not there yet: its exchange may be aborted meanwhile. */
function watched(socket: Failing, body: Body | Promise<Body>, environ: Environ): Body | Promise<Body> {
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
