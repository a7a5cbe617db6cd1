/**
 * Preloaded into a process that runs somebody else's tests: what calls `listen()` on an `http.Server` there is served by a container's code
 * over frames, and at the address that it asked for listens a proxy's. Both live in the process of the test, whose application they
 * need; between them is a Unix socket.
 */

import { rmSync } from 'node:fs'
import { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Hop } from './hop.ts'

type Listen = (this: Server, ...given: unknown[]) => Server
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
  return { port: Number(one ?? 0), host: typeof two === 'string' ? two : undefined }
}

/** An `http.Server` in whose place a hop listens. */
class Replaced {
  readonly #server: Server
  readonly #starting: Promise<Hop | undefined>
  #hop: Hop | undefined
  #closing: Promise<void> | undefined

  constructor(server: Server, asked: Asked) {
    this.#server = server
    Object.defineProperties(server, {
      listening: { configurable: true, get: () => this.#hop !== undefined && this.#closing === undefined },
      address: { configurable: true, writable: true, value: () => this.#address() },
      close: { configurable: true, writable: true, value: (callback?: Callback) => this.#close(callback) },
      closeAllConnections: { configurable: true, writable: true, value: () => this.#hop?.cut() },
      closeIdleConnections: { configurable: true, writable: true, value: () => {} },
    })
    this.#starting = this.#start(asked)
    asked.signal?.addEventListener('abort', () => server.close())
  }

  async #start(asked: Asked): Promise<Hop | undefined> {
    try {
      // Late: most of the files that are run never listen.
      const { startHop } = await import('./hop.ts')
      this.#hop = await startHop(this.#server, asked)
      if (!this.#closing) this.#server.emit('listening')
      return this.#hop
    } catch (error) {
      this.#server.emit('error', error)
      return undefined
    }
  }

  #address(): AddressInfo | string | null {
    return this.#closing ? null : (this.#hop?.address ?? null)
  }

  #close(callback?: Callback): Server {
    const again = this.#closing !== undefined
    this.#closing ??= this.#starting.then(async (hop) => {
      await hop?.stop()
      restore(this.#server)
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

/** As it was: it may listen again. */
function restore(server: Server): void {
  for (const name of ['listening', 'address', 'close', 'closeAllConnections', 'closeIdleConnections']) {
    Reflect.deleteProperty(server, name)
  }
}

const prototype = Server.prototype as unknown as { listen: Listen }
Object.defineProperty(prototype, 'listen', {
  configurable: true,
  writable: true,
  value(this: Server, ...given: unknown[]): Server {
    const callback = given.findLast((one) => typeof one === 'function') as (() => void) | undefined
    if (callback) this.once('listening', callback)
    const asked = askedOf(given)
    if (asked.path !== undefined) rmSync(asked.path, { force: true })
    new Replaced(this, asked)
    return this
  },
})
