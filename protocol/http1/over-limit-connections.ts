/**
 * Answers 503 on connections above the limit and closes them without parsing the request, so that clients and load
 * balancers see the overload at once; a connection that waits in the backlog shows neither. Web servers that speak
 * uwsgi read the same response.
 */

import type { Socket } from 'node:net'
import { UNIX_PEER } from '../client/peers.ts'
import { newRequestId } from '../contract/context.ts'
import { statusOf } from '../contract/error-codes.ts'
import { LINE_SHOWN, type RefusedRequest } from '../contract/refused-request.ts'
import type { Clock, Timer } from '../net/clock.ts'
import { sniff } from '../net/codec/sniff.ts'
import { plainAnswer } from './codec/writer.ts'
import { DateField } from './date-field.ts'

/** Bytes in the body of the answer. */
const BODY: number = '503 Service Unavailable\n'.length

/** Time for a client to read the response and close, ms. */
const LINGER = 1_000

export class OverLimitConnections {
  readonly #clock: Clock
  readonly #date: DateField
  /** The oldest first. */
  readonly #open: Set<Refusal> = new Set()
  readonly #most: number
  readonly #onRefused: ((request: RefusedRequest) => void) | undefined

  /**
   * @param most refused connections that may be open at once, each with its file descriptor
   * @param onRefused called for each refused connection on which a request has begun
   */
  constructor(clock: Clock, most: number, onRefused?: (request: RefusedRequest) => void) {
    this.#most = most
    this.#onRefused = onRefused
    this.#clock = clock
    this.#date = new DateField(clock)
  }

  /**
   * Answers 503 and closes the connection once the client has read the response. If too many refused connections are
   * open, the oldest is closed: its response was sent.
   *
   * @param onFrames for a connection whose first bytes have not arrived. If it speaks frames, it gets no response (HTTP
   *   would tell the peer that this is a server of another kind), and `onFrames` takes it over with the bytes read.
   */
  refuse(socket: Socket, onFrames?: (first: Buffer) => void): void {
    // First, so that there is a free descriptor at any time.
    if (this.#open.size >= this.#most) {
      const [oldest] = this.#open
      oldest?.close()
    }
    const requestId = newRequestId()
    const answer = (): string =>
      plainAnswer(
        statusOf('MAX_CONNECTIONS'),
        [
          ['X-Request-Id', requestId],
          ['Retry-After', '1'],
        ],
        false,
        'close',
        this.#date,
      )
    const refusal: Refusal = new Refusal(socket, this.#clock, answer, () => this.#open.delete(refusal))
    if (this.#onRefused) tellRefused(socket, requestId, this.#onRefused)
    this.#open.add(refusal)
    if (onFrames) refusal.decideBy(onFrames)
    else refusal.answer()
    // Read and discard the request: with unread bytes the system resets the connection, and the client may lose the
    // response (RFC 9112 §9.6).
    socket.resume()
  }

  /** Closes all refused connections. */
  abort(): void {
    for (const refusal of [...this.#open]) refusal.close()
  }
}

/** Calls `onRefused` when the first bytes arrive: a connection that never sends a byte is not counted as a request. */
function tellRefused(socket: Socket, requestId: string, onRefused: (request: RefusedRequest) => void): void {
  const remote = socket.remoteAddress ?? UNIX_PEER
  socket.once('data', (first) => {
    const wire = sniff(first)
    if (wire === 'frames') return
    const line = wire === 'uwsgi' ? '' : first.toString('latin1', 0, LINE_SHOWN).split(/[\r\n]/, 1)[0]!
    const code = 'MAX_CONNECTIONS'
    onRefused({ requestId, remote, line, status: statusOf(code), code, bytes: BODY, milliseconds: undefined })
  })
}

class Refusal {
  readonly #socket: Socket
  readonly #answer: () => string
  readonly #onClose: () => void
  readonly #timer: Timer
  #answered = false

  constructor(socket: Socket, clock: Clock, answer: () => string, onClose: () => void) {
    this.#socket = socket
    this.#answer = answer
    this.#onClose = onClose
    this.#timer = clock.after(LINGER, () => this.close())
    socket.once('close', this.#closed)
    socket.once('end', this.#ended)
  }

  /** Waits for the first bytes: gives frames to `onFrames`, and answers everything else. */
  decideBy(onFrames: (first: Buffer) => void): void {
    this.#socket.once('data', (first: Buffer) => {
      if (this.#answered || sniff(first) !== 'frames') {
        this.answer()
        return
      }
      this.#socket.off('close', this.#closed)
      this.#socket.off('end', this.#ended)
      this.#closed()
      onFrames(first)
    })
  }

  answer(): void {
    if (this.#answered) return
    this.#answered = true
    this.#socket.end(this.#answer())
  }

  /** Sends the response, if it was not sent, and closes the connection: the system sends what `end` has given it. */
  close(): void {
    this.answer()
    this.#destroy()
  }

  #destroy(): void {
    this.#socket.destroy()
    this.#closed()
  }

  readonly #ended = (): void => this.close()

  readonly #closed = (): void => {
    this.#timer.cancel()
    this.#onClose()
  }
}
