/**
 * Serves requests that an application sends to its own address. No process listens there, or a proxy does, whose queue
 * could deadlock with the sending request. Replaces `net.Socket.prototype.connect`: such connections go to a private
 * Unix socket, which `serve.ts` serves.
 */

import { createServer, Socket } from 'node:net'
import { hostname, networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { privateDirectory, sweepPrivateDirectories } from '../process/private-directory.ts'
import { TrustedPeers } from '../protocol/client/peers.ts'
import type { Logger } from '../protocol/log/logger.ts'
import type { RequestedAddress } from './application/adopted-server.ts'

/** The target of a connection, as passed to `net.connect`. */
export interface Target {
  readonly host?: string | null | undefined
  readonly port?: number | string | null | undefined
  readonly path?: string | null | undefined
}

export interface SelfCallOptions {
  /** The addresses on which the application listens or believes that it listens. */
  readonly own: () => readonly RequestedAddress[]
  readonly log: Logger
  readonly serve: (socket: Socket) => void
}

type Connect = (this: Socket, ...args: unknown[]) => Socket

const prototype = Socket.prototype as unknown as { connect: Connect }

const loopback = new TrustedPeers(['loopback'])
/** Properties of a self-call's socket that show the requested address instead of the Unix socket's. */
const SHADOWED = ['remoteAddress', 'remoteFamily', 'remotePort'] as const

/**
 * Connections that may wait to be accepted. Above it a connection to a Unix socket fails at once (EAGAIN), where one
 * over TCP would wait. The system allows at most `net.core.somaxconn`, often 4096; an application can exceed Node's
 * default of 511 with a burst of calls in one tick.
 */
const BACKLOG = 65_535

const WILDCARD_HOSTS: readonly string[] = ['', '::', '0.0.0.0']
/** The addresses of `localhost`. */
const LOCALHOST_ADDRESSES: readonly string[] = ['127.0.0.1', '::1']

/** Whether a connection to `target` would reach a server that listens on one of `own`. */
export function isSelf({ host, port, path }: Target, own: readonly RequestedAddress[]): boolean {
  for (const address of own) {
    if (address.path !== undefined ? path === address.path : !path && isSameEndpoint(address, host, port)) return true
  }
  return false
}

function isSameEndpoint(own: RequestedAddress, host: string | null | undefined, port: Target['port']): boolean {
  if (own.port === 0 || Number(port) !== own.port) return false
  const [listens, called] = [normalHost(own.host), normalHost(host)]
  // A connection without a host, or to the wildcard address, goes to this host.
  const toLoopback = isLocalhost(called) || WILDCARD_HOSTS.includes(called) || loopback.has(called)
  if (WILDCARD_HOSTS.includes(listens)) {
    if (listens === '0.0.0.0' && called === '::1') return false
    return toLoopback || isThisHost(called)
  }
  if (listens === called) return true
  // `localhost` and the wildcard addresses reach only these two: another service may listen on 127.0.0.2.
  const addresses = isLocalhost(listens)
    ? LOCALHOST_ADDRESSES
    : LOCALHOST_ADDRESSES.filter((address) => address === listens)
  if (addresses.length === 0) return false
  if (called === '0.0.0.0' || called === '::') return addresses.includes(called === '::' ? '::1' : '127.0.0.1')
  return called === '' || isLocalhost(called) || addresses.includes(called)
}

/** These names mean a loopback address, whatever a resolver returns (RFC 6761 §6.3). */
function isLocalhost(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost')
}

/** The prefix of an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2). */
const MAPPED = '::ffff:'

function normalHost(host: string | null | undefined): string {
  const name = (host ?? '').toLowerCase().replace(/\.$/, '')
  if (!name.startsWith(MAPPED)) return name
  const rest = name.slice(MAPPED.length)
  // URL prints such an address as `::ffff:7f00:1`.
  const [high, low] = rest.split(':').map((part) => Number.parseInt(part, 16))
  return low === undefined ? rest : [high! >> 8, high! & 0xff, low >> 8, low & 0xff].join('.')
}

/** An application that listens on all addresses is also reached by the host's own name and addresses. */
function isThisHost(name: string): boolean {
  if (name === hostname().toLowerCase()) return true
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === name))
}

