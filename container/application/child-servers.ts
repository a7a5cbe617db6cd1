/**
 * Detects that a child process of the application listens instead of this process, as with development servers (`next
 * dev`, `nuxt dev`) and launchers. `portOwner` decides; `ChildServers` probes the port while child processes run
 * (`child-processes.ts`).
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

/** The application listens in a child process: a container in this process cannot serve it. */
export class ChildListensError extends LoadError {
  static {
    brand(ChildListensError, 'ChildListensError')
  }

  override readonly name: string = 'ChildListensError'
  /** The URL at which the application accepts requests. */
  readonly url: string
  readonly servers: ChildServers
  /** Waits for the application's shutdown code, if this process continues after the error. */
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
 * Which process listens on the port that the application is expected to use.
 *
 * - `none`: no process; the application may still start
 * - `child`: a child process of the application
 * - `self`: this process; other code decides whether to serve that server
 * - `other`: a process that the application did not start
 */
export type PortOwner = 'none' | 'child' | 'self' | 'other'

export interface PortFindings {
  readonly port: number
  /** Whether the port accepts connections. */
  readonly accepts: boolean
  /** Whether the port accepted connections before the application was loaded, and ever since. */
  readonly wasOpenBefore: boolean
  /** Whether a server of this process listens on the port. */
  readonly isOwn: boolean
  /** The listening ports as the operating system reports them; undefined if it does not report them. */
  readonly ports: ListeningPorts | undefined
}

export function portOwner({ port, accepts, wasOpenBefore, isOwn, ports }: PortFindings): PortOwner {
  if (!accepts) return 'none'
  if (isOwn || ports?.own.has(port)) return 'self'
  if (ports?.descendants.has(port)) return 'child'
  // The listener that accepted the connection has closed: frameworks test a port before they use it.
  if (ports) return ports.all.has(port) ? 'other' : 'none'
  return wasOpenBefore ? 'other' : 'child'
}

/** Where Next.js, Nuxt, Express' generator and most other frameworks listen without PORT. */
const USUAL_PORT = 3_000
/** Time between two probes, ms: short while a child has just started, longer while it compiles its application. */
const PAUSE = { first: 50, most: 1_000, factor: 1.5 }
/** Timeout of a probe, ms: a local address answers at once, unless a firewall drops the packets. */
const TRY_TIMEOUT = 1_000
/**
 * How long to wait, while child processes run and nothing listens, before a warning, ms. An application that waits for
 * its database is silent too.
 */
const WARN_AFTER = 5_000
/** `localhost` means either address, and a server may listen on only one of them. */
const HOSTS = ['127.0.0.1', '[::1]']

interface ChildServersOptions {
  readonly log: Logger
  /** The value of PORT or --app-port; undefined if neither was given. */
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
  /** Whether the last probe found a child with only the open port as evidence. */
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

  /** For the message about an application that never listens: the findings and what to do; empty if there are none. */
  get advice(): string {
    if (this.#advice !== '' || this.#processes.lastFailure === '') return this.#advice
    return `; ${this.#processes.lastFailure} before it listened`
  }

  /** Must be called before the application is loaded: a process that listens by then is not its child. */
  async start(): Promise<this> {
    this.#processes.start()
    this.#wasOpenBefore = (await this.#reachableUrl(this.#port)) !== undefined
    this.#after(this.#pause, () => void this.#probe())
    this.#after(WARN_AFTER, () => this.#warn(this.#findings(), 'the port on which it will listen'))
    return this
  }

  /** Call when the application is served in this process: its child processes need no supervision. */
  close(): void {
    this.#stop()
    this.#processes.close()
  }

  /** Stops probing. Child processes are still tracked. */
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

  /** Ends the child processes and their descendants. They would keep the port of an application that is not served. */
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
      // Frameworks test a port before they use it, perhaps in this process. Without other evidence, the port must be
      // open in two probes.
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

  /** Warns once during a start, and only while child processes run. */
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

/** Returns the URL at which a port of this host accepts connections. */
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
