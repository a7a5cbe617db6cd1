/** The options of a server's link, and the link as the container sees it. */

import type { ProcessFacts } from '../contract/environ.ts'
import type { AbortError } from '../contract/errors.ts'
import type { ExchangeHost } from '../contract/exchange.ts'
import type { Logger } from '../log/logger.ts'
import type { Clock } from '../net/clock.ts'
import type { Identity } from './codec/hello.ts'
import type { Token } from './codec/tokens.ts'
import type { SlotSource } from './slot-source.ts'
import type { WatchOptions } from './watch.ts'

/** Options of `serveFrames`. */
export interface ServeOptions {
  clock: Clock
  log: Logger
  /** The host of the exchanges. */
  host: ExchangeHost
  process: ProcessFacts
  /**
   * The shared secrets. Either both sides have a secret in common, or neither side has any. This side proves the first
   * secret, and accepts each of them.
   */
  token?: Token | undefined
  identity: Identity
  /** Whether this side opened the connection (a container that joins a proxy), or accepted it (default). */
  dialled?: boolean | undefined
  slots: SlotSource
  /** Bytes of request body that the peer may send ahead, per stream. Default 128 KiB. */
  window?: number | undefined
  /** The longest DATA that this side accepts, bytes. Default 64 KiB. */
  data?: number | undefined
  /** The longest head that this side accepts, bytes. Default 256 KiB. */
  head?: number | undefined
  /** The timeout of HELLO and authentication, milliseconds. Default 5000. */
  handshakeTimeout?: number | undefined
  /** The timeouts that decide when the link is dead; undefined: the link is not watched. */
  watch?: WatchOptions | undefined
  /** Returns the delay of the event loop for PONG, milliseconds. */
  lag?: (() => number) | undefined
  /** The handshake is complete. */
  onReady?: ((link: ServerLink) => void) | undefined
  /** Called once, when the connection is closed. Its exchanges were aborted, and may not have settled yet. */
  onClosed?: ((error?: Error) => void) | undefined
}

/** One link that this process serves: its state, and how to drain and close it. */
export interface ServerLink {
  readonly state: 'connecting' | 'ready' | 'draining' | 'closed'
  /** Of a closed link: whether one side had sent GOAWAY, so that the close was expected. */
  readonly announced: boolean
  readonly peer: Identity | undefined
  /** The number of applications that have not settled, including upgraded requests. */
  readonly active: number
  /** The number of upgraded streams (for example WebSockets), which hold no slot. */
  readonly upgraded: number
  /** A new connection to the proxy's address was refused or timed out: closes the link if it is silent too. */
  unreachable(): void
  /** Sends GOAWAY, finishes the accepted requests, then closes the link. */
  drain(reason?: string): void
  /**
   * Closes the link's WebSockets with code 1001 and aborts every other request with `error`.
   *
   * @returns false, without effect, if the link has no WebSocket left to close
   */
  goAway(error: AbortError): boolean
  /** Closes now, and aborts the exchanges. */
  destroy(error?: Error): void
  inspect(): string
}
