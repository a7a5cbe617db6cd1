/** A container in this process, and clients for each of its wires. */

import { once } from 'node:events'
import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { containerOptions } from '../../container/options.ts'
import { type ContainerEnvironment, type RunningContainer, serveContainer } from '../../container/serve.ts'
import type { Application, Headers } from '../../protocol/contract/application.ts'
import { CallError, Caller, ReplayableBody } from '../../protocol/frames/caller.ts'
import { silent } from '../../protocol/log/logger.ts'
import { dialTarget } from '../../protocol/net/address.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { makeEnviron } from '../support/call.ts'
import { HttpClient } from '../support/http-client.ts'
import { RecordingLog } from '../support/log.ts'

export interface ServingOptions extends Partial<Omit<ContainerEnvironment, 'log' | 'accessLog' | 'application'>> {
  environment?: Record<string, string>
}

export class Serving {
  readonly container: RunningContainer
  readonly log: RecordingLog
  readonly accessLog: RecordingLog
  readonly #clients: { destroy(): void }[] = []

  private constructor(container: RunningContainer, log: RecordingLog, accessLog: RecordingLog) {
    this.container = container
    this.log = log
    this.accessLog = accessLog
  }

  /** Serves `application` with the options of a command line. By default it listens on a loopback port. */
  static async start(application: Application, argv: string[] = [], options: ServingOptions = {}): Promise<Serving> {
    const { environment = {}, ...rest } = options
    const listens = argv.some((word) => word === '--listen' || word === '--join')
    const words = ['app.ts', ...argv, ...(listens ? [] : ['--listen', '127.0.0.1:0'])]
    const { values } = parseOptions(containerOptions, words, environment)
    const log = new RecordingLog()
    const accessLog = new RecordingLog()
    const container = await serveContainer(values, { ...rest, log, accessLog, application })
    return new Serving(container, log, accessLog)
  }

  target(index: number = 0): NetConnectOpts {
    const address = this.container.addresses[index]
    if (address?.kind !== 'tcp' && address?.kind !== 'unix') throw new Error('it does not listen')
    return dialTarget(address)
  }

  /** A connection on which nothing was sent. */
  async socket(index?: number): Promise<Socket> {
    const socket = connect({ ...this.target(index), noDelay: true })
    socket.on('error', () => {})
    this.#clients.push(socket)
    await once(socket, 'connect')
    return socket
  }

  async http(index?: number): Promise<HttpClient> {
    const client = await HttpClient.connect(this.target(index))
    this.#clients.push(client)
    return client
  }

  /** A ready link of a proxy. */
  async proxy(options: { token?: string; index?: number } = {}): Promise<TestProxy> {
    const proxy = new TestProxy(await this.socket(options.index), { token: options.token })
    this.#clients.push(proxy)
    await proxy.ready
    return proxy
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.destroy()
    await this.container.drain()
  }
}

/** The proxy's end of one link: calls while it has slots, and lets the other requests wait. */
export class TestProxy {
  readonly caller: Caller
  readonly ready: Promise<void>
  closed: Error | undefined | null = null
  readonly #waiting: (() => void)[] = []

  constructor(
    socket: Socket,
    { token, dialled = true, clock = systemClock }: { token?: string | undefined; dialled?: boolean; clock?: Clock },
  ) {
    const ready = Promise.withResolvers<void>()
    this.ready = ready.promise
    this.caller = new Caller(socket, {
      clock,
      log: silent,
      token,
      dialled,
      identity: { id: 'test-proxy', worker: 0, workers: 1, slots: 0, limits: {} },
      onChange: () => {
        if (this.caller.state === 'ready') ready.resolve()
        this.#pump()
      },
      onClosed: (error) => {
        this.closed = error
        ready.reject(error ?? new Error('the link was closed'))
      },
    })
    ready.promise.catch(() => {})
  }

  /** Calls without regard to the granted slots. Resolves with the body. */
  async call(target: string = '/'): Promise<string> {
    const environ = makeEnviron({ target })
    let headers: Headers = []
    const body = await this.caller.call(
      environ,
      (_, fields) => {
        headers = fields
        return async () => {}
      },
      new ReplayableBody(environ['wsgi.input']),
    )
    const chunks: Uint8Array[] = []
    for await (const chunk of body) chunks.push(chunk)
    return headers.length >= 0 ? Buffer.concat(chunks).toString('latin1') : ''
  }

  /** Calls when there is a slot; calls again if the slot was revoked meanwhile, as the pool does. */
  async queue(target: string = '/'): Promise<string> {
    for (;;) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
        this.#pump()
      })
      const answer = this.call(target)
      this.#promised--
      try {
        return await answer
      } catch (error) {
        if (!(error instanceof CallError) || error.code !== 'REFUSED') throw error
      } finally {
        this.#pump()
      }
    }
  }

  destroy(): void {
    this.caller.destroy()
  }

  /** Requests that no longer wait and are not in flight yet. */
  #promised = 0

  #pump(): void {
    while (this.#waiting.length > 0 && this.caller.inFlight + this.#promised < this.caller.grant) {
      this.#promised++
      this.#waiting.shift()!()
    }
    this.caller.demand(this.caller.inFlight + this.#promised + this.#waiting.length)
  }
}
