/**
 * Takes over the `http.Server` on which an application calls `listen()`: the container listens instead. Replaces
 * `net.Server.prototype.listen` in this process before the module is loaded. `listen-decision.ts` decides which of
 * several servers is served.
 */

import { AsyncResource } from 'node:async_hooks'
import cluster, { type Address as ClusterAddress, type Worker } from 'node:cluster'
import { Server } from 'node:http'
import { Server as NetServer } from 'node:net'
import { LoadError } from '../../process/modules/load-module.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import type { Address } from '../../protocol/net/address.ts'
import { type Clock, systemClock, type Timer } from '../../protocol/net/clock.ts'
import { AdoptedServer, type RequestedAddress } from './adopted-server.ts'
import {
  decideListen,
  describe,
  kindOf,
  type ListenAction,
  type ListenState,
  parseListenArguments,
  portOrPath,
  type ServerKind,
  type WantedPort,
} from './listen-decision.ts'

type Listen = (this: NetServer, ...args: unknown[]) => NetServer

/** A server that listens by itself. If no better server listens, it is served or refused. */
interface CandidateServer {
  readonly kind: Exclude<ServerKind, 'net'>
  readonly server: NetServer | undefined
  readonly requested: RequestedAddress
  readonly args: readonly unknown[]
  readonly action: ListenAction
  /** The async context of the call of `listen()`; undefined for the workers of a cluster. */
  readonly scope?: AsyncResource
}

/**
 * How long a server on another port waits for a server on PORT, ms: the application may first connect to its database.
 */
const SUBSTITUTE_WAIT = 5_000
/**
 * How long a server that cannot be served waits after loading for one that can, ms: both usually start at about that
 * time.
 */
const REFUSE_WAIT = 1_000

const ADVICE: Readonly<Record<'https' | 'http2' | 'cluster', string>> = {
  https:
    'an https server: TLS ends in front of Gantry (nginx, Caddy, a load balancer). Start an http.createServer() in its place',
  http2:
    'an HTTP/2 server: clients and the proxy speak HTTP/1.1 to it. Start an http.createServer() in its place; a gRPC server may run in addition',
  cluster:
    'workers of node:cluster: containers are the workers here. Start the server without cluster, and scale the containers (docker compose up --scale container=4)',
}

/** `net.Server.prototype` with writable methods; Node's types have none. */
const prototype = NetServer.prototype as unknown as { listen: Listen }
const listenNative: Listen = prototype.listen

export class ListenTakeover {
  /**
   * Resolves with the server to serve, once the application calls `listen()` on it. Rejects with a LoadError if the
   * server cannot be served.
   */
  readonly serverFound: Promise<AdoptedServer>
  readonly wanted: WantedPort | undefined
  readonly #resolve: (server: AdoptedServer) => void
  readonly #reject: (error: LoadError) => void
  readonly #log: Logger
  #served: AdoptedServer | undefined
  #servedCandidate: CandidateServer | undefined
  #isSubstitute = false
  readonly #all: Map<NetServer, { readonly adopted: AdoptedServer; requested: RequestedAddress }> = new Map()
  readonly #candidates: CandidateServer[] = []
  /** Servers that began to listen by themselves before a server was served. */
  readonly #independent: Set<NetServer> = new Set()
  #clock: Clock | undefined
  readonly #timers: Timer[] = []
  #addresses: readonly Address[] | undefined
  #drained = false
  /** Called if the application closes the served server while no drain runs. */
  #closed: (() => void) | undefined

  constructor(log: Logger, wanted?: WantedPort) {
    this.#log = log
    this.wanted = wanted
    const { promise, resolve, reject } = Promise.withResolvers<AdoptedServer>()
    this.serverFound = promise
    // An export that was named on the command line is served even if no server can be served.
    promise.catch(() => {})
    this.#resolve = resolve
    this.#reject = reject
  }

  get served(): AdoptedServer | undefined {
    return this.#served
  }

