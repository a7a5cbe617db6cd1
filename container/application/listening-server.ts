/**
 * Takes over the `http.Server` on which an application calls `listen()` itself: the container listens in its place. It
 * replaces `net.Server.prototype.listen` in this process before the module is loaded. `fateOf` decides which of several
 * servers is served.
 */

import { AsyncResource } from 'node:async_hooks'
import cluster, { type Address as ClusterAddress, type Worker } from 'node:cluster'
import { Server } from 'node:http'
import { Server as HttpsServer } from 'node:https'
import { Server as NetServer } from 'node:net'
import { LoadError } from '../../process/modules/load-module.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import type { Address } from '../../protocol/net/address.ts'
import { type Clock, systemClock, type Timer } from '../../protocol/net/clock.ts'
import { AdoptedServer, type AskedAddress } from './adopted-server.ts'

type Listen = (this: NetServer, ...given: unknown[]) => NetServer

/** What calls `listen()`. `cluster`: workers of a cluster primary, for which the primary listens. */
export type ServerKind = 'http' | 'https' | 'http2' | 'cluster' | 'net'

/** Where the server to serve is expected to listen. */
export interface WantedPort {
  /** A port, or the path of a Unix socket. */
  readonly value: number | string
  readonly from: '--app-port' | 'PORT'
}

/**
 * What happens to a server on which `listen()` is called.
 *
 * - `serve`: the container serves it
 * - `twin`: it has the port of the served server (Fastify listens on both addresses of localhost): it gets no requests
 * - `replace`: it listens on the wanted port after another server was served as a substitute: it is served from now on
 * - `wait`: it listens by itself; it is served as a substitute, or refused, if no better server listens in time
 * - `refuse`: the start fails, unless the module exports an application
 * - `independent`: it listens by itself
 */
export type Fate = 'serve' | 'twin' | 'replace' | 'wait' | 'refuse' | 'independent'

export interface Situation {
  readonly wanted: WantedPort | undefined
  /** The port or path of the server that is served. */
  readonly served: number | string | undefined
  /** The served server is a substitute: another port was wanted. */
  readonly isSubstitute: boolean
}

export function fateOf(kind: ServerKind, asked: AskedAddress, { wanted, served, isSubstitute }: Situation): Fate {
  // Applications probe for a free port with a net.Server, or serve other protocols with one.
  if (kind === 'net') return 'independent'
  const place = asked.path ?? asked.port
  const isWanted = wanted !== undefined && wanted.value === place
  if (served === undefined) {
    if (kind === 'http') return wanted === undefined || isWanted ? 'serve' : 'wait'
    return isWanted ? 'refuse' : 'wait'
  }
  if (kind !== 'http') return 'independent'
  if (place === served && place !== 0) return 'twin'
  return isWanted && isSubstitute ? 'replace' : 'independent'
}

/** The wanted port: `--app-port`, else PORT as the platform or the user set it. */
export function wantedPort(
  appPort: number | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): WantedPort | undefined {
  if (appPort !== undefined) return { value: appPort, from: '--app-port' }
  const text = environment['PORT']?.trim() ?? ''
  if (text === '') return undefined
  return { value: /^\d+$/.test(text) ? Number(text) : text, from: 'PORT' }
}

/** A server that listens by itself, and that is served or refused if no better one listens. */
interface Candidate {
  readonly kind: Exclude<ServerKind, 'net'>
  readonly server: NetServer | undefined
  readonly asked: AskedAddress
  readonly given: readonly unknown[]
  readonly fate: Fate
  /** The async context of its `listen()`; of a cluster's workers there is none. */
  readonly scope?: AsyncResource
}

/** How long a server on another port waits for one on PORT, ms: the application may connect to its database first. */
const SUBSTITUTE_WAIT = 5_000
/** How long servers that cannot be served wait, after loading, for one that can, ms: it starts at about that time. */
const REFUSE_WAIT = 1_000

const INSTEAD: Readonly<Record<'https' | 'http2' | 'cluster', string>> = {
  https:
    'an https server: TLS ends in front of Gantry (nginx, Caddy, a load balancer). Start an http.createServer() in its place',
  http2:
    'an HTTP/2 server: clients and the proxy speak HTTP/1.1 to it. Start an http.createServer() in its place; a gRPC server may run beside it',
  cluster:
    'workers of node:cluster: containers are the workers here. Start the server without cluster, and scale the containers (docker compose up --scale container=4)',
}

/** `net.Server.prototype` with writable methods; its types have none. */
const prototype = NetServer.prototype as unknown as { listen: Listen }
const listenNative: Listen = prototype.listen

