/**
 * Stands at the container's listeners: reads the first bytes of each connection, asks which protocol they are and
 * whether its peer may speak it, and hands the socket to that gateway with what was read. What is refused is closed, and
 * logged once per peer.
 *
 * It knows no protocol (`sniff.ts`), no rule (`accept-rules.ts`) and nothing of what is served.
 */

import type { Socket } from 'node:net'
import { UNIX_PEER } from '../protocol/client/peers.ts'
import { LoggedOnce } from '../protocol/log/logged-once.ts'
import type { Logger } from '../protocol/log/logger.ts'
import type { Deadlines, Expirable } from '../protocol/net/clock.ts'
import { sniff } from '../protocol/net/codec/sniff.ts'
import { closeIdle, type Idle } from '../protocol/net/idle-close.ts'
import { receiveUnread } from '../protocol/net/unread.ts'
import { type AcceptRules, type ServedWire, decideAccept } from './accept-rules.ts'

/** Takes a connection over, with the bytes that were read from it. */
export type Serve = (wire: ServedWire, socket: Socket, peer: string, first: Buffer) => void

export interface AcceptorOptions {
  readonly rules: AcceptRules
  readonly deadlines: Deadlines
  readonly log: Logger
  readonly serve: Serve
  /** A connection that was waiting for its first bytes has gone or was handed over. */
  readonly onEnded: () => void
}

/** How long a connection may take to say which protocol it speaks, ms. */
export const UNDECIDED_TIMEOUT = 5_000

export class Acceptor {
  readonly #options: AcceptorOptions
  /** Connections whose protocol is not known yet. */
  readonly pending: Set<PendingConnection> = new Set()
  readonly #refused: LoggedOnce = new LoggedOnce()

  constructor(options: AcceptorOptions) {
    this.#options = options
  }

  /** Connections whose protocol is not known yet. */
  get waiting(): number {
    return this.pending.size
  }

  /**
   * @param unix whether it was accepted on a Unix socket, whose peers have no address
   * @param first bytes that were read already
   */
  receive(socket: Socket, unix: boolean, first?: Buffer): void {
    const peer = unix ? UNIX_PEER : socket.remoteAddress
    if (peer === undefined) {
      // The client has reset the connection, so that its address is lost: there is nothing to answer or to log.
      socket.destroy()
      return
    }
    const connection = new PendingConnection(this, socket, peer, this.#options.deadlines)
    this.pending.add(connection)
    if (first) connection.received(first)
  }

  /**
   * Keeps silent connections open for `grace` milliseconds: a web server in front first connects and then sends, and it
   * may not repeat a request that it sent into a closed connection. Connections that have sent bytes go on as before.
   */
  drain(grace: number): void {
    const { clock } = this.#options.deadlines
    for (const connection of this.pending) if (connection.silent) connection.deadline = clock.now() + grace
  }

  abort(): void {
    for (const connection of [...this.pending]) connection.close()
  }

  left(connection: PendingConnection): void {
    this.pending.delete(connection)
    this.#options.onEnded()
  }

  /** What the first bytes are is known. */
  decide(connection: PendingConnection, socket: Socket, peer: string, first: Buffer): void {
    const wire = sniff(first)
    if (wire === undefined) return
    const decision = decideAccept(wire, peer, this.#options.rules)
    connection.leave()
    if ('serve' in decision) {
      this.pending.delete(connection)
      this.#options.serve(decision.serve, socket, peer, first)
    } else {
      socket.destroy()
      this.#refuse(peer, wire, decision.refuse)
    }
    this.left(connection)
  }

  undecided(peer: string, silent: boolean): void {
    if (silent) this.#options.log.debug({ peer }, 'a connection said nothing and was closed')
    else this.#refuse(peer, 'undecided', 'its first bytes did not say which protocol it speaks')
  }

  #refuse(peer: string, wire: string, why: string): void {
    if (this.#refused.isFirst(`${wire} ${peer}`))
      this.#options.log.warn({ peer, wire }, `a connection was refused: ${why}`)
  }
}

/** One connection until its protocol is known. */
export class PendingConnection implements Expirable, Idle {
  deadline: number
  place = -1
  /** For LimitedConnection: this connection is idle until its protocol is known. */
  readonly waitingSince: number
  readonly #acceptor: Acceptor
  readonly #socket: Socket
  readonly #peer: string
  readonly #deadlines: Deadlines
  #first: Buffer | undefined
  #left = false

  constructor(acceptor: Acceptor, socket: Socket, peer: string, deadlines: Deadlines) {
    this.#acceptor = acceptor
    this.#socket = socket
    this.#peer = peer
    this.#deadlines = deadlines
    this.waitingSince = deadlines.clock.now()
    this.deadline = this.waitingSince + UNDECIDED_TIMEOUT
    deadlines.add(this)
    socket.on('data', this.#onData)
    socket.on('end', this.#onGone)
    socket.on('close', this.#onGone)
  }

  get silent(): boolean {
    return this.#first === undefined
  }

  expire(): void {
    closeIdle(this)
  }

  closeIfIdle(): void {
    if (this.#left) return
    this.#acceptor.undecided(this.#peer, this.silent)
    this.close()
  }

  dismiss(): boolean {
    if (receiveUnread(this.#socket)) return false
    this.close()
    return true
  }

  /** Closes the connection, even if bytes wait in its socket. */
  close(): void {
    this.leave()
    this.#socket.destroy()
    this.#acceptor.left(this)
  }

  /** The socket is somebody else's from here on. */
  leave(): void {
    this.#left = true
    this.#deadlines.delete(this)
    this.#socket.off('data', this.#onData)
    this.#socket.off('end', this.#onGone)
    this.#socket.off('close', this.#onGone)
  }

  received(chunk: Buffer): void {
    this.#first = this.#first ? Buffer.concat([this.#first, chunk]) : chunk
    this.#acceptor.decide(this, this.#socket, this.#peer, this.#first)
  }

  readonly #onData = (chunk: Buffer): void => this.received(chunk)

  readonly #onGone = (): void => this.close()
}