  /** The addresses that the application passed to `listen()` for the served server and for servers on the same port. */
  get ownAddresses(): RequestedAddress[] {
    return [...this.#all.values()].map(({ requested }) => requested)
  }

  /** Ports and paths of servers that listen by themselves and may have been the intended ones. */
  get others(): (number | string)[] {
    return this.#candidates.map(({ requested }) => requested.path ?? requested.port)
  }

  /** Whether a server of this process listens on `port` by itself, before a server is served. */
  binds(port: number): boolean {
    return [...this.#independent].some((server) => {
      const address = server.address()
      return typeof address === 'object' && address?.port === port
    })
  }

  /** Called when the served server, or its replacement, listens again after its `close()`. */
  listensAgain: (() => void) | undefined

  get isListening(): boolean {
    return this.#served?.isOpen === true
  }

  /** All requests have ended and the process continues: closed servers may listen again. */
  paused(): void {
    // No server emits 'listening' until the container listens again.
    if (!this.isListening) this.#addresses = undefined
    for (const { adopted } of this.#all.values()) adopted.paused()
  }

  set closed(callback: () => void) {
    this.#closed = callback
  }

  /** Whether `close()` of the served server was called with a callback. */
  get isAwaited(): boolean {
    return this.#served?.isAwaited === true
  }

  /**
   * Warns if the module also exports something that could be served: its server may be meant for metrics only. Does not
   * warn if PORT or --app-port decides, or if the server of the export cannot be recognised (Koa).
   *
   * @param as the export as the command line names it: `app.js:default`
   */
  warnAboutExport(exported: unknown, as: string): void {
    if (!this.#servedCandidate || this.wanted || !isListener(exported) || isServerOf(this.#servedCandidate, exported))
      return
    this.#log.warn(
      { served: portOrPath(this.#servedCandidate.requested), exported: as },
      `the application exports a listener and has a server of its own: the container serves the server on ${describe(this.#servedCandidate.requested)}; name the export (${as}) to serve that instead, or use --app-port ${portOrPath(this.#servedCandidate.requested)} to keep the server`,
    )
  }

  /** Replaces `listen` until `restore`. */
  install(): this {
    const takeover = this
    prototype.listen = function listen(this: NetServer, ...args: unknown[]): NetServer {
      return takeover.#listen(this, args)
    }
    cluster.on('listening', this.#workerListens)
    return this
  }

  restore(): void {
    prototype.listen = listenNative
    cluster.off('listening', this.#workerListens)
    for (const timer of this.#timers) timer.cancel()
  }

  /** Call after the module is loaded: if no wanted server listens in time, waiting servers are served or refused. */
  moduleLoaded(clock: Clock = systemClock): void {
    this.#clock = clock
    for (const candidate of this.#candidates) this.#wait(candidate)
  }

  /** How long an exported application waits for its own server, ms; undefined if no other server listens by itself. */
  exportWait(exported: unknown): number | undefined {
    if (this.#candidates.length === 0) return undefined
    const isForeign = this.#candidates.some((one) => one.kind === 'http' && !isServerOf(one, exported))
    return isForeign ? SUBSTITUTE_WAIT : REFUSE_WAIT
  }

  /**
   * Serves a suitable server that listens by itself, if there is one.
   *
   * @param exported if given, only a server of this listener is suitable
   */
  substitute(exported?: unknown): AdoptedServer | undefined {
    const candidate = this.#candidates.find((one) => one.kind === 'http' && (!exported || isServerOf(one, exported)))
    if (this.#served || !candidate || this.wanted?.from === '--app-port') return this.#served
    const server = candidate.server as Server & { _handle?: { close(): void } | null }
    // Frees the port: a proxy on this host may have to listen on it. `close()` would emit 'close' to the application.
    server._handle?.close()
    server._handle = null
    this.#candidates.splice(this.#candidates.indexOf(candidate), 1)
    this.#isSubstitute = true
    this.#log.warn(
      { served: portOrPath(candidate.requested), wanted: this.wanted?.value },
      `the application listens on ${describe(candidate.requested)} and not on ${this.wanted?.from} (${this.wanted?.value}): the container serves this server; use --app-port to choose it without waiting`,
    )
    return this.#adopt(candidate, true)
  }

  /** The container is reachable at `addresses`. */
  listening(addresses: readonly Address[]): void {
    this.#addresses = addresses
    for (const { adopted } of this.#all.values()) adopted.listening(addresses)
  }

  /** The drain is over. */
  drained(): void {
    this.#drained = true
    for (const { adopted } of this.#all.values()) adopted.drained()
  }

  #listen(server: NetServer, args: unknown[]): NetServer {
    const requested = parseListenArguments(args)
    const known = this.#all.get(server)
    if (known?.adopted.isOpen) {
      throw Object.assign(new Error('Listen method has been called more than once without closing.'), {
        code: 'ERR_SERVER_ALREADY_LISTEN',
      })
    }
    const kind = kindOf(server)
    const action = known ? 'same-port' : server.listening ? 'independent' : decideListen(kind, requested, this.#state)
    const scope = new AsyncResource('HTTPSERVER')
    const candidate: CandidateServer = { kind: kind as CandidateServer['kind'], server, requested, args, action, scope }
    switch (action) {
      case 'serve':
      case 'same-port':
        this.#adopt(candidate)
        return server
      case 'replace':
        this.#releaseSubstitute()
        this.#adopt(candidate)
        return server
      case 'refuse':
      case 'wait':
        this.#candidates.push(candidate)
        this.#wait(candidate)
        break
      case 'independent':
        if (kind === 'http') this.#warnOnceBound(candidate)
    }
    if (!this.#served) this.#independent.add(server)
    return listenNative.apply(server, args)
  }

  /** A worker of a cluster primary listens; the primary has already bound the port. */
  readonly #workerListens = (_worker: Worker, { port, address, addressType }: ClusterAddress): void => {
    if (String(addressType).startsWith('udp')) return
    const requested: RequestedAddress =
      addressType === -1
        ? { port: 0, host: undefined, path: String(address) }
        : { port, host: address, path: undefined }
    const isKnown = this.#candidates.some(
      ({ kind, requested: one }) => kind === 'cluster' && portOrPath(one) === portOrPath(requested),
    )
    if (isKnown) return
    const action = decideListen('cluster', requested, this.#state)
    const candidate: CandidateServer = { kind: 'cluster', server: undefined, requested, args: [], action }
    this.#candidates.push(candidate)
    if (action === 'independent') this.#warnAboutServer(candidate.requested)
    else this.#wait(candidate)
  }

  get #state(): ListenState {
    const shown = this.#served?.server.address()
    // The port as passed to `listen()`, or for port 0 the port that `address()` reports.
    const port = typeof shown === 'object' && shown !== null ? shown.port : undefined
    const requested = this.#servedCandidate?.requested
    return {
      wanted: this.wanted,
      served: requested && (requested.path ?? (requested.port === 0 ? (port ?? 0) : requested.port)),
      isSubstitute: this.#isSubstitute,
    }
  }

  #adopt(candidate: CandidateServer, isAnnounced: boolean = false): AdoptedServer {
    const { requested, args } = candidate
    const server = candidate.server as Server
    const callback = args.findLast((one) => typeof one === 'function') as (() => void) | undefined
    if (callback && !isAnnounced) server.once('listening', callback)
    const adopted = this.#all.get(server)?.adopted ?? new AdoptedServer(server)
    adopted.listenCalled(requested, candidate.scope, isAnnounced)
    this.#all.set(server, { adopted, requested })
    const { signal } = (args[0] ?? {}) as { signal?: AbortSignal }
    if (!isAnnounced) signal?.addEventListener('abort', () => server.close(), { once: true })
    // An application that restarts itself may replace a closed server by another one on the same port.
    if (!this.#served?.isOpen) this.#serve(candidate, adopted)
    this.listensAgain?.()
    const addresses = this.#addresses
    if (addresses) process.nextTick(() => adopted.listening(addresses))
    if (this.#drained) adopted.drained()
    return adopted
  }

  #serve(candidate: CandidateServer, adopted: AdoptedServer): void {
    this.#served = adopted
    this.#servedCandidate = candidate
    adopted.closed = () => this.#closed?.()
    for (const timer of this.#timers.splice(0)) timer.cancel()
    this.#log.info(
      { asked: portOrPath(candidate.requested) },
      'the application listens: the container serves its server',
    )
    for (const { kind, requested } of this.#candidates)
      if (kind === 'http' || kind === 'cluster') this.#warnAboutServer(requested)
    this.#resolve(adopted)
  }

  /** Lets the served substitute listen by itself again. */
  #releaseSubstitute(): void {
    const { server, requested, args } = this.#servedCandidate!
    this.#all.get(server!)?.adopted.release()
    this.#all.delete(server!)
    this.#served = undefined
    this.#isSubstitute = false
    const failed = (err: Error): void => {
      this.#log.error({ err }, `the server on ${describe(requested)} cannot listen there again`)
    }
    server!.once('error', failed).once('listening', () => server!.off('error', failed))
    this.#candidates.push(this.#servedCandidate!)
    listenNative.apply(
      server!,
      args.filter((one) => typeof one !== 'function'),
    )
  }

  /** Warns about a server that is not served: the user may have meant it. */
  #warnAboutServer(requested: RequestedAddress): void {
    const option = requested.path === undefined ? `--app-port ${requested.port}` : `PORT=${requested.path}`
    this.#log.warn(
      { served: portOrPath(this.#servedCandidate!.requested), other: portOrPath(requested) },
      `the application has several servers: the container serves the one on ${describe(this.#servedCandidate!.requested)}; the one on ${describe(requested)} listens there by itself; use ${option} to serve that one instead`,
    )
  }

  #warnOnceBound({ server, requested }: CandidateServer): void {
    server!.once('listening', () => {
      const bound = server!.address()
      this.#warnAboutServer(
        typeof bound === 'object' && bound !== null ? { ...requested, port: bound.port } : requested,
      )
    })
  }

  #wait(candidate: CandidateServer): void {
    // The exports of the module are known only after loading.
    if (!this.#clock || this.#served) return
    if (candidate.action === 'refuse') {
      this.#refuse(candidate)
      return
    }
    // With --app-port the container waits only for that port.
    if (this.wanted?.from === '--app-port') return
    this.#timers.push(this.#clock.after(this.#waitOf(candidate), () => this.#waitEnded(candidate)))
  }

  #waitOf({ kind, server }: CandidateServer): number {
    if (this.wanted || kind === 'http') return SUBSTITUTE_WAIT
    // A server without 'request' listeners belongs to gRPC (streams only), which is rarely the only server of an
    // application.
    return kind === 'http2' && server?.listenerCount('request') === 0 ? SUBSTITUTE_WAIT : REFUSE_WAIT
  }

  #waitEnded(candidate: CandidateServer): void {
    if (this.#served) return
    if (!this.substitute()) this.#refuse(candidate)
  }

  #refuse({ kind, requested }: CandidateServer): void {
    if (kind === 'http') return
    const text = `the application listens on ${describe(requested)} with ${ADVICE[kind]}`
    this.#reject(new LoadError('UNSERVABLE', text))
  }
}

/** Whether `candidate` is the server of an exported listener. */
function isServerOf({ server }: CandidateServer, exported: unknown): boolean {
  return server === exported || server?.listeners('request').includes(exported as () => void) === true
}

/**
 * Whether an export is a server or a `(req, res)` listener such as an Express application, and not a class or a start
 * function.
 */
function isListener(exported: unknown): boolean {
  if (exported instanceof Server) return true
  return typeof exported === 'function' && exported.length >= 2 && !/^class\b/.test(String(exported))
}
