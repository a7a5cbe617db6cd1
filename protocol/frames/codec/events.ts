/** What a connection hears: one event for each thing that the I/O side has to know. */

import type { Headers } from '../../contract/application.ts'
import type { RequestFields } from './head.ts'
import type { Identity } from './hello.ts'
import type { FrameStream } from './stream.ts'

export type Event =
  /** The handshake is done. */
  | { type: 'ready'; peer: Identity }
  | {
      type: 'request'
      stream: FrameStream
      fields: RequestFields
      body: Uint8Array | undefined
      end: boolean
      hold: boolean
    }
  | { type: 'started'; stream: FrameStream }
  | { type: 'inform'; stream: FrameStream; status: string; headers: Headers }
  | {
      type: 'response'
      stream: FrameStream
      status: string
      headers: Headers
      body: Uint8Array | undefined
      end: boolean
    }
  | { type: 'data'; stream: FrameStream; bytes: Uint8Array; end: boolean }
  /** The direction's end, with its trailer fields (flat). */
  | { type: 'trailers'; stream: FrameStream; fields: string[] }
  | { type: 'reset'; stream: FrameStream; code: number; text: string }
  /** The peer violated the protocol on this stream only; the stream was reset. */
  | { type: 'violation'; stream: FrameStream; text: string }
  /** The peer takes no more requests, and did not take `untaken`. */
  | { type: 'goaway'; code: number; text: string; untaken: FrameStream[] }
  /** To a caller: what it is granted. To a server: what the peer could use. */
  | { type: 'slots'; count: number }
  | { type: 'ping'; token: Uint8Array }
  | { type: 'pong'; token: Uint8Array; running: number; lag: number }
