/**
 * `http(url)`: an HTTP/1.1 server as an Application. http-proxy makes the requests and joins upgraded sockets.
 * `http-headers.ts` and `http-call.ts` handle fields, targets and responses: http-proxy loses repeated fields and
 * escapes, and ends a truncated response as if it were complete, or never.
 */

import { Agent, type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { Agent as SecureAgent } from 'node:https'
import { isIP, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createProxyServer, type ServerOptions } from 'http-proxy'
import { fromNode } from '../../interfaces/node/from-node.ts'
import type { Application, RequestContext } from '../../protocol/contract/application.ts'
import { httpError } from '../../protocol/contract/coded-errors.ts'
import { type Logger, silent } from '../../protocol/log/logger.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import { KEEP_ALIVE } from '../../protocol/net/listen.ts'
import { type CallHost, HttpCall } from './http-call.ts'
import { upstreamRequest, upstreamTarget } from './http-headers.ts'

/** Options of `http`. */
export interface HttpUpstreamOptions {
  /**
   * Send the upstream's own name as `Host`, as nginx does by default. Default false: send the client's `Host`, as
   * nginx's `proxy_set_header Host $host` does, so that redirects, cookies and virtual hosts of the upstream are right.
   * The `forwarded` middleware sets `X-Forwarded-*`; this function never does.
   */
  changeOrigin?: boolean | undefined
  /** Verify the certificate of an https upstream for the URL's host. Default true. */
  secure?: boolean | undefined
  /** The certificate authorities to trust instead of Node's list, as PEM. */
  ca?: string | Buffer | (string | Buffer)[] | undefined
  /**
   * How many connections may be open; further requests wait for one, within `timeout`. Upgraded ones do not count.
   * Default 256.
   */
  maxSockets?: number | undefined
  /**
   * How long an idle connection is kept, ms. Default 4000: below the 5 s after which Node's servers close idle
   * connections, so that a request is rarely sent on a connection that is just being closed.
   */
  keepAlive?: number | undefined
  /** How long connecting may take, ms, else 504. Default 5000. */
  connectTimeout?: number | undefined
  /**
   * How long the upstream may take until the response's head, ms, else 504. Time in which an upload makes progress does
   * not count. Default 60000, as nginx's proxy_read_timeout.
   */
  timeout?: number | undefined
  /**
   * How long the upstream may pause between chunks of the response before it is aborted, ms. Upgraded connections are
   * exempt. Default 60000.
   */
  idleTimeout?: number | undefined
  clock?: Clock | undefined
  /** Receives a line for each request that is sent a second time. Default: no log. */
  log?: Pick<Logger, 'info'> | undefined
}

/** An HTTP server as an application. */
export interface HttpUpstream extends Application {
  /** Refuses new requests (503), waits for running ones, and closes idle connections. */
  close(): Promise<void>
}

/**
 * The HTTP server at `url` as an application.
 *
 * Each request is sent once, with one exception: GET, HEAD, OPTIONS and TRACE without a body are sent again on a new
 * connection if the upstream had closed the kept-alive connection before it responded. For other failures the error's
 * `ran` tells a pool whether the request may be sent to another upstream.
 *
 * A failure before the response's head is an `HttpError`: 502 if the upstream cannot be reached or closes the
 * connection, 504 if it takes too long. A later failure aborts the response, which the client can see. Upgrades to any
 * protocol are passed on. A client that sent `Expect: 100-continue` gets the 100 when the upstream sends it.
 *
 * @param url `http://` or `https://`; its path is put in front of the path of each request
 * @throws TypeError if the URL is invalid, or has a query, a fragment or credentials
 * @example
 * ```ts
 * import { makeServer } from 'gantry/container'
 * import { http } from 'gantry/proxy'
 *
 * const upstream = http('http://127.0.0.1:3000', { timeout: 10_000 })
 * const server = await makeServer('127.0.0.1', 8080, upstream)
 * await server.serveForever()
 * await upstream.close()
 * ```
 */
export function http(url: string, options: HttpUpstreamOptions = {}): HttpUpstream {
  const target = parse(url)
  const secure = target.protocol === 'https:'
  const base = target.pathname.replace(/\/+$/, '')
  const host: CallHost = {
    name: target.origin,
    secure,
    named: isIP(target.hostname.replace(/^\[|\]$/g, '')) === 0,
    clock: options.clock ?? systemClock,
    timeout: options.timeout ?? 60_000,
    idleTimeout: options.idleTimeout ?? 60_000,
    log: options.log ?? silent,
  }
  const agents = makeAgents(target, secure, options)
  const keepHost = options.changeOrigin !== true
  const calls: WeakMap<IncomingMessage, HttpCall> = new WeakMap()
  /** The context of the request for which the listener is being called: Node's request has no reference to it. */
  let context: RequestContext | undefined
  let running = 0
  let closing: PromiseWithResolvers<void> | undefined

  const proxy = createProxyServer({
    target,
    selfHandleResponse: true,
    connectTimeout: options.connectTimeout ?? 5_000,
    secure: options.secure !== false,
  })
  proxy.on('proxyRes', (response, req, res) => calls.get(req)?.answered(res, response))
  proxy.on('proxyReqWs', (request, req, socket) => {
    const call = calls.get(req)
    call?.sending(request)
    request.once('upgrade', (_response, remote: Socket) => {
      call?.upgraded()
      endTogether(socket, remote, host)
    })
    request.once('response', (response) => {
      call?.began(response)
      // http-proxy ignores backpressure here.
      response.on('data', () => {
        if (!socket.writableNeedDrain) return
        response.pause()
        socket.once('drain', () => response.resume())
      })
    })
  })
  // The callbacks below receive its errors; without a listener it would throw.
  proxy.on('error', () => {})

  function begin(req: IncomingMessage, client: ServerResponse | Duplex, upgrade: boolean): HttpCall {
    if (closing) throw httpError('UPSTREAM_CLOSED', `${host.name} is being removed and gets no further requests`)
    running++
    const call = new HttpCall(host, context!, req, client, upstreamRequest(req, target.host, keepHost, upgrade), () => {
      running--
      if (running === 0) closing?.resolve()
    })
    calls.set(req, call)
    client.once('close', () => call.over())
    return call
  }

  function listener(req: IncomingMessage, res: ServerResponse): void {
    const call = begin(req, res, false)
    const send = (agent: Agent): void => {
      // http-proxy calls `pipe` of its `buffer` with the new request.
      const buffer = {
        pipe(request: ClientRequest): void {
          request.on('information', ({ statusCode, rawHeaders }) => call.informed(res, statusCode, rawHeaders))
          call.upload(request)
        },
      }
      proxy.web(req, res, { ...perRequest(req, call, base, agent), buffer: buffer as never }, (error: Error) => {
        if (call.failed(error)) send(agents.single)
      })
    }
    attempt(() => send(agents.kept))
  }

  function onUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    const call = begin(req, socket, true)
    // http-proxy upgrades only if this field says websocket. The fields that are sent are the client's.
    req.headers = { upgrade: 'websocket' }
    attempt(() =>
      proxy.ws(
        req,
        socket,
        head,
        perRequest(req, call, base, agents.single),
        (error: Error) => void call.failed(error),
      ),
    )
  }

  const served = fromNode(listener, {
    onUpgrade,
    shouldUpgrade: (environ) => environ.REQUEST_METHOD === 'GET',
    keepFraming: true,
    clock: options.clock,
  })
  const application: Application = (environ, startResponse) => {
    context = environ.gantry
    return served(environ, startResponse)
  }
  return Object.assign(application, {
    async close(): Promise<void> {
      if (!closing) {
        closing = Promise.withResolvers<void>()
        if (running === 0) closing.resolve()
      }
      await closing.promise
      agents.kept.destroy()
    },
  })
}

