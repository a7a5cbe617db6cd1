/**
 * Finds out that a child process of the application listens in its place, as development servers (`next dev`, `nuxt dev`) and launchers do.
 * `portOwner` decides; `ChildServers` tries the port while child processes run (`child-processes.ts`).
 */

import type { ChildProcess } from 'node:child_process'
import cluster from 'node:cluster'
import { connect } from 'node:net'
import { LoadError } from '../../process/modules/load-module.ts'
import { brand } from '../../protocol/contract/brand.ts'
import type { Logger } from '../../protocol/log/logger.ts'
import { type Clock, systemClock, type Timer } from '../../protocol/net/clock.ts'
import { ChildProcesses, type ChildProcessesOptions } from './child-processes.ts'
import type { DeferredExit } from './deferred-exit.ts'
import { type ListeningPorts, listeningPorts } from './listening-ports.ts'

/** The application listens in a child process: a container of this process cannot serve it. */
export class ChildListensError extends LoadError {
  static {
    brand(ChildListensError, 'ChildListensError')
  }

  override readonly name: string = 'ChildListensError'
  /** Where requests reachableUrl it. */
  readonly url: string
  readonly servers: ChildServers
  /** The application's shutdown code, where its process goes on. */
  deferredExit: DeferredExit | undefined

  constructor(url: string, servers: ChildServers) {
    super(
      'CHILD_LISTENS',
      `the application listens at ${url} in a child process, and a container serves only servers of its own process: use gantry up without --dev, which passes requests on to it over HTTP, or start it with node and run gantry proxy --upstream ${url}`,
    )
    this.url = url
    this.servers = servers
  }
}

/**
 * Who listens on the port where the application is expected.
 *
 * - `nobody`: the application may still start
 * - `child`: a child process of the application
 * - `self`: this process; whether that server is served is decided elsewhere
 * - `stranger`: a process that the application did not start
 */
export type PortOwner = 'none' | 'child' | 'self' | 'other'

export interface PortFindings {
  readonly port: number
  /** It accepts connections. */
  readonly accepts: boolean
  /** It did so before the application was loaded, and ever since. */
  readonly wasOpenBefore: boolean
  /** A server of this process listens on it. */
  readonly isOwn: boolean
  /** What the system says; undefined: it does not. */
  readonly ports: ListeningPorts | undefined
}

export function portOwner({ port, accepts, wasOpenBefore, isOwn, ports }: PortFindings): PortOwner {
  if (!accepts) return 'none'
  if (isOwn || ports?.own.has(port)) return 'self'
  if (ports?.descendants.has(port)) return 'child'
  // Whoever accepted the connection listens no more: frameworks try a port before they use it.
  if (ports) return ports.all.has(port) ? 'other' : 'none'
  return wasOpenBefore ? 'other' : 'child'
}

/** Without PORT: where Next.js, Nuxt, Express' generator and most other frameworks listen. */
export const USUAL_PORT = 3_000
/** Between two tries, ms: at first a child has just been started, later its application is compiled. */
const PAUSE = { first: 50, most: 1_000, factor: 1.5 }
/** An address of this host answers at once, or a firewall drops the packets, ms. */
const TRY_TIMEOUT = 1_000
/** How long a start is silent while child processes run and nothing listens, ms: what waits for its database says nothing either. */
const WARN_AFTER = 5_000
/** `localhost` is either of them, and a server may listen on one alone. */
const HOSTS = ['127.0.0.1', '[::1]']

export interface ChildServersOptions {
  readonly log: Logger
  /** PORT or --app-port; undefined: neither was given. */
  readonly port: number | undefined
  /** Whether a server of this process listens on the port. */
  readonly isOwn: (port: number) => boolean
  readonly clock?: Clock | undefined
  /** @returns the URL at which `port` of this host accepts connections */
  readonly reachableUrl?: (port: number) => Promise<string | undefined>
  readonly listening?: () => ListeningPorts | undefined
  readonly processes?: ChildProcessesOptions | undefined
}

export class ChildServers {
  /** Rejects with a ChildListensError as soon as a child process listens; never resolves. */
  readonly found: Promise<never>
  #advice = ''
  readonly #options: ChildServersOptions
  readonly #clock: Clock
  readonly #port: number
  readonly #reachableUrl: (port: number) => Promise<string | undefined>
  readonly #listening: () => ListeningPorts | undefined
  readonly #reject: (error: ChildListensError) => void
  readonly #processes: ChildProcesses
  readonly #timers: Set<Timer> = new Set()
  #pause = PAUSE.first
  #wasOpenBefore = false
  #isProbing = true
  #hasWarned = false
  /** The last look found a child, and nothing but the open port to prove it. */
  #isUnproven = false

