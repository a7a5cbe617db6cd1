/**
 * Connecting to addresses and resolving names, as both processes dial each other: one attempt, and what its failure
 * says about the peer. The callers decide when to dial and redial.
 */

import { lookup } from 'node:dns/promises'
import { Socket } from 'node:net'
import { codedError } from '../contract/coded-errors.ts'
import { dialTarget, type TcpAddress, type UnixAddress } from './address.ts'
import type { Clock, Timer } from './clock.ts'
import { afterSilence } from './silence-timer.ts'

/** Resolves a host name to all its IPv4 and IPv6 addresses; rejects, or returns an empty list, if there are none. */
export type Resolve = (host: string) => Promise<readonly string[]>

/**
 * As programs on this host resolve names: /etc/hosts, then DNS (getaddrinfo), both families. Nothing is cached here.
 */
export const systemResolve: Resolve = async (host) => {
  const found = await lookup(host, { all: true, order: 'verbatim' })
  return [...new Set(found.map(({ address }) => address))]
}

/** Node's own `connect`, captured before a container replaces it for its application (container/self-calls.ts). */
const connectNative = Socket.prototype.connect as (this: Socket, options: object) => Socket

/**
 * @param allowHalfOpen as for `net.connect`: a process that serves requests on this connection still answers after a
 * FIN
 */
export function dial(address: UnixAddress | TcpAddress, allowHalfOpen: boolean): Socket {
  const options = {
    ...dialTarget(address),
    allowHalfOpen,
    noDelay: true,
    // A peer whose host is lost sends no FIN, and an idle link never writes.
    keepAlive: true,
    keepAliveInitialDelay: 15_000,
  }
  return connectNative.call(new Socket(options), options)
}

/** Default connect timeout, milliseconds (`--connect-timeout`). */
export const CONNECT_TIMEOUT = 3_000

/**
 * Timeout for the HELLO of a peer that has accepted a connection, milliseconds. The peer's event loop may be blocked,
 * or the process stopped: an abandoned connection stays in the listener's backlog, so that short timeouts would fill
 * it. Doubled with each attempt, since behind a load balancer the next attempt may reach another peer.
 */
export const HELLO_PATIENCE = { first: 60_000, most: 3_600_000 }

/** A HELLO that takes longer is logged, milliseconds: a slow machine that just started needs about a second. */
export const HELLO_EXPECTED = 5_000

/** What a failed connection says about the peer: it has gone away, or nothing (the fault may be on this side). */
export type Verdict = 'gone' | 'unknown'

/**
 * Nobody listens, or the host does not answer. Other codes are faults of this side (EMFILE, EADDRNOTAVAIL) or a full
 * backlog (EAGAIN of a Unix socket).
 */
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

interface DialEvents {
  /** The connection is established; the owner takes the socket over. */
  connected(socket: Socket): void
  failed(error: Error, verdict: Verdict): void
}

/** One attempt to connect. */
export class Dialling {
  readonly #socket: Socket
  readonly #timer: Timer
  #over = false

  /** @param socket a new socket that is connecting */
  constructor(socket: Socket, clock: Clock, timeout: number, events: DialEvents) {
    this.#socket = socket
    let failure: Error | undefined
    this.#timer = afterSilence(clock, timeout, () => {
      failure = codedError('CONNECT_TIMEOUT', `no connection within ${timeout / 1_000} s`)
      socket.destroy()
    })
    // This listener stays: a socket that fails after the owner has it must not end the process either.
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

  /** Abandons the attempt; no event follows. */
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
