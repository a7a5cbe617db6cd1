/**
 * Preloaded into a process that runs a package's tests. A container serves each `http.Server` that calls `listen()`
 * over frames, and a proxy listens at its address. Both run in the test's process, because they need its application.
 */

import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { Server } from 'node:http'
import {
  type AddressInfo,
  createServer as createNetServer,
  type ListenOptions,
  type Server as NetServer,
  type Socket,
} from 'node:net'
import type { Hop } from './hop.ts'

type Callback = (error?: Error) => void

interface Asked {
  readonly port?: number | string
  readonly host?: string | undefined
  readonly path?: string
  readonly signal?: AbortSignal
}

function askedOf(given: unknown[]): Asked {
  const [one, two] = given
  if (typeof one === 'object' && one !== null) return one as Asked
  if (typeof one === 'string' && Number.isNaN(Number(one))) return { path: one }
  if (typeof one === 'function') return {}
  return { port: Number(one ?? 0), host: typeof two === 'string' ? two : undefined }
}

/** The address for the original `net.Server.listen`, which is not replaced. */
function boundTo({ port, host, path }: Asked): ListenOptions {
  return path === undefined ? { port: Number(port ?? 0), ...(host === undefined ? {} : { host }) } : { path }
}

/** An `http.Server`, and the hop that listens in its place. */
class Replaced {
  readonly #server: Server
  /** Bound immediately: some callers read the address first. Clients wait until the hop is ready. */
  readonly #door: NetServer = createNetServer({ allowHalfOpen: true, noDelay: true })
  readonly #starting: Promise<Hop | undefined>
  #hop: Hop | undefined
  #closing: Promise<void> | undefined

  constructor(server: Server, asked: Asked) {
    this.#server = server
    this.#door.on('connection', (socket: Socket) => void this.#accept(socket))
    // A server that is closed immediately never emits 'listening'.
    const bound = Promise.race([once(this.#door, 'listening'), once(this.#door, 'close')])
    this.#door.listen(boundTo(asked))
    this.#starting = this.#start(bound)
    asked.signal?.addEventListener('abort', () => server.close())
  }

  get listening(): boolean {
    return this.#door.listening
  }

  cut(): void {
    this.#hop?.cut()
  }

  async #accept(socket: Socket): Promise<void> {
    socket.on('error', () => {})
    const hop = await this.#starting
    if (hop) hop.accept(socket)
    else socket.destroy()
  }

  async #start(bound: Promise<unknown>): Promise<Hop | undefined> {
    try {
      await bound
      // Imported late: most test files never listen.
      const { startHop } = await import('./hop.ts')
      this.#hop = await startHop(this.#server)
      if (!this.#closing) this.#server.emit('listening')
      return this.#hop
    } catch (error) {
      this.#server.emit('error', error)
      return undefined
    }
  }

  address(): AddressInfo | string | null {
    return this.#door.address()
  }

  close(callback?: Callback): Server {
    const again = this.#closing !== undefined
    if (this.#door.listening) this.#door.close()
    this.#closing ??= this.#starting.then(async (hop) => {
      await hop?.stop()
      replaced.delete(this.#server)
      this.#server.emit('close')
    })
    void this.#closing.then(() => {
      callback?.(
        again ? Object.assign(new Error('Server is not running.'), { code: 'ERR_SERVER_NOT_RUNNING' }) : undefined,
      )
    })
    return this.#server
  }
}

/** The servers whose `listen()` was called. */
const replaced: WeakMap<Server, Replaced> = new WeakMap()

type Method = (this: Server, ...given: unknown[]) => unknown

/** Replaced on the prototype, because some tests replace the method of a server. */
const prototype = Server.prototype as unknown as Record<string, Method>

function replace(name: string, method: (server: Replaced, ...given: unknown[]) => unknown): void {
  const original = prototype[name]!
  prototype[name] = function (this: Server, ...given: unknown[]) {
    const server = replaced.get(this)
    return server ? method(server, ...given) : original.apply(this, given)
  }
}

replace('address', (server) => server.address())
replace('close', (server, callback) => server.close(callback as Callback | undefined))
replace('closeAllConnections', (server) => server.cut())
replace('closeIdleConnections', () => {})
Object.defineProperty(prototype, 'listening', {
  configurable: true,
  get(this: Server) {
    return replaced.get(this)?.listening ?? false
  },
})
prototype['listen'] = function (this: Server, ...given: unknown[]): Server {
  const callback = given.findLast((one) => typeof one === 'function') as (() => void) | undefined
  if (callback) this.once('listening', callback)
  const asked = askedOf(given)
  if (asked.path !== undefined) rmSync(asked.path, { force: true })
  replaced.set(this, new Replaced(this, asked))
  return this
}
