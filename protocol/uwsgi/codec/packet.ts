/**
 * Reads and writes uwsgi packets: `modifier1 u8, size u16, modifier2 u8`, then variables as `length u16, name, length
 * u16, value`, all numbers little-endian. Sources: uwsgi-docs Protocol.html, and captures of nginx 1.22–1.31 and of
 * Apache's mod_proxy_uwsgi. `variables.ts` knows the variables, `request.ts` what follows a packet.
 */

import { localError, peerError } from '../../contract/coded-errors.ts'
import type { RemoteProtocolError } from '../../contract/errors.ts'

/** modifier1 of a request. */
export const REQUEST = 0
/** modifier1 of a request whose PATH_INFO begins with SCRIPT_NAME (`UWSGI_MODIFIER_MANAGE_PATH_INFO`). */
export const REQUEST_WITH_SCRIPT_NAME = 30
/** modifier1 of a ping, which has no variables. The response is a packet with the same modifier. */
export const PING = 100

export const HEADER_BYTES = 4
/** Bytes. The size is a u16, so that a reader never has to keep more than this. */
export const MAX_PAYLOAD = 0xffff

export interface Packet {
  modifier1: number
  modifier2: number
  /** Flat: name, value, name, value… in order, with repeated names. Bytes as latin1. */
  variables: string[]
}

/** Length in bytes of the packet at the start of `bytes`; undefined if its header is incomplete. */
export function packetLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < HEADER_BYTES) return undefined
  return HEADER_BYTES + bytes[1]! + (bytes[2]! << 8)
}

/**
 * Decodes the packet at the start of `bytes`; undefined if it is incomplete.
 *
 * @throws RemoteProtocolError `UWSGI_PACKET` if a variable is longer than the packet
 */
export function decodePacket(bytes: Buffer): Packet | undefined {
  const end = packetLength(bytes)
  if (end === undefined || bytes.length < end) return undefined
  // One string for the packet, and slices of it: one native call per packet instead of two per variable.
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
 * Encodes a packet.
 *
 * @param variables flat: name, value, name, value…
 * @throws LocalProtocolError `UWSGI_TOO_LARGE` if the variables do not fit in a u16 size, `UWSGI_NATIVE_STRING` if a
 *   code unit is above U+00FF
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

/** The response to a ping, as of uWSGI's ping plugin: modifier2 is 1, and there is no payload. */
export function encodePong(): Buffer {
  return encodePacket(PING, 1, [])
}

function overrun(at: number, end: number): RemoteProtocolError {
  return peerError(
    'UWSGI_PACKET',
    `invalid uwsgi packet of ${end} bytes: the variable at byte ${at} extends beyond its end`,
  )
}
