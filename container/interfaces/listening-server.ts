/**
 * Takes over the `http.Server` on which an application calls `listen()` by itself: the container listens in its place, so that nothing
 * changes but the command that starts it. `http.Server.prototype.listen` is replaced for that, in this process alone, from before the
 * module is loaded.
 *
 * The first server is taken. One that asks for the same port later is taken too and gets no requests: Fastify makes one for ::1 when it is
 * to listen on localhost. Every other one, and any that is no `http.Server` (https, http2), binds as it always did.
 */

import { Server } from 'node:http'
import type { Address } from '../../protocol/address.ts'
import type { Logger } from '../../protocol/log.ts'
import { AdoptedServer, type AskedAddress } from './adopted-server.ts'

type Listen = (this: Server, ...given: unknown[]) => Server

/** `http.Server.prototype` as its types leave it out: writable. */
const prototype = Server.prototype as unknown as { listen: Listen }

export class ListenTakeover {
  /** The first server, once its `listen()` was called. */
  readonly taken: Promise<AdoptedServer>
  readonly #resolve: (server: AdoptedServer) => void
  readonly #log: Logger
  #first: AdoptedServer | undefined
  #port: number | undefined
  readonly #all: Map<Server, AdoptedServer> = new Map()
  #addresses: readonly Address[] | undefined
  #drained = false
  /** Called when the first is closed though nothing drains. */
  #closed: (() => void) | undefined

  constructor(log: Logger) {
    this.#log = log
    const { promise, resolve } = Promise.withResolvers<AdoptedServer>()
    this.taken = promise
    this.#resolve = resolve
  }

  get first(): AdoptedServer | undefined {
    return this.#first
  }

  set closed(callback: () => void) {
    this.#closed = callback
  }

  /** Whether its `close()` was given a callback. */
  get isAwaited(): boolean {
    return this.#first?.isAwaited === true
  }

  /** Replaces `listen` until `restore`. */
  install(): this {
    const takeover = this
    Object.defineProperty(prototype, 'listen', {
      configurable: true,
      writable: true,
      value: function listen(this: Server, ...given: unknown[]): Server {
        return takeover.#listen(this, given)
      },
    })
    return this
  }

  restore(): void {
    // It is inherited, from net.Server.
    Reflect.deleteProperty(prototype, 'listen')
  }

  /** The container is reachable at `addresses`. */
  listening(addresses: readonly Address[]): void {
    this.#addresses = addresses
    for (const server of this.#all.values()) server.listening(addresses)
  }

  /** The drain is over. */
  drained(): void {
    this.#drained = true
    for (const server of this.#all.values()) server.drained()
  }

  #listen(server: Server, given: unknown[]): Server {
    const asked = askedOf(given)
    const known = this.#all.get(server)
    if (!known && (server.listening || (this.#first && !this.#isSame(asked)))) {
      return (Object.getPrototypeOf(prototype) as { listen: Listen }).listen.apply(server, given)
    }
    if (known?.isAsked) {
      throw Object.assign(new Error('Listen method has been called more than once without closing.'), {
        code: 'ERR_SERVER_ALREADY_LISTEN',
      })
    }
    const callback = given.findLast((one) => typeof one === 'function') as (() => void) | undefined
    if (callback) server.once('listening', callback)
    const adopted = known ?? new AdoptedServer(server)
    adopted.asked(asked)
    this.#all.set(server, adopted)
    const { signal } = (given[0] ?? {}) as { signal?: AbortSignal }
    signal?.addEventListener('abort', () => server.close(), { once: true })
    if (!this.#first) {
      this.#first = adopted
      this.#port = asked.path === undefined ? asked.port : undefined
      adopted.closed = () => this.#closed?.()
      this.#log.info(
        { asked: asked.path ?? asked.port },
        'the application listens: its server is served by the container',
      )
      this.#resolve(adopted)
    }
    const addresses = this.#addresses
    if (addresses) process.nextTick(() => adopted.listening(addresses))
    if (this.#drained) adopted.drained()
    return server
  }

  /** Whether it is the first one's port, as it was asked for or as `address()` says it. */
  #isSame({ port, path }: AskedAddress): boolean {
    if (path !== undefined) return false
    const shown = this.#first?.server.address()
    const now = typeof shown === 'object' && shown !== null ? shown.port : undefined
    return port !== 0 && (port === this.#port || port === now)
  }
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