/**
 * Closes the upstream's socket of an upgraded connection after the client's socket is closed. http-proxy only sends a
 * FIN and stops reading, so an upstream that is blocked in a write would keep its socket for ever. TCP keep-alive
 * detects an upstream whose host is lost.
 */
function endTogether(client: Duplex, remote: Socket, { clock, idleTimeout }: CallHost): void {
  remote.setKeepAlive(true, KEEP_ALIVE)
  client.once('close', () => {
    const impatience = clock.after(idleTimeout, () => remote.destroy())
    remote.once('close', () => impatience.cancel())
    // Flush what the client sent; discard what the upstream still sends.
    remote.resume()
    remote.destroySoon()
  })
}

function parse(url: string): URL {
  const target = URL.canParse(url) ? new URL(url) : undefined
  if (
    !target ||
    (target.protocol !== 'http:' && target.protocol !== 'https:') ||
    target.search !== '' ||
    target.hash !== '' ||
    target.username !== '' ||
    target.password !== ''
  ) {
    throw new TypeError(
      `expected an HTTP upstream as http://HOST[:PORT][/PATH] or https://…, got ${JSON.stringify(url)}`,
    )
  }
  return target
}

/** An agent that keeps connections alive, and one whose connections serve a single request. */
function makeAgents(target: URL, secure: boolean, options: HttpUpstreamOptions): { kept: Agent; single: Agent } {
  const maxSockets = options.maxSockets ?? 256
  const kept = { keepAlive: true, maxSockets, maxFreeSockets: maxSockets, timeout: options.keepAlive ?? 4_000 }
  if (!secure) return { kept: new Agent(kept), single: new Agent() }
  const hostname = target.hostname.replace(/^\[|\]$/g, '')
  const tls = {
    // Otherwise Node takes the name from Host, which the client chooses, and would verify the certificate for that
    // name.
    servername: isIP(hostname) ? '' : hostname,
    rejectUnauthorized: options.secure !== false,
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  }
  return { kept: new SecureAgent({ ...kept, ...tls }), single: new SecureAgent(tls) }
}

/**
 * http-proxy's options for one request. http-proxy changes paths (a bare `?`, the target `*`), drops repeated fields,
 * and sets a wrong length for DELETE and OPTIONS, so that a chunked body would become the next request. It passes the
 * object under `ssl` to `http.request`, so read-only properties of that object keep the right path and fields.
 */
function perRequest(req: IncomingMessage, call: HttpCall, base: string, agent: Agent): ServerOptions {
  const path = upstreamTarget(req.url ?? '/', base)
  const { fields } = call.sent
  return { agent, ssl: Object.defineProperties({}, { path: fixed(path), headers: fixed(fields) }) }
}

/** A property that ignores assignments without an error. */
function fixed(value: unknown): PropertyDescriptor {
  return { enumerable: true, get: () => value, set: () => {} }
}

/** Calls `send`. A request target that `http.request` refuses is the client's fault (400). */
function attempt(send: () => void): void {
  try {
    send()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_UNESCAPED_CHARACTERS') {
      throw httpError('BAD_TARGET', 'the request target contains characters that Node cannot send to the upstream', {
        cause: error,
      })
    }
    throw error
  }
}
