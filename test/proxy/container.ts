/**
 * The other end of a proxy's links: an application behind frames, in memory or at an address. It counts running
 * requests.
 */

import { connect, createServer, type Server, type Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { FramesUpstream, type LinkEnds } from '../../pool/frames-upstream.ts'
import type { Pool } from '../../pool/pool.ts'
import type { Application } from '../../protocol/contract/application.ts'
import { fixedSlots, type ServerLink, serveFrames } from '../../protocol/frames/server.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import { RecordingLog } from '../support/log.ts'
import { facts, MemoryHost } from '../support/memory-client.ts'

export interface ContainerOptions {
  id?: string
  slots?: number
  token?: string | undefined
}

/** The number of runs of each target. */
export type Runs = Map<string, number>

export class Container {
  readonly id: string
  readonly runs: Runs = new Map()
  readonly links: ServerLink[] = []
  /** The streams under the links. */
  readonly streams: Duplex[] = []
  readonly #application: Application
  readonly #slots: number
  readonly #token: string | undefined
  #server: Server | undefined

  constructor(application: Application, { id = 'c', slots = 100, token }: ContainerOptions = {}) {
    this.id = id
    this.#slots = slots
    this.#token = token
    this.#application = (environ, startResponse) => {
      const key = `${environ.REQUEST_METHOD} ${environ.REQUEST_URI}`
      this.runs.set(key, (this.runs.get(key) ?? 0) + 1)
      return application(environ, startResponse)
    }
  }

  get link(): ServerLink {
    return this.links.at(-1)!
  }

  serve(stream: Duplex, dialled: boolean = false): ServerLink {
    const link = serveFrames(stream, this.#application, {
      clock: systemClock,
      log: new RecordingLog(),
      host: new MemoryHost(),
      process: facts,
      identity: { id: this.id, worker: 0, workers: 1, slots: this.#slots, limits: {} },
      slots: fixedSlots(this.#slots),
      token: this.#token,
      dialled,
    })
    this.links.push(link)
    this.streams.push(stream)
    stream.once('close', () => this.streams.splice(this.streams.indexOf(stream), 1))
    return link
  }

  /** Becomes a member of `pool` over two in-memory streams. */
  joinInMemory(
    pool: Pool,
    ends: Partial<LinkEnds> = {},
    clock: Clock = systemClock,
  ): { stream: Duplex; upstream: FramesUpstream } {
    const [here, there] = duplexPair()
    this.serve(there)
    const all: LinkEnds = { address: this.id, dialled: true, authenticated: false, onClosed: () => {}, ...ends }
    const upstream = new FramesUpstream(here, { clock, log: new RecordingLog() }, all)
    pool.add(upstream)
    return { stream: here, upstream }
  }

  /** Listens; returns the port of a TCP address. */
  listen(address: { path: string } | { port: number; host: string }): Promise<number> {
    const server = createServer({ noDelay: true }, (socket) => {
      socket.on('error', () => {})
      this.serve(socket)
    })
    this.#server = server
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(address, () => resolve((server.address() as { port?: number }).port ?? 0))
    })
  }

  /** Dials a proxy and serves on that connection. */
  join(address: { path: string } | { port: number; host: string }): Socket {
    const socket = connect(address)
    this.serve(socket, true)
    return socket
  }

  /** As SIGKILL: the listener and all links are closed. */
  async kill(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    for (const stream of [...this.streams]) stream.destroy()
    if (server) await new Promise<void>((resolve) => server.close(() => resolve()))
  }

  /** As SIGTERM: accepts nothing new, sends GOAWAY, and finishes running requests. */
  drain(): void {
    this.#server?.close()
    for (const link of this.links) link.drain('stopping')
  }
}

export { until } from '../support/until.ts'
