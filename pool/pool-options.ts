/** What a pool is made with, and what it counts. */

import type { TrustedPeers } from '../protocol/client/peers.ts'
import type { Logger } from '../protocol/log/logger.ts'
import type { Clock } from '../protocol/net/clock.ts'
import type { SlotRules } from './fair-slots.ts'

/** Options of `Pool`. Times are in milliseconds. */
export interface PoolOptions {
  /** Requests that may wait for a free slot. */
  readonly queueSize: number
  /** How long a request may wait in total, ms. */
  readonly queueTimeout: number
  /** How often a request that may have run is sent again after its member was lost. Default 1. */
  readonly retries?: number | undefined
  /**
   * How long a container may take until the response's head, ms. The time starts when the request is sent. During an
   * upload the time starts again whenever the container accepts more of it, and stops while the client has to send
   * more. nginx's `proxy_read_timeout` starts after the request was sent, too.
   */
  readonly timeout: number
  /** Milliseconds between two chunks of a response while the client waits for them. */
  readonly idleTimeout: number
  /** The minimum speed of clients while other requests wait for their slots. Default: `SLOT_RULES`. */
  readonly slots?: SlotRules | undefined
  /** Proxies in front of this one: their addresses do not identify a client. Default: none. */
  readonly trustedPeers?: Pick<TrustedPeers, 'has'> | undefined
  readonly clock: Clock
  readonly log: Logger
  /** In [0, 1). */
  readonly random?: (() => number) | undefined
  /** Called when the first request waits: containers should be dialled now. */
  readonly onWanted?: (() => void) | undefined
}

/** Totals since the start. */
export interface PoolCounters {
  requests: number
  /** Attempts beyond a request's first. */
  replays: number
  /** Requests that got 502: their container was lost after they may have run, or during the response. */
  lost: number
  /** Members that have become ready. */
  joined: number
  /** Members that were ready and are closed. */
  left: number
}
