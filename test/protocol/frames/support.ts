/** Connections without sockets: two that talk to each other, and bytes written by hand. */

import assert from 'node:assert/strict'
import {
  FrameConnection,
  type FrameConnectionOptions,
  type FrameEvent,
} from '../../../protocol/frames/codec/connection.ts'
import type { RequestFields } from '../../../protocol/frames/codec/head.ts'
import { type Identity, NOBODY, type Role } from '../../../protocol/frames/codec/hello.ts'
import type { FrameStream } from '../../../protocol/frames/codec/stream.ts'

export const TOKEN = 'correct horse battery staple'

export function identity(id: string): Identity {
  return { ...NOBODY, id }
}

/** A connection whose HELLO is the same every time. */
export function connection(role: Role, options: Partial<FrameConnectionOptions> = {}): FrameConnection {
  return new FrameConnection({
    role,
    dialled: role === 'caller',
    secret: options.token !== undefined,
    nonce: new Uint8Array(16).fill(role === 'caller' ? 0xca : 0x5e),
    identity: identity(role === 'caller' ? 'p' : 'c1'),
    ...options,
  })
}

/** All queued bytes of `from`. */
export function drain(from: FrameConnection, max: number = 1 << 24): Buffer {
  return Buffer.concat(from.take(max))
}

/** Delivers all queued bytes of `from` to the other side. */
export function move(from: FrameConnection, to: FrameConnection, max?: number): FrameEvent[] {
  const bytes = drain(from, max)
  return bytes.length > 0 ? to.receive(bytes) : []
}

/** Two connections that are open, each with nothing to send. */
export function pair(
  caller: Partial<FrameConnectionOptions> = {},
  server: Partial<FrameConnectionOptions> = {},
): { caller: FrameConnection; server: FrameConnection } {
  const both = { caller: connection('caller', caller), server: connection('server', server) }
  for (let round = 0; round < 3; round++) {
    move(both.caller, both.server)
    move(both.server, both.caller)
  }
  assert.equal(both.caller.state, 'open')
  assert.equal(both.server.state, 'open')
  return both
}

export const FIELDS: RequestFields = { requestId: 'r1', variables: ['REQUEST_METHOD', 'GET'], headers: ['Host', 'a'] }

/** A request that has arrived. */
export function opened(
  both: { caller: FrameConnection; server: FrameConnection },
  flags: { end?: boolean; hold?: boolean; upgrade?: boolean } = {},
  body?: Uint8Array,
): { there: FrameStream; here: FrameStream } {
  const there = both.caller.request(FIELDS, { end: false, hold: false, upgrade: false, ...flags }, body)
  const event = move(both.caller, both.server).find((found) => found.type === 'request')
  assert.ok(event?.type === 'request')
  return { there, here: event.stream }
}

/** A frame written by hand. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array | string = ''): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload, 'hex') : payload
  const head = Buffer.alloc(9)
  head[0] = type
  head[1] = flags
  head.writeUIntBE(bytes.length, 2, 3)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, bytes])
}

/** Types of the frames in bytes. */
export function types(bytes: Buffer): number[] {
  const found: number[] = []
  for (let at = 0; at < bytes.length; at += 9 + bytes.readUIntBE(at + 2, 3)) found.push(bytes[at]!)
  return found
}

/** The bytes of a hex text; spaces are ignored. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replace(/\s+/g, ''), 'hex')
}

/** An event as plain data: streams by number, bytes as text. */
export function plain(event: FrameEvent): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(event)) {
    if (key === 'stream') result[key] = (value as FrameStream).id
    else if (key === 'untaken') result[key] = (value as FrameStream[]).map((stream) => stream.id)
    else if (value instanceof Uint8Array) result[key] = Buffer.from(value).toString('latin1')
    else if (value !== undefined) result[key] = value
  }
  return result
}
