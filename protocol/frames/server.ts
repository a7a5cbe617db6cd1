/**
 * One link on which a remote proxy calls the application of this process: every REQUEST becomes an exchange.
 * Does not know how slots are shared among links (a `SlotSource` does), nor who listens or dials.
 */

import type { Duplex } from 'node:stream'
import type { Application } from '../application.ts'
import type { Clock } from '../clock.ts'
import type { ProcessFacts } from '../environ.ts'
import type { ExchangeHost } from '../exchange.ts'
import type { Logger } from '../log.ts'
import type { Identity } from './hello.ts'

/** A link, as what shares slots sees it. */
export interface SlotHolder {
  /** Slots the peer could use: in flight and queued. It may claim anything up to 2³²−1. */
  readonly demand: number
  /** Slots taken now: applications that have not settled. Can be above the grant after that was lowered. */
  readonly running: number
  /** Sets how many slots this link may have taken at once. Above it requests are refused. */
  grant(slots: number): void
}

/** How a worker's slots are shared over its links. It calls `holder.grant`, also from within `join`. */
export interface SlotSource {
  /** A link is ready. */
  join(holder: SlotHolder): void
  /** A link is closed and its applications have settled: its slots are free. */
  leave(holder: SlotHolder): void
  /** `demand` changed, or `running` fell while it was at or above the grant. */
  changed(holder: SlotHolder): void
}

/** Grants every link the same, whatever the others have: for tests, and for a server with one link. */
export function fixedSlots(slots: number): SlotSource {
  return {
    join: (holder) => holder.grant(slots),
    leave: () => {},
    changed: () => {},
  }
}

export interface ServeOptions {
  clock: Clock
  log: Logger
  /** What the exchanges report to. */
  host: ExchangeHost
  process: ProcessFacts
  /** Shared secret. Both sides have the same, or neither has one. */
  token?: string | undefined
  identity: Identity
  /** Whether this side opened the connection (a container that joins a proxy), or accepted it (default). */
  dialled?: boolean | undefined
  slots: SlotSource
  window?: number | undefined
  handshakeTimeout?: number | undefined
  /** Load for PONG: how late the event loop is, in milliseconds. */
  lag?: (() => number) | undefined
  /** The handshake is done. */
  onReady?: ((link: ServerLink) => void) | undefined
  /** Once, when the connection is closed. Its exchanges were aborted, and can still be settling. */
  onClosed?: ((error?: Error) => void) | undefined
}

export interface ServerLink {
  readonly state: 'connecting' | 'ready' | 'draining' | 'closed'
  readonly peer: Identity | undefined
  /** Applications that have not settled, upgraded ones too. */
  readonly active: number
  /** GOAWAY: what was taken is finished, then the link closes. */
  drain(reason?: string): void
  /** Closes now; its exchanges are aborted. */
  destroy(error?: Error): void
  inspect(): string
}

/** Serves `application` to the peer of `stream`. `first`: bytes already read from it. */
export function serveFrames(
  stream: Duplex,
  application: Application,
  options: ServeOptions,
  first?: Uint8Array,
): ServerLink {
  void stream
  void application
  void options
  void first
  throw new Error('frames are not served yet')
}
