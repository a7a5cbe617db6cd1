/**
 * Lets an application close its server and listen again, as on plain Node: the container drains, and a new container
 * opens the same addresses when the application listens again. Otherwise the process ends when the event loop is empty.
 */

import type { DrainOptions } from '../../process/drain.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import type { Address } from '../../protocol/net/address.ts'
import type { ContainerLifetime, LoadedApplication } from './loaded-application.ts'

/** One container, from its start to its drain. */
export interface OpenContainer {
  readonly addresses: readonly Address[]
  start(): Promise<void>
  /** Accepts no new requests and finishes the running ones. The application continues. */
  pause(): Promise<void>
  /** Like `pause`, and then waits for the end of the application. */
  drain(options?: DrainOptions): Promise<void>
  inspect(): string
}

/** The application, and how to open a container for it. */
interface ReopeningOptions {
  readonly loaded: LoadedApplication
  readonly log: Logger
  readonly lifetime: ContainerLifetime | undefined
  /** @param addresses of the previous container; undefined: those of the options */
  readonly open: (addresses?: readonly Address[]) => OpenContainer
}

const CLOSED = 'the application closed its server'

/** The current container of an application that may close and reopen its server. */
export class ReopenableContainer {
  readonly #options: ReopeningOptions
  #now: OpenContainer
  #opening: Promise<void> | undefined
  #draining: Promise<void> | undefined
  #isPaused = false

  constructor(options: ReopeningOptions) {
    this.#options = options
    this.#now = options.open()
    options.loaded.onClosed = () => {
      if (!this.#isPaused) void this.#pause()
    }
  }

  get addresses(): readonly Address[] {
    return this.#now.addresses
  }

  start(): Promise<void> {
    return this.#now.start()
  }

  drain(options?: DrainOptions): Promise<void> {
    const drain = (): Promise<void> => this.#now.drain(options)
    this.#draining ??= this.#opening ? this.#opening.then(drain) : drain()
    return this.#draining
  }

  inspect(): string {
    return this.#now.inspect()
  }

  async #pause(): Promise<void> {
    const { loaded, lifetime, log } = this.#options
    this.#isPaused = true
    loaded.isPausing = true
    await new Promise<void>((resolve) => setImmediate(resolve))
    // After `close()` and `listen()` in the same tick the container continues: no request is affected.
    const isReopened = loaded.isListening
    if (!isReopened) {
      log.info({}, `${CLOSED}: nothing is served until it listens again; the process ends when nothing else is left`)
      await this.#now.pause()
    }
    loaded.isPausing = false
    if (lifetime?.stopping) return
    const outcome = await loaded.paused()
    if (lifetime?.stopping) return
    if (outcome === 'ends') {
      lifetime?.stop(CLOSED)
      return
    }
    if (isReopened) loaded.listening(this.#now.addresses)
    else await (this.#opening = this.#reopen())
    this.#isPaused = false
    if (!loaded.isListening && !lifetime?.stopping) await this.#pause()
  }

  async #reopen(): Promise<void> {
    const { lifetime, log, open } = this.#options
    const next = open(this.#now.addresses)
    try {
      await next.start()
      this.#now = next
      log.info({}, 'the application listens again: the container serves it')
    } catch (err) {
      log.error({ err }, 'the application listens again, but the container cannot: stopping')
      process.exitCode = 1
      lifetime?.stop('the container cannot listen again')
    }
  }
}