export class ListenTakeover {
  /** The server to serve, once `listen()` was called on it. Rejects with a LoadError when it cannot be served. */
  readonly taken: Promise<AdoptedServer>
  readonly wanted: WantedPort | undefined
  readonly #resolve: (server: AdoptedServer) => void
  readonly #reject: (error: LoadError) => void
  readonly #log: Logger
  #first: AdoptedServer | undefined
  #firstAsked: Candidate | undefined
  #isSubstitute = false
  readonly #all: Map<NetServer, { readonly adopted: AdoptedServer; asked: AskedAddress }> = new Map()
  readonly #candidates: Candidate[] = []
  /** Servers that asked to listen by themselves before one was served. */
  readonly #independent: Set<NetServer> = new Set()
  #clock: Clock | undefined
  readonly #timers: Timer[] = []
  #addresses: readonly Address[] | undefined
  #drained = false
  /** Called when the first is closed though nothing drains. */
  #closed: (() => void) | undefined

  constructor(log: Logger, wanted?: WantedPort) {
    this.#log = log
    this.wanted = wanted
    const { promise, resolve, reject } = Promise.withResolvers<AdoptedServer>()
    this.taken = promise
    // An export that was named on the command line is served, whatever server listens.
    promise.catch(() => {})
    this.#resolve = resolve
    this.#reject = reject
  }

  get first(): AdoptedServer | undefined {
    return this.#first
  }

  /** The addresses that the served server and its twins asked for. */
  get ownAddresses(): AskedAddress[] {
    return [...this.#all.values()].map(({ asked }) => asked)
  }

  /** Ports and paths of servers that listen by themselves and might have been the intended ones. */
  get others(): (number | string)[] {
    return this.#candidates.map(({ asked }) => asked.path ?? asked.port)
  }

  /** Whether a server of this process listens on `port` by itself, before one is served. */
  binds(port: number): boolean {
    return [...this.#independent].some((server) => {
      const address = server.address()
      return typeof address === 'object' && address?.port === port
    })
  }

  /** Called when the served server, or a replacement of it, listens again after its `close()`. */
  listensAgain: (() => void) | undefined

  get isListening(): boolean {
    return this.#first?.isAsked === true
  }

