/** The uwsgi gateway on a socket for tests, a record of what it did, and a client that sends raw bytes. */

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net'
import type { Application, Environ } from '../../../protocol/contract/application.ts'
import type { ExchangeHost } from '../../../protocol/contract/exchange.ts'
import { type Clock, Deadlines, systemClock } from '../../../protocol/net/clock.ts'
import { serveUwsgi } from '../../../protocol/uwsgi/gateway.ts'
import type { UwsgiConnection, UwsgiOptions } from '../../../protocol/uwsgi/options.ts'
import { RecordingLog } from '../../support/log.ts'
import { until } from '../../support/until.ts'

export { until }

export interface ServingOptions extends Partial<Omit<UwsgiOptions, 'host' | 'onClose'>> {
  clock?: Clock
  /** The path of a Unix socket. Default: a loopback port. */
  path?: string
}

export class Serving {
  readonly log: RecordingLog = new RecordingLog()
  readonly connections: UwsgiConnection[] = []
  readonly sockets: Socket[] = []
  /** Environs of the requests that reached the application. */
  readonly environs: Environ[] = []
  settled = 0
  closed = 0
  readonly #server: Server
  readonly #clients: Client[] = []
  readonly #path: string | undefined

  private constructor(application: Application, { clock = systemClock, path, ...rest }: ServingOptions) {
    const host: ExchangeHost = {
      clock,
      deadlines: new Deadlines(clock),
      log: this.log,
      draining: false,
      settled: () => void this.settled++,
    }
    const options: UwsgiOptions = {
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
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.sockets.push(socket)
      this.connections.push(serveUwsgi(socket, recorded, options))
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

  async client(): Promise<Client> {
    const client = new Client(connect({ ...this.address, allowHalfOpen: true }))
    this.#clients.push(client)
    await once(client.socket, 'connect')
    return client
  }

  /** Sends `bytes`, and resolves with everything received. */
  async exchange(bytes: Uint8Array): Promise<string> {
    const client = await this.client()
    client.socket.write(bytes)
    return await client.whole()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.#clients) socket.destroy()
    for (const socket of this.sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

export class Client {
  readonly socket: Socket
  readonly chunks: Buffer[] = []
  /** How the connection ended: `end` for a FIN, `ECONNRESET` for a reset; undefined while it is open. */
  ended: string | undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => this.chunks.push(chunk))
    socket.on('end', () => {
      this.ended ??= 'end'
      socket.end()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.ended ??= error.code ?? error.message
    })
    socket.on('close', () => {
      this.ended ??= 'close'
    })
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString('latin1')
  }

  /** Everything received, when the connection has ended. */
  async whole(): Promise<string> {
    await until(() => this.ended !== undefined, 'the connection to end')
    return this.text
  }

  async says(text: string): Promise<void> {
    await until(() => this.text.includes(text), `${JSON.stringify(text)} in ${JSON.stringify(this.text)}`)
  }
}

/** Resolves with `value` when it has not changed for several event-loop iterations. */
export async function still(value: () => number): Promise<number> {
  let last = value()
  for (let turns = 0; turns < 100; turns++) {
    await new Promise((resolve) => setTimeout(resolve, 1))
    const now = value()
    if (now !== last) turns = 0
    last = now
  }
  return last
}
