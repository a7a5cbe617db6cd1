/**
 * Connections to addresses, and the addresses of names, as both processes dial each other: one try, and what its failure says about who was
 * dialled. Who dials when, and again, is theirs.
 */

import { lookup } from 'node:dns/promises'
import { Socket } from 'node:net'
import { dialTarget, type TcpAddress, type UnixAddress } from './address.ts'
import type { Clock, Timer } from './clock.ts'
import { patiently } from './patience.ts'

/** All IPv4 and IPv6 addresses of a name; rejects, or gives none, when there are none to be had. */
export type Resolve = (host: string) => Promise<readonly string[]>

/** What programs on this host see: /etc/hosts, then DNS (getaddrinfo), both families, nothing cached here. */
export const systemResolve: Resolve = async (host) => {
  const found = await lookup(host, { all: true, order: 'verbatim' })
  return [...new Set(found.map(({ address }) => address))]
}

/** Node's own, taken before a container replaces it for what its application connects to (container/self-calls.ts). */
const connectNative = Socket.prototype.connect as (this: Socket, options: object) => Socket

/** @param allowHalfOpen as `net.connect`'s: who serves on what it dialled still answers after a FIN */
export function dial(address: UnixAddress | TcpAddress, allowHalfOpen: boolean): Socket {
  const options = {
    ...dialTarget(address),
    allowHalfOpen,
    noDelay: true,
    // A peer whose host is gone says no good-bye, and a link on which nothing is asked never writes.
    keepAlive: true,
    keepAliveInitialDelay: 15_000,
  }
  return connectNative.call(new Socket(options), options)
}

/** For a connection to be made, milliseconds, where nothing else was said (`--connect-timeout`). */
export const CONNECT_TIMEOUT = 3_000

/**
 * For a peer that has accepted a connection to say HELLO, milliseconds. Its event loop may be blocked, or the process stopped: a connection
 * that is given up stays in its listener's backlog, so that giving up soon, again and again, fills that. Doubled each time, since behind a
 * load balancer another try may reach another peer.
 */
export const HELLO_PATIENCE = { first: 60_000, most: 3_600_000 }

/** After so long without one it is logged, milliseconds: a second on a slow machine that just started, with room. */
export const HELLO_EXPECTED = 5_000

/** What a connection that was not made says about who was dialled: nobody is there, or nothing (the fault can be on this side). */
export type Verdict = 'gone' | 'unknown'

/** Nobody listens, or no host answers. Others are this side's own (EMFILE, EADDRNOTAVAIL), or a full backlog (EAGAIN of a Unix socket). */
const GONE: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ETIMEDOUT',
  'CONNECT_TIMEOUT',
])

export function verdictOf(error: Error): Verdict {
  return 'code' in error && GONE.has(String(error.code)) ? 'gone' : 'unknown'
}

export interface DialEvents {
  /** It stands, and is the owner's. */
  connected(socket: Socket): void
  failed(error: Error, verdict: Verdict): void
}

/** One try to connect. */
export class Dialling {
  readonly #socket: Socket
  readonly #timer: Timer
  #over = false

  /** @param socket that was just made, and connects */
  constructor(socket: Socket, clock: Clock, timeout: number, events: DialEvents) {
    this.#socket = socket
    let failure: Error | undefined
    this.#timer = patiently(clock, timeout, () => {
      failure = Object.assign(new Error(`no connection within ${timeout / 1_000} s`), { code: 'CONNECT_TIMEOUT' })
      socket.destroy()
    })
    // Stays: a socket that fails once it was handed over must not end the process either.
    socket.on('error', (error) => {
      failure ??= error
    })
    const onClose = (): void => {
      if (!this.#end()) return
      const error = failure ?? new Error('the connection was closed')
      events.failed(error, verdictOf(error))
    }
    socket.once('close', onClose)
    socket.once('connect', () => {
      socket.off('close', onClose)
      if (this.#end()) events.connected(socket)
      else socket.destroy()
    })
  }

  /** Gives it up; nothing more is told. */
  cancel(): void {
    if (this.#end()) this.#socket.destroy()
  }

  #end(): boolean {
    if (this.#over) return false
    this.#over = true
    this.#timer.cancel()
    return true
  }
}
