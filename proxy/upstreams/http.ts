/**
 * `http(url)`: a server that speaks HTTP/1.1 as an Application, through http-proxy. It is a Node listener that makes one request for
 * each that it gets (`fromNode`); here stand the connections, and what of http-proxy is used: it makes the requests and joins
 * upgraded sockets. Fields, target and the answer's way back are ours (`http-headers.ts`, `http-call.ts`), since its own lose
 * repeated fields and escapes, and end a cut answer as if it were whole or not at all.
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

export interface HttpUpstreamOptions {
  /**
   * Send the upstream its own name as `Host`, as nginx does by default. Default false: the client's `Host`, as `proxy_set_header
   * Host $host` does, so that redirects, cookies and virtual hosts of the upstream stay true. `X-Forwarded-*` are not
   * set here in any case (the `forwarded` middleware does).
   */
  changeOrigin?: boolean | undefined
  /** Check the certificate of an https upstream against the URL's host. Default true. */
  secure?: boolean | undefined
  /** PEM: the authorities to trust instead of node's list. */
  ca?: string | Buffer | (string | Buffer)[] | undefined
  /** Connections at once; further requests wait for one, within `timeout`. Upgraded ones do not count. Default 256. */
  maxSockets?: number | undefined
  /**
   * Milliseconds that an idle connection is kept. Default 4000: below the 5 s after which node's own servers close theirs, so that a
   * request rarely meets a connection that is just being closed.
   */
  keepAlive?: number | undefined
  /** Milliseconds to connect, else 504. Default 5000. */
  connectTimeout?: number | undefined
  /** Milliseconds to the response's head, not counting an upload that moves, else 504. Default 60000, as nginx's proxy_read_timeout. */
  timeout?: number | undefined
  /** Milliseconds between two pieces of the response, else it is cut. Upgraded connections are exempt. Default 60000. */
  idleTimeout?: number | undefined
  clock?: Clock | undefined
  /** Receives a line for each request that is sent a second time. Default: none. */
  log?: Pick<Logger, 'info'> | undefined
}

export interface HttpUpstream extends Application {
  /** Takes no more requests (503), waits for those that run, and closes the connections that were kept. */
  close(): Promise<void>
}

/**
 * The server at `url` as an application.
 *
 * A request is made once. One exception: GET, HEAD, OPTIONS and TRACE without a body are made a second time, on a new connection, when
 * a kept connection turns out to be closed before any answer came. Nothing else is ever repeated: whoever pools upstreams
 * can tell from the error's `ran` what surely was not sent.
 *
 * Failures before the head are an `HttpError`: 502 when it cannot be reached or breaks off, 504 when it takes too long. Later
 * ones cut the response visibly. Upgrades are passed on, to whatever protocol. A client that waits to be asked for its body
 * (`Expect`) is asked when the upstream asks.
 *
 * @param url `http://` or `https://`, whose path is put before that of each request
 * @throws TypeError for another URL, or one with a query, a fragment or credentials
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
  /** The context of the request for which the listener is called: Node's request has no reference to it. */
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
      // http-proxy writes on and on.
      response.on('data', () => {
        if (!socket.writableNeedDrain) return
        response.pause()
        socket.once('drain', () => response.resume())
      })
    })
  })
  // Its errors come to the callbacks below; without a listener it throws.
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
      // What http-proxy calls a buffer is whatever it gives the new request to.
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
    // It knows one protocol, and asks this; what is sent are the fields that the client sent.
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
 * Closes the upstream's socket of an upgraded connection once the client's socket is closed. http-proxy only sends a
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
    throw new TypeError(`an HTTP upstream is http://HOST[:PORT][/PATH] or https://…, got ${JSON.stringify(url)}`)
  }
  return target
}

/** Connections that are kept, and ones that serve a single request. */
function makeAgents(target: URL, secure: boolean, options: HttpUpstreamOptions): { kept: Agent; single: Agent } {
  const maxSockets = options.maxSockets ?? 256
  const kept = { keepAlive: true, maxSockets, maxFreeSockets: maxSockets, timeout: options.keepAlive ?? 4_000 }
  if (!secure) return { kept: new Agent(kept), single: new Agent() }
  const hostname = target.hostname.replace(/^\[|\]$/g, '')
  const tls = {
    // Else node takes it from Host, which is the client's to choose, and would ask for, and check, that name's certificate.
    servername: isIP(hostname) ? '' : hostname,
    rejectUnauthorized: options.secure !== false,
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  }
  return { kept: new SecureAgent({ ...kept, ...tls }), single: new SecureAgent(tls) }
}

/**
 * http-proxy's options of one request. It joins paths with a loss (a bare `?`, the target `*`), keeps one of repeated fields and "corrects" the
 * length of DELETE and OPTIONS, so that a chunked body would be the next request. But it fills in and gives to `http.request` the
 * object under `ssl`: there path and fields stand fast.
 */
function perRequest(req: IncomingMessage, call: HttpCall, base: string, agent: Agent): ServerOptions {
  const path = upstreamTarget(req.url ?? '/', base)
  const { fields } = call.sent
  return { agent, ssl: Object.defineProperties({}, { path: fixed(path), headers: fixed(fields) }) }
}

/** A property that takes no other value, and does not complain of one. */
function fixed(value: unknown): PropertyDescriptor {
  return { enumerable: true, get: () => value, set: () => {} }
}

/** A target that `http.request` refuses is the client's fault. */
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
