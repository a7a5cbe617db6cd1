/** The types that all kinds of discovery share. */

import type { Logger } from '../../protocol/log/logger.ts'
import type { TcpAddress, UnixAddress } from '../../protocol/net/address.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import type { Resolve } from '../../protocol/net/dial.ts'

/** An address that can be dialled directly: an IP address with a port, or one Unix socket. */
export type DialAddress = UnixAddress | TcpAddress

/** Receives all current addresses. Called again whenever one of them changed, was added or removed. */
export type Report = (addresses: readonly DialAddress[]) => void

export interface DiscoveryOptions {
  readonly clock: Clock
  readonly log: Logger
  readonly resolve: Resolve
  /** Milliseconds between two lookups. */
  readonly interval: number
}

/** Ends discovery. */
export type Stop = () => void