  /** All requests have ended and the process goes on: closed servers may listen again. */
  paused(): void {
    // Until the container listens again, no server emits 'listening'.
    if (!this.isListening) this.#addresses = undefined
    for (const { adopted } of this.#all.values()) adopted.paused()
  }

  set closed(callback: () => void) {
    this.#closed = callback
  }

  /** Whether its `close()` was given a callback. */
  get isAwaited(): boolean {
    return this.#first?.isAwaited === true
  }

  /**
   * Warns if the module also exports something that could be served: its server may be meant for metrics only. Silent
   * if PORT or --app-port decides, and about exports whose server cannot be recognised (Koa).
   *
   * @param as the export as the command line names it: `app.js:default`
   */
  mentionExport(exported: unknown, as: string): void {
    if (!this.#firstAsked || this.wanted || !isListener(exported) || isServerOf(this.#firstAsked, exported)) return
    this.#log.warn(
      { served: placeOf(this.#firstAsked.asked), exported: as },
      `the application exports a listener and has a server of its own: the container serves the server on ${describe(this.#firstAsked.asked)}; name the export (${as}) to serve that instead, or use --app-port ${placeOf(this.#firstAsked.asked)} to keep the server`,
    )
  }

  /** Replaces `listen` until `restore`. */
  install(): this {
    const takeover = this
    prototype.listen = function listen(this: NetServer, ...given: unknown[]): NetServer {
      return takeover.#listen(this, given)
    }
    cluster.on('listening', this.#workerListens)
    return this
  }

  restore(): void {
    prototype.listen = listenNative
    cluster.off('listening', this.#workerListens)
    for (const timer of this.#timers) timer.cancel()
  }

  /** The module is loaded: waiting servers are served or refused if no wanted server listens in time. */
  settle(clock: Clock = systemClock): void {
    this.#clock = clock
    for (const candidate of this.#candidates) this.#wait(candidate)
  }

  /** How long an exported application waits for its own server, ms; undefined: no other server listens by itself. */
  patienceOf(exported: unknown): number | undefined {
    if (this.#candidates.length === 0) return undefined
    const isForeign = this.#candidates.some((one) => one.kind === 'http' && !isServerOf(one, exported))
    return isForeign ? SUBSTITUTE_WAIT : REFUSE_WAIT
  }

  /**
   * Serves a server that listens by itself, if there is a suitable one.
   *
   * @param exported only a server of this listener
   */
  substitute(exported?: unknown): AdoptedServer | undefined {
    const candidate = this.#candidates.find((one) => one.kind === 'http' && (!exported || isServerOf(one, exported)))
    if (this.#first || !candidate || this.wanted?.from === '--app-port') return this.#first
    const server = candidate.server as Server & { _handle?: { close(): void } | null }
    // Frees its port: a proxy on this host may have to listen there. `close()` would emit 'close' to the application.
    server._handle?.close()
    server._handle = null
    this.#candidates.splice(this.#candidates.indexOf(candidate), 1)
    this.#isSubstitute = true
    this.#log.warn(
      { served: placeOf(candidate.asked), wanted: this.wanted?.value },
      `the application listens on ${describe(candidate.asked)} and not on ${this.wanted?.from} (${this.wanted?.value}): the container serves this server; use --app-port to choose it without waiting`,
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

  #listen(server: NetServer, given: unknown[]): NetServer {
    const asked = askedOf(given)
    const known = this.#all.get(server)
    if (known?.adopted.isAsked) {
      throw Object.assign(new Error('Listen method has been called more than once without closing.'), {
        code: 'ERR_SERVER_ALREADY_LISTEN',
      })
    }
    const kind = kindOf(server)
    const fate = known ? 'twin' : server.listening ? 'independent' : fateOf(kind, asked, this.#situation)
    const scope = new AsyncResource('HTTPSERVER')
    const candidate: Candidate = { kind: kind as Candidate['kind'], server, asked, given, fate, scope }
    switch (fate) {
      case 'serve':
      case 'twin':
        this.#adopt(candidate)
        return server
      case 'replace':
        this.#giveBack()
        this.#adopt(candidate)
        return server
      case 'refuse':
      case 'wait':
        this.#candidates.push(candidate)
        this.#wait(candidate)
        break
      case 'independent':
        if (kind === 'http') this.#mentionOnceBound(candidate)
    }
    if (!this.#first) this.#independent.add(server)
    return listenNative.apply(server, given)
  }

  /** A worker of a cluster primary listens: the primary has bound the port by now. */
  readonly #workerListens = (_worker: Worker, { port, address, addressType }: ClusterAddress): void => {
    if (String(addressType).startsWith('udp')) return
    const asked: AskedAddress =
      addressType === -1
        ? { port: 0, host: undefined, path: String(address) }
        : { port, host: address, path: undefined }
    const isKnown = this.#candidates.some(
      ({ kind, asked: one }) => kind === 'cluster' && placeOf(one) === placeOf(asked),
    )
    if (isKnown) return
    const fate = fateOf('cluster', asked, this.#situation)
    const candidate: Candidate = { kind: 'cluster', server: undefined, asked, given: [], fate }
    this.#candidates.push(candidate)
    if (fate === 'independent') this.#mention(candidate.asked)
    else this.#wait(candidate)
  }

  get #situation(): Situation {
    const shown = this.#first?.server.address()
    // The port as asked for, or as `address()` reports it if any free port was asked for.
    const port = typeof shown === 'object' && shown !== null ? shown.port : undefined
    const asked = this.#firstAsked?.asked
    return {
      wanted: this.wanted,
      served: asked && (asked.path ?? (asked.port === 0 ? (port ?? 0) : asked.port)),
      isSubstitute: this.#isSubstitute,
    }
  }

  #adopt(candidate: Candidate, isAnnounced: boolean = false): AdoptedServer {
    const { asked, given } = candidate
    const server = candidate.server as Server
    const callback = given.findLast((one) => typeof one === 'function') as (() => void) | undefined
    if (callback && !isAnnounced) server.once('listening', callback)
    const adopted = this.#all.get(server)?.adopted ?? new AdoptedServer(server)
    adopted.asked(asked, candidate.scope, isAnnounced)
    this.#all.set(server, { adopted, asked })
    const { signal } = (given[0] ?? {}) as { signal?: AbortSignal }
    if (!isAnnounced) signal?.addEventListener('abort', () => server.close(), { once: true })
    // Another server may replace a closed one on its port: the application restarts itself.
    if (!this.#first?.isAsked) this.#serve(candidate, adopted)
    this.listensAgain?.()
    const addresses = this.#addresses
    if (addresses) process.nextTick(() => adopted.listening(addresses))
    if (this.#drained) adopted.drained()
    return adopted
  }

  #serve(candidate: Candidate, adopted: AdoptedServer): void {
    this.#first = adopted
    this.#firstAsked = candidate
    adopted.closed = () => this.#closed?.()
    for (const timer of this.#timers.splice(0)) timer.cancel()
    this.#log.info({ asked: placeOf(candidate.asked) }, 'the application listens: the container serves its server')
    for (const { kind, asked } of this.#candidates) if (kind === 'http' || kind === 'cluster') this.#mention(asked)
    this.#resolve(adopted)
  }

  /** Lets the substitute that was served listen by itself again. */
  #giveBack(): void {
    const { server, asked, given } = this.#firstAsked!
    this.#all.get(server!)?.adopted.release()
    this.#all.delete(server!)
    this.#first = undefined
    this.#isSubstitute = false
    const failed = (err: Error): void => {
      this.#log.error({ err }, `the server on ${describe(asked)} cannot listen there again`)
    }
    server!.once('error', failed).once('listening', () => server!.off('error', failed))
    this.#candidates.push(this.#firstAsked!)
    listenNative.apply(
      server!,
      given.filter((one) => typeof one !== 'function'),
    )
  }

  /** Warns about a server that is not served: the user may have meant it. */
  #mention(asked: AskedAddress): void {
    const option = asked.path === undefined ? `--app-port ${asked.port}` : `PORT=${asked.path}`
    this.#log.warn(
      { served: placeOf(this.#firstAsked!.asked), other: placeOf(asked) },
      `the application has several servers: the container serves the one on ${describe(this.#firstAsked!.asked)}; the one on ${describe(asked)} listens there by itself; use ${option} to serve that one instead`,
    )
  }

  #mentionOnceBound({ server, asked }: Candidate): void {
    server!.once('listening', () => {
      const bound = server!.address()
      this.#mention(typeof bound === 'object' && bound !== null ? { ...asked, port: bound.port } : asked)
    })
  }

  #wait(candidate: Candidate): void {
    // What the module exports is known only after loading.
    if (!this.#clock || this.#first) return
    if (candidate.fate === 'refuse') {
      this.#refuse(candidate)
      return
    }
    // With --app-port the container waits for that port.
    if (this.wanted?.from === '--app-port') return
    this.#timers.push(this.#clock.after(this.#patienceFor(candidate), () => this.#giveUpWaiting(candidate)))
  }

  #patienceFor({ kind, server }: Candidate): number {
    if (this.wanted || kind === 'http') return SUBSTITUTE_WAIT
    // A server without 'request' listeners is gRPC's (streams only), which rarely is the only server of an application.
    return kind === 'http2' && server?.listenerCount('request') === 0 ? SUBSTITUTE_WAIT : REFUSE_WAIT
  }

  #giveUpWaiting(candidate: Candidate): void {
    if (this.#first) return
    if (!this.substitute()) this.#refuse(candidate)
  }

  #refuse({ kind, asked }: Candidate): void {
    if (kind === 'http') return
    const text = `the application listens on ${describe(asked)} with ${INSTEAD[kind]}`
    this.#reject(new LoadError('UNSERVABLE', text))
  }
}

/** Whether `candidate` is the server of an exported listener. */
function isServerOf({ server }: Candidate, exported: unknown): boolean {
  return server === exported || server?.listeners('request').includes(exported as () => void) === true
}

/**
 * Whether an export is a server or a `(req, res)` listener, as Express applications are; not a class or a start
 * function.
 */
function isListener(exported: unknown): boolean {
  if (exported instanceof Server) return true
  return typeof exported === 'function' && exported.length >= 2 && !/^class\b/.test(String(exported))
}

function kindOf(server: NetServer): ServerKind {
  if (server instanceof Server) return 'http'
  if (server instanceof HttpsServer) return 'https'
  // Node does not export the classes of http2, and loading http2 takes time. Only its servers have this method.
  return typeof (server as { updateSettings?: unknown }).updateSettings === 'function' ? 'http2' : 'net'
}

function placeOf(asked: AskedAddress): number | string {
  return asked.path ?? asked.port
}

function describe(asked: AskedAddress): string {
  return asked.path === undefined ? `port ${asked.port}` : `the socket ${asked.path}`
}

/** `listen(port, host)`, `listen({ port, host, path })`, `listen(path)` (node's normalizeArgs). */
function askedOf([first, second]: readonly unknown[]): AskedAddress {
  if (typeof first === 'object' && first !== null) {
    const { port, host, path } = first as { port?: unknown; host?: string; path?: string }
    return { port: Number(port ?? 0), host, path: port === undefined || port === null ? path : undefined }
  }
  if (typeof first === 'string' && !/^\s*\d+\s*$/.test(first)) return { port: 0, host: undefined, path: first }
  const port = typeof first === 'function' ? 0 : Number(first ?? 0)
  return { port, host: typeof second === 'string' ? second : undefined, path: undefined }
}
