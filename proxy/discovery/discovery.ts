/**
 * Finds the containers behind one upstream address, and reports them whenever they change. `upstream-set.ts` dials
 * them, and closes links to containers that are no longer reported.
 */

import { isIP } from 'node:net'
import type { Address } from '../../protocol/net/address.ts'
import { watchDirectory } from './directory.ts'
import { watchName } from './dns.ts'
import type { DiscoveryOptions, Report, Stop } from './report.ts'

/** Starts discovery, and reports as soon as addresses are known. */
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
