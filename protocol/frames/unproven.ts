/**
 * Connections of which it is not known yet whose they are: a handshake takes a peer milliseconds, and a stranger as long as it is let. So many may be
 * there at once; for one more the one that has waited for longest goes.
 */

import type { Socket } from 'node:net'

/** All containers of a fleet at once, after their proxy was restarted. */
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

  /** Its peer has said, and proved if it had to, who it is. */
  proved(socket: Socket): void {
    this.#sockets.delete(socket)
  }
}
