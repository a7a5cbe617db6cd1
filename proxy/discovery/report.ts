/** What every kind of discovery takes and reports. */

import type { Logger } from '../../protocol/log/logger.ts'
import type { TcpAddress, UnixAddress } from '../../protocol/net/address.ts'
import type { Clock } from '../../protocol/net/clock.ts'
import type { Resolve } from '../../protocol/net/dial.ts'

/** What can be dialled as it is: an IP address with a port, or one socket. */
export type DialAddress = UnixAddress | TcpAddress

/** All there are now. Called again whenever that, or anything about them, changed. */
export type Report = (addresses: readonly DialAddress[]) => void

export interface DiscoveryOptions {
  readonly clock: Clock
  readonly log: Logger
  readonly resolve: Resolve
  /** Milliseconds between two looks. */
  readonly interval: number
}

/** Stops looking. */
export type Stop = () => void
