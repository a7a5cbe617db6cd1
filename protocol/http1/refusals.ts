/**
 * Answers 503 on connections above the limit and closes them without parsing the request, so that clients and load
 * balancers see the overload at once; a connection that waits in the backlog shows neither. Web servers that speak
 * uwsgi read the same response.
 */

import type { Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import { fitsInReserve } from '../descriptors.ts'
import { DateLine, plainAnswer } from './writer.ts'

/** Time for a client to read the response and close, ms. */
const LINGER = 1_000
/**
 * Refused connections that may be open at once: each takes a reserved file descriptor. Further ones are closed without
 * a response.
 */
const MOST = 32

export class Refusals {
  readonly #clock: Clock
  readonly #date: DateLine
  readonly #open: Set<Socket> = new Set()
  readonly #most: number

  /** @param connections the limit that was reached; a small limit has a small reserve */
  constructor(clock: Clock, connections: number) {
    this.#most = Math.min(fitsInReserve(MOST), connections)
    this.#clock = clock
    this.#date = new DateLine(clock)
  }

  refuse(socket: Socket): void {
    if (this.#open.size >= this.#most) {
      socket.destroy()
      return
    }
    this.#open.add(socket)
    const timer = this.#clock.after(LINGER, () => socket.destroy())
    socket.once('close', () => {
      timer.cancel()
      this.#open.delete(socket)
    })
    // Read and discard the request: with unread bytes the system resets the connection, and the client may lose the
    // response (RFC 9112 §9.6).
    socket.on('end', () => socket.destroy())
    socket.resume()
    socket.end(plainAnswer(503, [['Retry-After', '1']], false, 'close', this.#date))
  }

  /** Closes all refused connections. */
  abort(): void {
    for (const socket of [...this.#open]) socket.destroy()
  }
}
