/**
 * Reads the request of a uwsgi connection, sans-IO: one packet, then CONTENT_LENGTH bytes of body.
 */

import { peerError } from '../../contract/coded-errors.ts'
import {
  decodePacket,
  HEADER_BYTES,
  type Packet,
  PING,
  packetLength,
  REQUEST,
  REQUEST_WITH_SCRIPT_NAME,
} from './packet.ts'
import { cleanRequest } from './variables.ts'

export type RequestEvent =
  /** The head of a request. `variables` are cleaned; `length`: bytes of the body. */
  | { type: 'request'; variables: string[]; length: number }
  | { type: 'data'; chunk: Buffer }
  /** The body is complete. Follows each request, also one without a body. */
  | { type: 'end' }
  | { type: 'ping' }

const NOTHING: Buffer = Buffer.alloc(0)

type State = 'packet' | 'body' | 'done'

export class RequestReader {
  #state: State = 'packet'
  /** The first part of an incomplete packet. */
  #partial: Buffer | undefined
  #have = 0
  /** Bytes of the body that have not arrived. */
  #left = 0
  #surplus: Buffer = NOTHING

  /** Whether a part of the packet has arrived, but not all of it. */
  get partial(): boolean {
    return this.#partial !== undefined
  }

  /** Bytes of the body that have not arrived. */
  get pending(): number {
    return this.#left
  }

  /**
   * Bytes of the last `receive` after the request: they belong to another protocol, if the request asks for an upgrade.
   */
  get surplus(): Buffer {
    return this.#surplus
  }

  /**
   * Adds bytes that have arrived, and returns events. Bytes after the body are not read: a connection carries one
   * request.
   *
   * @throws RemoteProtocolError `UWSGI_PACKET`, `UWSGI_MODIFIER`, `UWSGI_VARIABLE` or `UWSGI_CONTENT_LENGTH` if the
   *   request is invalid; the connection cannot be used any more
   */
  receive(bytes: Buffer): RequestEvent[] {
    const events: RequestEvent[] = []
    if (this.#state === 'packet') {
      const rest = this.#gather(bytes)
      if (rest === undefined) return events
      bytes = rest
      const packet = decodePacket(this.#partial!)!
      this.#partial = undefined
      this.#begin(packet, events)
    }
    if (this.#state === 'body' && bytes.length > 0) {
      const chunk = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes
      this.#left -= chunk.length
      bytes = bytes.subarray(chunk.length)
      events.push({ type: 'data', chunk })
      if (this.#left === 0) this.#finish(events)
    }
    this.#surplus = bytes
    return events
  }

  #begin(packet: Packet, events: RequestEvent[]): void {
    switch (packet.modifier1) {
      case PING:
        this.#state = 'done'
        events.push({ type: 'ping' })
        return
      case REQUEST:
      case REQUEST_WITH_SCRIPT_NAME: {
        const { variables, length } = cleanRequest(packet.variables, packet.modifier1 === REQUEST_WITH_SCRIPT_NAME)
        this.#left = length
        this.#state = 'body'
        events.push({ type: 'request', variables, length })
        if (length === 0) this.#finish(events)
        return
      }
      default:
        throw peerError(
          'UWSGI_MODIFIER',
          `uwsgi modifier1 ${packet.modifier1} is not supported; expected 0 or 30 (request), or 100 (ping)`,
        )
    }
  }

  #finish(events: RequestEvent[]): void {
    this.#state = 'done'
    events.push({ type: 'end' })
  }

  /**
   * Adds bytes to the packet. Once the packet is complete, returns the bytes after it. The packet is gathered in one
   * buffer of its full length, so that a peer that sends it byte by byte costs linear and not quadratic time.
   */
  #gather(bytes: Buffer): Buffer | undefined {
    if (this.#partial === undefined) {
      const length = packetLength(bytes)
      if (length !== undefined && bytes.length >= length) {
        this.#partial = bytes
        return bytes.subarray(length)
      }
      this.#partial = Buffer.allocUnsafe(length ?? HEADER_BYTES)
      this.#have = 0
    }
    for (;;) {
      const copied = bytes.copy(this.#partial, this.#have)
      this.#have += copied
      bytes = bytes.subarray(copied)
      if (this.#have < this.#partial.length) return undefined
      const length = packetLength(this.#partial)!
      if (this.#have === length) return bytes
      const whole = Buffer.allocUnsafe(length)
      this.#partial.copy(whole)
      this.#partial = whole
    }
  }
}
