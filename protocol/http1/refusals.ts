/**
 * Answers 503 on connections above the limit and closes them without parsing the request, so that clients and load balancers see the overload
 * at once; a connection that waits in the backlog would not tell them. Web servers that speak uwsgi read the same answer.
 */

import type { Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import { fitsInReserve } from '../descriptors.ts'
import { DateLine, plainAnswer } from './writer.ts'

/** Time for a client to read the answer and to close, ms. */
const LINGER = 1_000
/** Refused connections that may be open at once: each takes a file descriptor of the reserve. Further ones are closed without an answer. */
const MOST = 32

export class Refusals {
  readonly #clock: Clock
  readonly #date: DateLine
  readonly #open: Set<Socket> = new Set()
  readonly #most: number

  /** @param connections the limit that was reached: where it is small, so is the reserve */
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
    // What is read is dropped: unread, it would have the system reset the connection, and the client lose its answer (RFC 9112 §9.6).
    socket.on('end', () => socket.destroy())
    socket.resume()
    socket.end(plainAnswer(503, [['Retry-After', '1']], false, 'close', this.#date))
  }

  /** Ends those that are open. */
  abort(): void {
    for (const socket of [...this.#open]) socket.destroy()
  }
}
