/**
 * Limits connections whose handshake is not complete. A peer completes it within milliseconds; a stranger may hold the
 * connection until the handshake timeout. At the limit a new connection replaces the oldest.
 */

import type { Socket } from 'node:net'

/** Room for a fleet of containers that all dial after their proxy has restarted. */
const MOST = 128

export class Unproven {
  readonly #sockets: Set<Socket> = new Set()

  add(socket: Socket): void {
    if (this.#sockets.size >= MOST) {
      const [eldest] = this.#sockets
      this.#sockets.delete(eldest!)
      eldest!.destroy()
    }
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
  }

  /** The handshake is complete. */
  proved(socket: Socket): void {
    this.#sockets.delete(socket)
  }
}
