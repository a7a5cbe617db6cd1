/** Reads parts of a payload: numbers, text, and bytes that must outlive the read. */

import { peerError } from '../../contract/coded-errors.ts'

/** A smaller body is copied into Node's pool: memory of its own would cost more than everything else done for it. */
const POOLED = 256

/** A part of a read. It is kept by reference unless it would keep much more memory than itself alive. */
export function keep(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return (end - start) * 4 < bytes.buffer.byteLength ? copy(bytes, start, end) : bytes.subarray(start, end)
}

/** As `keep`, for a complete body: no more bytes follow, so it keeps at most one slab of Node's pool alive. */
export function keepWhole(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return end - start > POOLED ? keep(bytes, start, end) : copy(bytes, start, end, Buffer.allocUnsafe(end - start))
}

/** A copy, in memory of its own unless `into` is given. (`slice` of a Buffer does not copy.) */
export function copy(
  bytes: Uint8Array,
  start: number,
  end: number,
  into: Buffer = Buffer.allocUnsafeSlow(end - start),
): Uint8Array {
  into.set(bytes.subarray(start, end))
  return into
}

/** @throws RemoteProtocolError unless the range has 4 bytes */
export function u32(bytes: Uint8Array, start: number, end: number): number {
  if (end - start !== 4) throw peerError('BAD_FRAME', `received a number of ${end - start} bytes; expected 4`)
  return ((bytes[start]! << 24) | (bytes[start + 1]! << 16) | (bytes[start + 2]! << 8) | bytes[start + 3]!) >>> 0
}

/** Text for people, decoded leniently and without control characters: it goes to logs and error messages. */
export function textOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
    .toString()
    .replace(/[\x00-\x1f\x7f-\x9f]/g, ' ')
}
