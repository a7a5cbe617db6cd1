/** A gateway on a loopback or Unix socket for tests, and a record of what it did. */

import { once } from 'node:events'
import { type AddressInfo, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net'
import type { Application, Environ } from '../../../protocol/contract/application.ts'
import type { ConnectionFacts } from '../../../protocol/contract/environ.ts'
import type { ExchangeHost } from '../../../protocol/contract/exchange.ts'
import { serveHttp1 } from '../../../protocol/http1/gateway.ts'
import type { Http1Connection, Http1Options } from '../../../protocol/http1/options.ts'
import { type Clock, Deadlines, systemClock } from '../../../protocol/net/clock.ts'
import { HttpClient } from '../../support/http-client.ts'
import { RecordingLog } from '../../support/log.ts'

export { until } from '../../support/until.ts'

export interface ServingOptions extends Partial<Omit<Http1Options, 'host' | 'onClose'>> {
  clock?: Clock
  /** The path of a Unix socket. Default: a loopback port. */
  path?: string
  first?: Uint8Array
  peer?: Partial<ConnectionFacts>
}

export class Serving {
  readonly log: RecordingLog = new RecordingLog()
  readonly connections: Http1Connection[] = []
  readonly sockets: Socket[] = []
  /** Environs of the requests that reached the application. */
  readonly environs: Environ[] = []
  settled = 0
  closed = 0
  draining = false
  readonly #server: Server
  readonly #clients: HttpClient[] = []
  readonly #path: string | undefined

  private constructor(application: Application, { clock = systemClock, path, first, peer, ...rest }: ServingOptions) {
    const serving = this
    const host: ExchangeHost = {
      clock,
      deadlines: new Deadlines(clock),
      log: this.log,
      get draining() {
        return serving.draining
      },
      settled: () => void this.settled++,
    }
    const options: Http1Options = {
      facts: { multithread: true, multiprocess: false, runOnce: false },
      ...rest,
      host,
      onClose: () => void this.closed++,
    }
    const recorded: Application = (environ, startResponse) => {
      this.environs.push(environ)
      return application(environ, startResponse)
    }
    this.#path = path
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      this.sockets.push(socket)
      this.connections.push(serveHttp1(socket, recorded, options, first, peer))
    })
  }

  static async start(application: Application, options: ServingOptions = {}): Promise<Serving> {
    const serving = new Serving(application, options)
    if (options.path) serving.#server.listen(options.path)
    else serving.#server.listen(0, '127.0.0.1')
    await once(serving.#server, 'listening')
    return serving
  }

  get address(): NetConnectOpts {
    if (this.#path) return { path: this.#path }
    return { host: '127.0.0.1', port: (this.#server.address() as AddressInfo).port }
  }

  async client(): Promise<HttpClient> {
    const client = await HttpClient.connect(this.address)
    this.#clients.push(client)
    return client
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.socket.destroy()
    for (const socket of this.sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** Resolves with `value` when it has not changed for several event-loop iterations. */
export async function still(value: () => number): Promise<number> {
  let last = value()
  for (let turns = 0; turns < 200; turns++) {
    await new Promise((resolve) => setTimeout(resolve, 1))
    const now = value()
    if (now !== last) turns = 0
    last = now
  }
  return last
}
