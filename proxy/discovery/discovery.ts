/**
 * Which containers there are behind one upstream address, now and as they come and go. It finds addresses and reports
 * them; who dials them, and what becomes of links to those that are gone, is `upstream-set.ts`.
 */

import { isIP } from 'node:net'
import type { Address } from '../../protocol/net/address.ts'
import { watchDirectory } from './directory.ts'
import { watchName } from './dns.ts'
import type { DiscoveryOptions, Report, Stop } from './report.ts'

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
