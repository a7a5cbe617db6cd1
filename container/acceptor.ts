/**
 * Reads the first bytes of each accepted connection, detects its protocol (`sniff.ts`), asks whether its peer may use
 * the protocol (`accept-rules.ts`), and hands the socket to the gateway with the bytes already read. Refused
 * connections are closed and logged once per peer.
 */

import type { Socket } from 'node:net'
import { UNIX_PEER } from '../protocol/client/peers.ts'
import { LoggedOnce } from '../protocol/log/logged-once.ts'
import type { Logger } from '../protocol/log/logger.ts'
import type { Deadlines, Expirable } from '../protocol/net/clock.ts'
import { sniff } from '../protocol/net/codec/sniff.ts'
import { closeIdle, type Idle } from '../protocol/net/idle-close.ts'
import { receiveUnread } from '../protocol/net/unread.ts'
import { type AcceptRules, decideAccept, type ServedWire } from './accept-rules.ts'

/** Takes over a connection, with the bytes that were read from it. */
type Serve = (wire: ServedWire, socket: Socket, peer: string, first: Buffer) => void

interface AcceptorOptions {
  readonly rules: AcceptRules
  readonly deadlines: Deadlines
  readonly log: Logger
  readonly serve: Serve
  /** Called when a connection without a known protocol has closed or was handed over. */
  readonly onEnded: () => void
}

/** Timeout for a connection to show which protocol it uses, ms. */
export const UNDECIDED_TIMEOUT = 5_000

export class Acceptor {
  readonly #options: AcceptorOptions
  /** Connections whose protocol is not known yet. */
  readonly pending: Set<PendingConnection> = new Set()
  readonly #refused: LoggedOnce = new LoggedOnce()

  constructor(options: AcceptorOptions) {
    this.#options = options
  }

  /** The number of connections whose protocol is not known yet. */
  get waiting(): number {
    return this.pending.size
  }

  /**
   * @param unix whether the connection was accepted on a Unix socket, whose peers have no address
   * @param first bytes that were already read
   */
  receive(socket: Socket, unix: boolean, first?: Buffer): void {
    const peer = unix ? UNIX_PEER : socket.remoteAddress
    if (peer === undefined) {
      // The client has reset the connection, so its address is lost: there is nothing to answer or to log.
      socket.destroy()
      return
    }
    const connection = new PendingConnection(this, socket, peer, this.#options.deadlines)
    this.pending.add(connection)
    if (first) connection.received(first)
  }

  /**
   * Keeps silent connections open for `grace` milliseconds: a web server in front connects first and sends later, and
   * it may not repeat a request that it sent on a closed connection. Connections that have sent bytes are not affected.
   */
  drain(grace: number): void {
    const { clock } = this.#options.deadlines
    for (const connection of this.pending) if (connection.silent) connection.deadline = clock.now() + grace
  }

  abort(): void {
    for (const connection of [...this.pending]) connection.close()
  }

  ended(connection: PendingConnection): void {
    this.pending.delete(connection)
    this.#options.onEnded()
  }

  /** Serves or refuses the connection if its first bytes show its protocol. */
  decide(connection: PendingConnection, socket: Socket, peer: string, first: Buffer): void {
    const wire = sniff(first)
    if (wire === undefined) return
    const decision = decideAccept(wire, peer, this.#options.rules)
    connection.detach()
    if ('serve' in decision) {
      this.pending.delete(connection)
      this.#options.serve(decision.serve, socket, peer, first)
    } else {
      socket.destroy()
      this.#refuse(peer, wire, decision.refuse)
    }
    this.ended(connection)
  }

  undecided(peer: string, silent: boolean): void {
    if (silent) this.#options.log.debug({ peer }, 'a connection without bytes was closed')
    else this.#refuse(peer, 'undecided', 'its first bytes did not show which protocol it uses')
  }

  #refuse(peer: string, wire: string, why: string): void {
    if (this.#refused.isFirst(`${wire} ${peer}`))
      this.#options.log.warn({ peer, wire }, `a connection was refused: ${why}`)
  }
}

/** A connection whose protocol is not known yet. */
class PendingConnection implements Expirable, Idle {
  deadline: number
  place = -1
  /** For LimitedConnection: this connection is idle until its protocol is known. */
  readonly waitingSince: number
  readonly #acceptor: Acceptor
  readonly #socket: Socket
  readonly #peer: string
  readonly #deadlines: Deadlines
  #first: Buffer | undefined
  #isDetached = false

  constructor(acceptor: Acceptor, socket: Socket, peer: string, deadlines: Deadlines) {
    this.#acceptor = acceptor
    this.#socket = socket
    this.#peer = peer
    this.#deadlines = deadlines
    this.waitingSince = deadlines.clock.now()
    this.deadline = this.waitingSince + UNDECIDED_TIMEOUT
    deadlines.add(this)
    socket.on('data', this.#onData)
    socket.on('end', this.#onClose)
    socket.on('close', this.#onClose)
  }

  get silent(): boolean {
    return this.#first === undefined
  }

  expire(): void {
    closeIdle(this)
  }

  closeIfIdle(): void {
    if (this.#isDetached) return
    this.#acceptor.undecided(this.#peer, this.silent)
    this.close()
  }

  evict(): boolean {
    if (receiveUnread(this.#socket)) return false
    this.close()
    return true
  }

  /** Closes the connection, even if unread bytes wait in its socket. */
  close(): void {
    this.detach()
    this.#socket.destroy()
    this.#acceptor.ended(this)
  }

  /** Removes this object's listeners from the socket, which another object owns from now on. */
  detach(): void {
    this.#isDetached = true
    this.#deadlines.delete(this)
    this.#socket.off('data', this.#onData)
    this.#socket.off('end', this.#onClose)
    this.#socket.off('close', this.#onClose)
  }

  received(chunk: Buffer): void {
    this.#first = this.#first ? Buffer.concat([this.#first, chunk]) : chunk
    this.#acceptor.decide(this, this.#socket, this.#peer, this.#first)
  }

  readonly #onData = (chunk: Buffer): void => this.received(chunk)

  readonly #onClose = (): void => this.close()
}