  constructor(options: ChildServersOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#processes = new ChildProcesses({ clock: this.#clock, ...options.processes })
    this.#port = options.port ?? USUAL_PORT
    this.#reachableUrl = options.reachableUrl ?? reachableUrl
    this.#listening = options.listening ?? listeningPorts
    const { promise, reject } = Promise.withResolvers<never>()
    promise.catch(() => {})
    this.found = promise
    this.#reject = reject
  }

  /** For the message about an application that never listens: what was found, and what to do; empty if nothing was. */
  get advice(): string {
    if (this.#advice !== '' || this.#processes.lastFailure === '') return this.#advice
    return `; ${this.#processes.lastFailure} before it listened`
  }

  /** To be called before the application is loaded: who listens by now is none of its children. */
  async start(): Promise<this> {
    this.#processes.start()
    this.#wasOpenBefore = (await this.#reachableUrl(this.#port)) !== undefined
    this.#after(this.#pause, () => void this.#probe())
    this.#after(WARN_AFTER, () => this.#warn(this.#findings(), 'the port where it is to listen'))
    return this
  }

  /** The application is served: its child processes are its own. */
  close(): void {
    this.#stop()
    this.#processes.close()
  }

  /** Looks no more. The child processes are followed on. */
  #stop(): void {
    this.#isProbing = false
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
  }

  /** Child processes that are running. */
  get alive(): ChildProcess[] {
    return this.#processes.alive
  }

  /** Resolves when all child processes that run now have ended. */
  ended(): Promise<void> {
    return this.#processes.ended()
  }

  /** Ends the child processes and their descendants, which would keep the port of an application that is not served. */
  end(): Promise<void> {
    this.#stop()
    return this.#processes.end()
  }

  async #probe(): Promise<void> {
    // Workers of node:cluster listen through this process (listen-takeover.ts).
    if (this.alive.length > 0 && Object.keys(cluster.workers ?? {}).length === 0) {
      const wasOwn = this.#options.isOwn(this.#port)
      const url = await this.#reachableUrl(this.#port)
      if (!this.#isProbing) return
      this.#wasOpenBefore &&= url !== undefined
      const ports = url === undefined ? undefined : this.#listening()
      const owner = portOwner({
        port: this.#port,
        accepts: url !== undefined,
        wasOpenBefore: this.#wasOpenBefore,
        isOwn: wasOwn || this.#options.isOwn(this.#port),
        ports,
      })
      // Frameworks try a port before they use it, perhaps in this process: an open port alone has to be open at two looks.
      if (owner === 'child' && (ports || this.#isUnproven)) {
        this.#stop()
        this.#reject(new ChildListensError(url!, this))
        return
      }
      this.#isUnproven = owner === 'child'
      if (owner === 'other') this.#warn(`port ${this.#port} is in use by another process`, 'a free port')
    }
    this.#pause = Math.min(PAUSE.most, this.#pause * PAUSE.factor)
    this.#after(this.#pause, () => void this.#probe())
  }

  #findings(): string {
    const ports = this.#listening()?.descendants ?? new Set()
    if (ports.has(this.#port))
      return `a child process listens on port ${this.#port}, but on neither ${HOSTS.join(' nor ')}`
    const others = [...ports]
    if (others.length === 0) return `nothing listens on port ${this.#port}`
    return `a child process listens on port ${others.join(' and ')} and not on ${this.#port}; --app-port ${others[0]} would serve it`
  }

  /** Once for a start, and while child processes run. */
  #warn(finding: string, port: string): void {
    if (this.#hasWarned || this.alive.length === 0) return
    this.#hasWarned = true
    const { port: wanted } = this.#options
    const expected =
      wanted === undefined ? `PORT is not set, so that port ${this.#port} is expected` : `port ${wanted} is expected`
    this.#advice = `; it runs child processes, and ${finding} (${expected}): set PORT to ${port}`
    this.#options.log.warn(
      { port: this.#port, children: this.alive.map(({ pid }) => pid) },
      `the application does not listen yet${this.#advice}`,
    )
  }

  #after(milliseconds: number, act: () => void): void {
    const timer = this.#clock.after(milliseconds, () => {
      this.#timers.delete(timer)
      act()
    })
    this.#timers.add(timer)
  }
}

/** The URL at which a port of this host accepts connections. */
async function reachableUrl(port: number): Promise<string | undefined> {
  const tries = await Promise.all(HOSTS.map((host) => accepts(host.replace(/[[\]]/g, ''), port)))
  const host = HOSTS[tries.indexOf(true)]
  return host === undefined ? undefined : `http://${host}:${port}/`
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: TRY_TIMEOUT })
    const over = (accepted: boolean): void => {
      resolve(accepted)
      socket.destroy()
    }
    socket
      .on('connect', () => over(true))
      .on('timeout', () => over(false))
      .on('error', () => over(false))
  })
}
