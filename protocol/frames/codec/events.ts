/** The events that `FrameConnection.receive` returns. */

import type { Headers } from '../../contract/application.ts'
import type { RequestFields } from './head.ts'
import type { Identity } from './hello.ts'
import type { FrameStream } from './stream.ts'

export type FrameEvent =
  /** The handshake is complete. */
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
      type: 'head'
      stream: FrameStream
      status: string
      headers: Headers
      body: Uint8Array | undefined
      end: boolean
    }
  | { type: 'data'; stream: FrameStream; bytes: Uint8Array; end: boolean }
  /** The end of the direction, with trailers (flat). Without trailers the `end` flag of another event says so. */
  | { type: 'end'; stream: FrameStream; fields: string[] }
  | { type: 'abort'; stream: FrameStream; code: number; text: string }
  /** The peer violated the protocol on this stream only. The stream was aborted. */
  | { type: 'violation'; stream: FrameStream; text: string }
  /** The peer accepts or makes no more requests. `untaken`: requests that it did not accept. */
  | { type: 'goaway'; code: number; text: string; untaken: FrameStream[] }
  /** At a caller: the granted slots. At a server: the slots that the caller could use. */
  | { type: 'slots'; count: number }
  | { type: 'ping'; token: Uint8Array }
  | { type: 'pong'; token: Uint8Array; running: number; lag: number }
