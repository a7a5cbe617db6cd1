/**
 * Resolves a name to all its addresses about once a second. A resolver's time to live cannot be trusted (Docker's says
 * 600 s, but its answers change immediately), and nginx, which resolves once, fails after `docker compose --scale`.
 */

import type { TcpAddress } from '../../protocol/net/address.ts'
import type { Timer } from '../../protocol/net/clock.ts'
import { LastReason, type Unreachable, whyUnreachable } from '../../protocol/net/unreachable.ts'
import type { DiscoveryOptions, Report, Stop } from './report.ts'

/**
 * Reports the addresses of `host` whenever they have changed. After a failure or an empty answer the last known
 * addresses stay: a resolver that is down says nothing about containers. A reason is logged once, until it changes or
 * the name is resolved.
 */
export function watchName(
  { host, port }: TcpAddress,
  report: Report,
  { clock, log, resolve, interval }: DiscoveryOptions,
): Stop {
  let stopped = false
  let timer: Timer | undefined
  let known = ''
  const reason = new LastReason()

  const failed = (why: Unreachable): void => {
    if (!reason.changes(why)) return
    log.warn({ host, ...why }, 'the name of an upstream cannot be resolved; its last known addresses stay')
  }

  const look = async (): Promise<void> => {
    try {
      const addresses = [...new Set(await resolve(host === '' ? 'localhost' : host))].sort()
      if (stopped) return
      if (addresses.length === 0) failed({ phase: 'resolve', reason: 'dns', error: 'no addresses' })
      else {
        if (reason.end()) log.info({ host, addresses }, 'the name of an upstream is resolved again')
        const now = addresses.join(' ')
        if (now !== known) {
          known = now
          report(addresses.map((address) => ({ kind: 'tcp', host: address, port })))
        }
      }
    } catch (error) {
      if (stopped) return
      failed(whyUnreachable(error, 'resolve', 'dns'))
    }
    timer = clock.after(interval, look)
  }
  look()
  return () => {
    stopped = true
    timer?.cancel()
  }
}
