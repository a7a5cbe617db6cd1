/**
 * Limits the connections whose handshake is not complete. A peer completes the handshake within milliseconds; a
 * stranger may hold a connection until the handshake timeout. At the limit a new connection replaces the oldest
 * connection of the host that has the most connections.
 */

import type { Socket } from 'node:net'
import { clientKey } from '../client/client-key.ts'
import { fitsInReserve } from '../net/descriptors.ts'
import { receiveUnread } from '../net/unread.ts'

/** The most connections: enough for a fleet of containers that all dial after their proxy has restarted. */
const CONNECTIONS_MAX = 128

export class UnauthenticatedSockets {
  /**
   * By remote address; an IPv6 /64 counts as one host. A host that opens connections as fast as possible, from all its
   * addresses, replaces only its own connections.
   */
  readonly #hosts: Map<string, Set<Socket>> = new Map()
  readonly #hostOf: Map<Socket, string> = new Map()
  readonly #most: number

  constructor(most: number = fitsInReserve(CONNECTIONS_MAX)) {
    this.#most = most
  }

  /** A connection was accepted. */
  add(socket: Socket): void {
    if (this.#hostOf.size >= this.#most) this.#closeOne()
    const host = clientKey(socket.remoteAddress)
    this.#hostOf.set(socket, host)
    const sockets = this.#hosts.get(host)
    if (sockets) sockets.add(socket)
    else this.#hosts.set(host, new Set([socket]))
    socket.once('close', () => this.#delete(socket))
  }

  /** The handshake of the connection is complete. */
  authenticated(socket: Socket): void {
    this.#delete(socket)
  }

  #closeOne(): void {
    let most: Set<Socket> | undefined
    for (const sockets of this.#hosts.values()) if (sockets.size > (most?.size ?? 0)) most = sockets
    // After the event loop was blocked, the handshake of an old connection may wait unread in its socket.
    const oldest = [...most!]
    const closed = oldest.find((socket) => !receiveUnread(socket)) ?? oldest[0]!
    this.#delete(closed)
    closed.destroy()
  }

  #delete(socket: Socket): void {
    const host = this.#hostOf.get(socket)
    if (host === undefined) return
    this.#hostOf.delete(socket)
    const sockets = this.#hosts.get(host)!
    sockets.delete(socket)
    if (sockets.size === 0) this.#hosts.delete(host)
  }
}
