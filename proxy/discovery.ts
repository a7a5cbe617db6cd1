/**
 * Which containers there are behind one upstream address, now and as they come and go. It finds addresses and reports
 * them; who dials them, and what becomes of links to those that are gone, is `upstream-set.ts`.
 */

import { isIP } from 'node:net'
import type { Address, TcpAddress, UnixAddress } from '../protocol/address.ts'
import type { Clock } from '../protocol/clock.ts'
import type { Resolve } from '../protocol/dial.ts'
import type { Logger } from '../protocol/log.ts'
import { watchDirectory } from './directory.ts'
import { watchName } from './dns.ts'

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

/** Starts to look, and reports as soon as something is known. */
export function discover(address: Exclude<Address, { kind: 'http' }>, report: Report, options: DiscoveryOptions): Stop {
  switch (address.kind) {
    case 'unix':
      report([address])
      return () => {}
    case 'unix-directory':
      return watchDirectory(address.path, report, options)
    case 'tcp': {
      // An IPv6 address may have a zone (fe80::1%eth0), which isIP accepts too.
      if (isIP(address.host) === 0) return watchName(address, report, options)
      report([address])
      return () => {}
    }
  }
}