class SelfCalls {
  readonly #options: SelfCallOptions
  readonly #connect: Connect = prototype.connect
  /** The path of the private socket, created for the first such connection; false if it could not be created. */
  #path: string | false | undefined

  constructor(options: SelfCallOptions) {
    this.#options = options
  }

  /** Replaces `connect` in this process. */
  install(): this {
    // Removes the directories of killed containers, which this container may replace.
    void sweepPrivateDirectories()
    const self = this
    prototype.connect = function connect(this: Socket, ...args: unknown[]): Socket {
      return self.#connect.apply(this, self.#redirected(this, args))
    }
    return this
  }

  #redirected(socket: Socket, args: unknown[]): unknown[] {
    const { target, rest } = targetOf(args)
    // The socket may have been used for a self-call before.
    for (const name of SHADOWED) Reflect.deleteProperty(socket, name)
    if (!target || !isSelf(target, this.#options.own())) return args
    // TLS sockets, and sockets that wrap another stream, already have a TCP handle.
    const { encrypted, _handle: handle } = socket as { encrypted?: boolean; _handle?: unknown }
    if (encrypted || (handle && !socket.destroyed)) return args
    this.#path ??= this.#listen()
    if (this.#path === false) return args
    const port = Number(target.port ?? 0)
    if (port !== 0) {
      const remoteAddress = normalHost(target.host) === '::1' ? '::1' : '127.0.0.1'
      Object.defineProperties(socket, {
        remoteAddress: { value: remoteAddress, configurable: true },
        remoteFamily: { value: remoteAddress === '::1' ? 'IPv6' : 'IPv4', configurable: true },
        remotePort: { value: port, configurable: true },
      })
    }
    return [{ ...target, path: this.#path }, ...rest]
  }

  /** Listens on a Unix socket in a directory that only this user can enter. The socket is bound synchronously. */
  #listen(): string | false {
    const { log, serve } = this.#options
    try {
      const path = join(privateDirectory('self-'), 'self.sock')
      const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        socket.on('error', () => {})
        serve(socket)
      })
      server.on('error', (err) => log.error({ err }, 'a request of the application to itself could not be accepted'))
      server.listen({ path, backlog: BACKLOG })
      server.unref()
      if (server.listening) {
        log.debug({ path }, 'the application sends requests to itself: they are served directly')
        return path
      }
    } catch (err) {
      log.warn(
        { err },
        `the application sends requests to itself, but no Unix socket can be created in ${tmpdir()} to serve them directly: set TMPDIR to a writable directory; until then they use the network and need a slot`,
      )
    }
    return false
  }
}

let served: SelfCallOptions | undefined

/** Serves this process's requests to itself with `options` from now on. `connect` is replaced only once. */
export function serveSelfCalls(options: SelfCallOptions): void {
  const isFirst = served === undefined
  served = options
  if (!isFirst) return
  new SelfCalls({
    own: () => served!.own(),
    log: options.log,
    serve: (socket) => served!.serve(socket),
  }).install()
}

/**
 * Parses the arguments of `connect(options, callback)`, `connect(port, host, callback)`, `connect(path, callback)`, or
 * the list that `net.connect` makes of them.
 */
function targetOf(args: readonly unknown[]): { target: Target | undefined; rest: unknown[] } {
  const [first, ...rest] = args
  if (Array.isArray(first)) {
    const [options, callback] = first as [Target, unknown]
    return { target: options, rest: typeof callback === 'function' ? [callback] : [] }
  }
  if (typeof first === 'object' && first !== null) return { target: first as Target, rest }
  if (typeof first === 'string' && !/^\d+$/.test(first)) return { target: { path: first }, rest }
  if (typeof first !== 'string' && typeof first !== 'number') return { target: undefined, rest }
  const host = typeof rest[0] === 'string' ? (rest.shift() as string) : undefined
  return { target: { port: first, host }, rest }
}
