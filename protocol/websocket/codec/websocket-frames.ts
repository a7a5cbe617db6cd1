/**
 * Tracks where the frames of a WebSocket begin and end (RFC 6455 §5.2), in one direction, sans-IO. It reads the opcode
 * and length of each frame header, and no payload.
 */

const CLOSE = 0x8
/** Longest header: two bytes, the longest length, and a mask, which only clients should send. */
const HEADER_MAX = 14

/**
 * A close frame with code 1001, "going away", from a server that stops (RFC 6455 §7.4.1): unmasked, as all frames of a
 * server.
 */
export const GOING_AWAY: Uint8Array = Uint8Array.of(0x88, 2, 0x03, 0xe9)

export class FrameTracker {
  readonly #header: Uint8Array = new Uint8Array(HEADER_MAX)
  #have = 0
  /** Payload bytes of the current frame that have not arrived yet. */
  #left = 0
  #closed = false

  /** Whether the last frame is complete. A control frame may begin here, also between fragments (§5.4). */
  get atBoundary(): boolean {
    return this.#have === 0 && this.#left === 0
  }

  /** Whether a close frame has begun: no frame may follow it (§5.5.1). */
  get closed(): boolean {
    return this.#closed
  }

  /** Tracks all of `bytes`. */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at = this.#step(bytes, at)
  }

  /** Tracks `bytes` up to the first end of a frame; returns their number, or all if no frame ends. */
  pushToBoundary(bytes: Uint8Array): number {
    let at = 0
    while (at < bytes.length) {
      at = this.#step(bytes, at)
      if (this.atBoundary) break
    }
    return at
  }

  /** Tracks a part of a payload, or one byte of a header; returns the index after it. */
  #step(bytes: Uint8Array, at: number): number {
    if (this.#left > 0) {
      const piece = Math.min(this.#left, bytes.length - at)
      this.#left -= piece
      return at + piece
    }
    const header = this.#header
    if (this.#have === 0 && (bytes[at]! & 0x0f) === CLOSE) this.#closed = true
    header[this.#have++] = bytes[at]!
    if (this.#have >= 2 && this.#have === headerLength(header)) {
      this.#left = payloadLength(header)
      this.#have = 0
    }
    return at + 1
  }
}

function headerLength(header: Uint8Array): number {
  const short = header[1]! & 0x7f
  const mask = header[1]! & 0x80 ? 4 : 0
  return 2 + (short === 127 ? 8 : short === 126 ? 2 : 0) + mask
}

function payloadLength(header: Uint8Array): number {
  const short = header[1]! & 0x7f
  if (short < 126) return short
  let length = 0
  for (let at = 2; at < (short === 126 ? 4 : 10); at++) length = length * 256 + header[at]!
  return length
}
