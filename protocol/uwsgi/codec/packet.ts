/**
 * The uwsgi packet: `modifier1 u8, size u16, modifier2 u8`, then variables as `length u16, name, length u16, value`.
 * Every number is little-endian, which is this wire's own peculiarity. Both directions, no sockets.
 *
 * It does not know which variables mean what (`variables.ts`), nor what follows a packet (`request.ts`).
 * Source: uwsgi-docs Protocol.html, and what nginx 1.22–1.31 and Apache's mod_proxy_uwsgi really send.
 */

import { localError, peerError } from '../../contract/coded-errors.ts'
import type { RemoteProtocolError } from '../../contract/errors.ts'

/** modifier1 of a request. */
export const REQUEST = 0
/** modifier1 of a request whose PATH_INFO still begins with SCRIPT_NAME (`UWSGI_MODIFIER_MANAGE_PATH_INFO`). */
export const REQUEST_WITH_SCRIPT_NAME = 30
/** modifier1 of a ping, which has no variables and is answered with a packet of the same modifier. */
export const PING = 100

export const HEADER_BYTES = 4
/** The size is a u16: no packet is longer, and so no head can make a reader keep more than this. */
export const MAX_PAYLOAD = 0xffff

export interface Packet {
  modifier1: number
  modifier2: number
  /** Flat: name, value, name, value… in order, repeated names kept. Bytes as latin1. */
  variables: string[]
}

/** How many bytes the packet at the beginning of `bytes` has in all; `undefined` while its header is not whole. */
export function packetLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < HEADER_BYTES) return undefined
  return HEADER_BYTES + bytes[1]! + (bytes[2]! << 8)
}

/**
 * The packet at the beginning of `bytes`; `undefined` while it is not whole.
 *
 * @throws RemoteProtocolError `UWSGI_PACKET` when a length runs past the packet.
 */
export function decodePacket(bytes: Buffer): Packet | undefined {
  const end = packetLength(bytes)
  if (end === undefined || bytes.length < end) return undefined
  // One string for the whole packet and slices of it: a native call a packet instead of two a variable.
  const text = bytes.toString('latin1', 0, end)
  const variables: string[] = []
  let at = HEADER_BYTES
  while (at < end) {
    if (at + 2 > end) throw overrun(at, end)
    const value = at + 2 + bytes[at]! + (bytes[at + 1]! << 8)
    if (value + 2 > end) throw overrun(at, end)
    const next = value + 2 + bytes[value]! + (bytes[value + 1]! << 8)
    if (next > end) throw overrun(value, end)
    variables.push(text.slice(at + 2, value), text.slice(value + 2, next))
    at = next
  }
  return { modifier1: bytes[0]!, modifier2: bytes[3]!, variables }
}

/**
 * A packet's bytes. `variables` is flat: name, value, name, value….
 *
 * @throws LocalProtocolError `UWSGI_TOO_LARGE` when it does not fit the u16 size, `UWSGI_NATIVE_STRING` for a code
 * unit above U+00FF.
 */
export function encodePacket(modifier1: number, modifier2: number, variables: readonly string[]): Buffer {
  let size = 0
  for (const text of variables) {
    if (/[^\0-\xff]/.test(text)) {
      throw localError('UWSGI_NATIVE_STRING', `a uwsgi packet holds latin1 text only, got ${JSON.stringify(text)}`)
    }
    size += 2 + text.length
  }
  if (size > MAX_PAYLOAD) {
    throw localError('UWSGI_TOO_LARGE', `the uwsgi variables have ${size} bytes; a packet holds at most ${MAX_PAYLOAD}`)
  }
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + size)
  bytes[0] = modifier1
  bytes.writeUInt16LE(size, 1)
  bytes[3] = modifier2
  let at = HEADER_BYTES
  for (const text of variables) {
    at = bytes.writeUInt16LE(text.length, at)
    at += bytes.write(text, at, 'latin1')
  }
  return bytes
}

/** The answer to a ping: as uWSGI's ping plugin gives it, modifier2 1 and no payload. */
export function encodePong(): Buffer {
  return encodePacket(PING, 1, [])
}

function overrun(at: number, end: number): RemoteProtocolError {
  return peerError(
    'UWSGI_PACKET',
    `invalid uwsgi packet of ${end} bytes: the variable at byte ${at} extends beyond its end`,
  )
}
